"""`quasim tune`: one kernel, one machine, no Ray."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from cluster.cli.cached import Shelf, cached_text
from cluster.cli.output import console, log, print_json
from cluster.cli.traces import check_traceable, write_traces
from cluster.report_text import best_facts, front_text, profile_text
from quasim.codec import from_json, to_json
from quasim.errors import ConfigError, UnknownNameError
from quasim.kernels import adopt, check_problem, family
from quasim.search import Strategy, strategies, strategy
from quasim.standing import Contestable, Standing, standing
from quasim.targets import DeviceFacts, Target
from quasim.targets.profile import Profilable, Profile
from quasim.targets.spec import CSpec, CudaSpec, Recording, ReplaySpec, TargetSpec, TritonSpec
from quasim.trial import Problem, Trial
from quasim.tune import TuneResult
from quasim.tune import tune as run_tuning
from quasim.tuned import Effort, Tuned
from storage.files import storage_errors, write_atomic


class TuneReport(msgspec.Struct, frozen=True):
    """What `quasim tune --json` prints.

    Attributes:
        device: on what the trials were measured, with the versions on which their times depend.
        space: digest of the search space.
        standing: the best genome against its rivals; None on a replayed device.
        key: of a foreign kernel: the arguments on which the choice depends, with their values.
        file: of a foreign kernel: SHA-256 of the file that describes it.
        profile: hardware counters of the best genome; None where none were asked for.
        front: trials that no other dominates in time, energy and error, fastest first; empty from the cache.
        cached: what finding the best took, where it comes from the cache: nothing was evaluated now.
    """

    problem: Problem
    target: str
    device: DeviceFacts
    space: str
    strategy: str
    seed: int
    evaluations: int
    by_status: dict[str, int]
    best: Trial | None
    standing: Standing | None
    trials: tuple[Trial, ...]
    front: tuple[Trial, ...] = ()
    key: dict[str, int | float] | None = None
    file: str | None = None
    profile: Profile | None = None
    cached: Effort | None = None


def tune(
    kernel: Annotated[str | None, typer.Argument(help="Kernel family, see `quasim kernel list`.")] = None,
    shape: Annotated[str | None, typer.Option(help="Extents, such as m=768,n=768,k=768.")] = None,
    target: Annotated[str, typer.Option(help="c, triton, cuda, or the path of a recorded space to replay.")] = "c",
    budget: Annotated[int, typer.Option(min=1, help="Genomes to evaluate, resumed ones included.")] = 100,
    strategy_name: Annotated[str, typer.Option("--strategy", help="Search strategy.")] = "portfolio",
    seed: Annotated[int, typer.Option(min=0, help="Same seed and same times, same search.")] = 42,
    foreign: Annotated[
        str | None, typer.Option(help="A Triton kernel of your own instead, FILE.py:NAME. Executes the file.")
    ] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Read the best genome's counters with ncu.")] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Most threads of --target c; default: every usable core.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the report with all trials to this file, JSON.")] = None,
    resume: Annotated[
        Path | None,
        typer.Option(help="A file that --out wrote on this device, with the same versions: its trials count."),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of tuned results; default: $QUASIM_CACHE_DIR or ~/.cache/quasim.")
    ] = None,
    trace: Annotated[
        Path | None, typer.Option(help="Write how the strategy searched to this folder, JSON: see docs/search.md.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Tune even what is in the cache, and replace it.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Tune one kernel at one shape on this machine, and compare it with default, baseline and library.

    What was tuned before, with the same device and versions and no fewer evaluations, comes from the cache, unless
    --out, --resume, --trace or --profile ask for more than is kept there.
    """
    if strategy_name not in strategies():
        raise UnknownNameError(f"unknown strategy {strategy_name!r}", f"use one of {', '.join(strategies())}")
    if threads is not None and (foreign is not None or target != "c"):
        raise ConfigError("--threads is of the C target", "leave it out")
    if out is not None:
        _check_writable(out)
    key = file = None
    if foreign is None:
        spec = _spec(target, threads)
        problem = _problem(spec, kernel, shape)
        device: Target = spec.open()
    else:
        problem, device, key = _foreign(foreign, kernel, target, shape)
        file = hashlib.sha256(Path(foreign.rpartition(":")[0]).read_bytes()).hexdigest()
    try:
        space = device.space(problem)
        shelf = Shelf.of(device, problem, file, cache)
        known = None if fresh or profile or out or resume or trace else shelf.look(min(budget, space.size))
        search = strategy(strategy_name, space, seed)
        if trace is not None:
            check_traceable(search, trace)
        if known is None:
            earlier = () if resume is None else _earlier(resume, problem, device, file)
            result, stands = _tune(device, problem, search, budget, earlier)
        else:
            result, stands = _cached(device, known)
        counters = _counters(device, problem, result.best) if profile else None
    finally:
        device.close()
    report = TuneReport(
        problem=problem,
        target=device.name,
        device=device.device,
        space=space.digest,
        strategy=strategy_name,
        seed=seed,
        evaluations=result.evaluations,
        by_status={status.value: count for status, count in result.statuses.items()},
        best=result.best,
        standing=stands,
        trials=result.trials,
        front=result.front,
        key=key,
        file=file,
        profile=counters,
        cached=None if known is None else known.effort,
    )
    # Printed first: should the disk be full by now, the answer is not lost.
    _print(report, json)
    if out is not None:
        write_atomic(out, to_json(report))
        log().print(f"report written to {out}")
    if trace is not None:
        write_traces(search, trace)
    if known is None:
        shelf.keep(result, stands, strategy_name, replace=fresh)


