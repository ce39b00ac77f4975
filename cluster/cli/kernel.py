"""`quasim kernel`: what can be tuned."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.table import Table

from cluster.cli.output import console, print_json
from quasim.errors import SpaceError
from quasim.kernels import check_problem, families, family
from quasim.kernels.lower import lower
from quasim.machine import usable_cores
from quasim.space import SearchSpace
from quasim.targets.c.emit import emit
from quasim.targets.c.space import space
from quasim.trial import Genome, Problem

app = typer.Typer(help="Kernel families: list them, show one.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


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
    for member in families():
        domain = ", ".join(f"{d.name} in [{d.lo}, {d.hi}]" for d in member.kernel.dims)
        table.add_row(member.name, domain, member.summary)
    console().print(table)


@app.command("show")
def show(
    kernel: Annotated[str, typer.Argument(help="Kernel family, see `quasim kernel list`.")],
    shape: Annotated[str, typer.Option(help="Extents, such as m=768,n=768,k=768.")],
    genome: Annotated[str | None, typer.Option(help="Such as mr=6,nv=2,…; default: the space's default.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Most threads; default: every usable core.")] = None,
    source: Annotated[bool, typer.Option("--source", help="Print the C source of the genome instead.")] = False,
    json: Json = False,
) -> None:
    """Show one kernel at one shape: cost facts, search space, and the order of its sums; or its C source."""
    problem = check_problem(Problem.parse(kernel, shape))
    candidates = space(problem, threads or len(usable_cores()))
    chosen = _genome(candidates, genome)
    lowered = lower(family(kernel).kernel, chosen, "c")
    if source:
        sys.stdout.write(emit(lowered))
        return
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
        "accesses": len(lowered.accesses),
        "sums": [str(order) for order in lowered.sums],
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
