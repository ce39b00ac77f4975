"""From genomes to what a GPU worker runs; what cannot be launched is known before a GPU is touched."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from quasim.errors import ConfigError
from quasim.kernels import family
from quasim.kernels.lower import LoweringError
from quasim.space import SearchSpace
from quasim.targets.triton.foreign_family import ForeignFamily
from quasim.targets.triton.foreign_source import foreign_source
from quasim.targets.triton.image import CompileFailure, Loadable
from quasim.targets.triton.plans import Planned, compiled, planned
from quasim.targets.triton.pool import Compiler
from quasim.trial import Genome, Problem, Status
from quasim.worker.protocol import Binary, Entry


@dataclass(frozen=True, slots=True)
class Built:
    """Something to measure.

    Attributes:
        entry: None where there is nothing to launch; ``status`` and ``detail`` say why.
        image: of a genome, or the images of its stages; None where one did not compile.
        compile_ns: of a genome, its share of the time that its batch took; None where it did not compile.
    """

    entry: Entry | None
    image: Loadable | None = None
    compile_ns: int | None = None
    status: Status = Status.OK
    detail: str = ""


Planner = Callable[[Problem, Genome], Planned]


def triton_plan(problem: Problem, genome: Genome) -> Planned:
    """The Triton sources of a genome.

    Raises:
        ConfigError, LoweringError: it has none.
    """
    known = family(problem.kernel)
    if isinstance(known, ForeignFamily):
        return Planned((foreign_source(known, genome, problem.dims),))
    return planned(known.kernel, genome, problem.dims)


def build(
    problem: Problem,
    space: SearchSpace,
    genomes: Sequence[Genome],
    arch: str,
    compiler: Compiler,
    plan: Planner = triton_plan,
) -> list[Built]:
    """Lower, print and compile all genomes; one result for each, in order.

    Args:
        plan: what a target makes of a genome.

    Raises:
        SpaceError: a genome is not in the space.
    """
    space.require(genomes, problem)
    start = time.perf_counter_ns()
    results = compiled([_planned(problem, genome, plan) for genome in genomes], arch, compiler)
    share_ns = (time.perf_counter_ns() - start) // max(1, len(genomes))
    return [built(result, share_ns) for result in results]


def built(result: Loadable | CompileFailure, compile_ns: int | None = None) -> Built:
    """What became of one genome."""
    if not isinstance(result, CompileFailure):
        return Built(Binary(result), result, compile_ns)
    status = Status.LAUNCH_ERROR if result.stage == "resources" else Status.COMPILE_ERROR
    return Built(None, status=status, detail=f"{result.stage}: {result.reason}")


def _planned(problem: Problem, genome: Genome, plan: Planner) -> Planned | CompileFailure:
    try:
        return plan(problem, genome)
    except (ConfigError, LoweringError) as error:
        return CompileFailure("compile", error.what)