def _check_writable(out: Path) -> None:
    # Tried rather than asked: access bits say nothing of a read-only or a vanished file system.
    with storage_errors("write", out):
        if out.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        tempfile.TemporaryFile(dir=out.parent).close()


def _spec(target: str, threads: int | None) -> TargetSpec:
    if target == "c":
        return CSpec(threads)
    if target == "triton":
        return TritonSpec()
    if target == "cuda":
        return CudaSpec()
    if os.sep in target or target.endswith((".json", ".json.gz")) or Path(target).exists():
        return ReplaySpec((Recording(target),))
    raise UnknownNameError(f"unknown target {target!r}", "give c, triton, cuda, or the path of a recording")


def _foreign(
    place: str, kernel: str | None, target: str, shape: str | None
) -> tuple[Problem, Target, dict[str, int | float]]:
    """A kernel of the user's own: its problem, the GPU to tune it on, and on what the choice depends."""
    if kernel is not None or target not in ("c", "triton"):
        raise ConfigError("--foreign says what is tuned, and on a GPU", "leave out the kernel and --target")
    # The GPU's modules: only for who has one.
    from quasim.targets.triton.device import TritonTarget
    from quasim.targets.triton.foreign_family import load

    known = load(place)
    adopt(known)
    problem = known.problem if shape is None else check_problem(Problem.parse(known.name, shape))
    values = {**problem.dims, **known.foreign.scalars(problem.dims)}
    return problem, TritonTarget(foreign=place), {name: values[name] for name in known.foreign.keys}


def _counters(device: Target, problem: Problem, best: Trial | None) -> Profile:
    if best is None:
        return Profile(reason="nothing worked")
    if not isinstance(device, Profilable):
        return Profile(reason=f"target {device.name} has no profiler")
    return device.profile(problem, best.genome)


def _problem(spec: TargetSpec, kernel: str | None, shape: str | None) -> Problem:
    if kernel is None:
        raise ConfigError("no kernel", "name one, see `quasim kernel list`, or give --foreign FILE.py:NAME")
    if isinstance(spec, ReplaySpec):
        (problem,) = spec.problems()
        if kernel != problem.kernel or shape not in (None, problem.shape_text):
            raise ConfigError(f"the recording is of {problem}", f"tune {problem.kernel}, and leave out --shape")
        return problem
    if shape is None:
        names = ",".join(f"{dim.name}=…" for dim in family(kernel).kernel.dims)
        raise ConfigError(f"{kernel} needs --shape", f"write --shape {names}")
    return check_problem(Problem.parse(kernel, shape))


def _tune(
    device: Target, problem: Problem, search: Strategy, budget: int, earlier: tuple[Trial, ...]
) -> tuple[TuneResult, Standing | None]:
    search.tell(earlier)
    with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=log()) as progress:
        bar = progress.add_task(str(problem), total=budget, completed=len(earlier))
        rest = max(0, budget - len(earlier))
        result = run_tuning(device, problem, search, rest, on_trial=lambda _: progress.advance(bar))
    result = msgspec.structs.replace(result, trials=(*earlier, *result.trials))
    if result.best is None or not isinstance(device, Contestable):
        return result, None
    return result, standing(device, problem, result.best.genome)


def _cached(device: Target, known: Tuned) -> tuple[TuneResult, Standing | None]:
    return TuneResult(known.problem, device.name, (), (), known.best), known.standing


def _earlier(resume: Path, problem: Problem, device: Target, file: str | None) -> tuple[Trial, ...]:
    try:
        earlier = from_json(resume.read_bytes(), TuneReport, str(resume))
    except OSError as error:
        raise ConfigError(
            f"--resume {resume} cannot be read: {error.strerror}", "give a file that --out wrote"
        ) from error
    if (earlier.problem, earlier.target) != (problem, device.name):
        raise ConfigError(
            f"--resume {resume} is about {earlier.problem} on {earlier.target}, not {problem} on {device.name}",
            "resume with the same kernel, shape and target",
        )
    if earlier.device != device.device:
        raise ConfigError(
            f"--resume {resume} was measured on {_described(earlier.device)}, and this is {_described(device.device)}",
            "resume on the same device with the same versions and --threads, or begin anew",
        )
    space = device.space(problem).digest
    if earlier.space != space:
        raise ConfigError(
            f"--resume {resume} searched another space ({earlier.space:.12}, not {space:.12})",
            "resume with the same version of quasim, or begin anew",
        )
    if earlier.file != file:
        raise ConfigError(f"--resume {resume} is about another state of the kernel's file", "begin anew")
    return earlier.trials


def _described(device: DeviceFacts) -> str:
    versions = ", ".join(f"{component} {version}" for component, version in device.versions)
    return f"{device.name} ({device.family}; {versions})"


def _print(report: TuneReport, json: bool) -> None:
    if json:
        print_json(report)
        return
    table = Table(title=f"{report.problem} on {report.target}", title_justify="left", show_header=False)
    counts = ", ".join(f"{count} {status}" for status, count in report.by_status.items())
    if report.cached is None:
        table.add_row("evaluations", f"{report.evaluations}: {counts}")
    else:
        table.add_row("cached", cached_text(report.cached))
    if report.best is None:
        table.add_row("best", "nothing worked")
    else:
        for name, value in best_facts(report.best, report.standing):
            table.add_row(name, value)
    for name, value in front_text(report.front):
        table.add_row(name, value)
    if report.key is not None:
        table.add_row("chosen for", ", ".join(f"{name}={value}" for name, value in report.key.items()))
    if report.profile is not None:
        table.add_row("counters", profile_text(report.profile))
    console().print(table)
