"""`quasim kernel`: what can be tuned."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from enum import Enum
from typing import Annotated

import typer
from rich.table import Table

from cluster.cli.output import console, print_json
from quasim.errors import ConfigError, QuasimError, SpaceError
from quasim.kernels import Family, check_problem, families, family
from quasim.kernels.ir import Dim
from quasim.kernels.lower import lower
from quasim.machine import usable_cores
from quasim.space import SearchSpace
from quasim.targets.c.emit import emit
from quasim.targets.c.space import space
from quasim.targets.cuda.source import cuda_source
from quasim.targets.cuda.space import space as cuda_space
from quasim.targets.gpu.compile import AnySource
from quasim.targets.gpu.image import CompileFailure
from quasim.targets.gpu.pool import LocalCompiler
from quasim.targets.triton.source import source as triton_source
from quasim.targets.triton.space import space as triton_space
from quasim.trial import Genome, Problem

app = typer.Typer(help="Kernel families: list them, show one.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


class Target(str, Enum):
    """Whose schedules are shown."""

    C = "c"
    TRITON = "triton"
    CUDA = "cuda"


class Arch(str, Enum):
    """For which a genome is compiled; the last two are of the Triton target alone."""

    SM_80 = "sm_80"
    SM_90 = "sm_90"
    GFX90A = "gfx90a"
    GFX942 = "gfx942"


@app.command("list")
def list_kernels(json: Json = False) -> None:
    """List the kernel families with their dimensions and domains."""
    rows = [
        {"name": f.name, "summary": f.summary, "dims": {d.name: [d.lo, d.hi, d.multiple] for d in f.kernel.dims}}
        for f in families()
    ]
    if json:
        print_json(rows)
        return
    table = Table("kernel", "dimensions", "what it computes")
    for first, *others in _forms():
        domain = ", ".join(f"{d.name} in [{d.lo}, {d.hi}]" for d in first.kernel.dims)
        table.add_row(first.name, domain, first.summary)
        if others:
            endings = " ".join(other.name.removeprefix(first.name) for other in others)
            table.add_row("", "", f"also {first.name}… {endings}", style="dim")
    console().print(table)


def _forms() -> Iterable[list[Family]]:
    """Families by what their names begin with, where their dimensions are the same: forms of one another."""
    found: dict[tuple[str, tuple[Dim, ...]], list[Family]] = {}
    for member in families():
        found.setdefault((member.name.partition("_")[0], member.kernel.dims), []).append(member)
    return found.values()


@app.command("show")
def show(
    kernel: Annotated[str, typer.Argument(help="Kernel family, see `quasim kernel list`.")],
    shape: Annotated[str, typer.Option(help="Extents, such as m=768,n=768,k=768.")],
    genome: Annotated[str | None, typer.Option(help="Such as mr=6,nv=2,…; default: the space's default.")] = None,
    target: Annotated[Target, typer.Option(help="Whose schedules.")] = Target.C,
    arch: Annotated[Arch, typer.Option(help="Architecture of a GPU's target.")] = Arch.SM_90,
    threads: Annotated[int | None, typer.Option(min=1, help="Most threads of --target c; default: every core.")] = None,
    source: Annotated[bool, typer.Option("--source", help="Print the source of the genome instead.")] = False,
    resources: Annotated[
        bool, typer.Option("--resources", help="Compile it: the compiler's facts (triton, cuda).")
    ] = False,
    json: Json = False,
) -> None:
    """Show one kernel at one shape: cost facts, search space, and what a genome of it becomes."""
    problem = check_problem(Problem.parse(kernel, shape))
    if target is Target.C:
        if resources:
            raise ConfigError("the C target has no compiler's facts", "add --target triton or --target cuda")
        candidates = space(problem, threads or len(usable_cores()))
    else:
        candidates = (triton_space if target is Target.TRITON else cuda_space)(problem, arch.value)
    chosen = _genome(candidates, genome)
    text, lowered = _lowered(problem, chosen, target)
    if source:
        sys.stdout.write(text)
        return
    if resources:
        lowered = {**lowered, **_compiled(_gpu_source(problem, chosen, target), chosen, arch)}
    cost = family(kernel).cost(problem)
    facts = {
        "problem": str(problem),
        "summary": family(kernel).summary,
        "flops": cost.flops,
        "bytes": cost.bytes,
        "intensity_flop_per_byte": cost.intensity,
        "shape_class": problem.shape_class,
        "configurations": candidates.size,
        "space_digest": candidates.digest,
        "genome": str(chosen),
        **lowered,
    }
    if json:
        print_json({**facts, "parameters": {p.name: p.values for p in candidates.parameters}})
        return
    table = Table(show_header=False)
    for name, value in facts.items():
        table.add_row(name, str(value))
    for parameter in candidates.parameters:
        table.add_row(f"gene {parameter.name}", " ".join(map(str, parameter.values)))
    console().print(table)


def _lowered(problem: Problem, genome: Genome, target: Target) -> tuple[str, dict[str, object]]:
    """The source of a genome, and what its schedule says."""
    kernel = family(problem.kernel).kernel
    if target is not Target.C:
        made = _gpu_source(problem, genome, target)
        blocks = made.grid.blocks(problem.dims, 1) if made.grid.per_multiprocessor is None else "persistent"
        return made.text, {"blocks": blocks, "requirements": len(made.requirements)}
    lowered = lower(kernel, genome, "c")
    return emit(lowered), {"accesses": len(lowered.accesses), "sums": [str(order) for order in lowered.sums]}


def _gpu_source(problem: Problem, genome: Genome, target: Target) -> AnySource:
    make = triton_source if target is Target.TRITON else cuda_source
    return make(family(problem.kernel).kernel, genome, problem.dims)


def _compiled(made: AnySource, genome: Genome, arch: Arch) -> dict[str, object]:
    """The compiler's facts of a genome, and the occupancy that follows from them."""
    with LocalCompiler(processes=1) as compiler:
        (result,) = compiler.compile_all([made], arch.value)
    if isinstance(result, CompileFailure):
        raise QuasimError(f"{genome} has no image for {arch.value}: {result.reason}", "try another genome")
    facts = result.resources
    return {
        "registers (compiler)": facts.registers,
        "local_bytes (compiler)": facts.local_bytes,
        "shared_bytes (compiler)": facts.shared_bytes,
        "threads (compiler)": result.threads,
        "occupancy (derived)": result.occupancy,
    }


def _genome(candidates: SearchSpace, text: str | None) -> Genome:
    """The genome that ``name=value,…`` gives; genes left out keep the default's values."""
    default = candidates.default or candidates.genome_at(0)
    if text is None:
        return default
    values = dict(default)
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        listed = next((p.values for p in candidates.parameters if p.name == name), None)
        if listed is None:
            raise SpaceError(f"no gene {name!r} in {text!r}", f"use {', '.join(candidates.names)}")
        match = [v for v in listed if str(v) == value]
        if not match:
            raise SpaceError(f"{name}={value!r} is not in {listed}", "choose a listed value")
        values[name] = match[0]
    chosen = Genome(values)
    if not candidates.contains(chosen):
        raise SpaceError(f"genome {chosen} violates a constraint", "see `quasim kernel show` without --genome")
    return chosen
