"""From genomes to what a GPU worker runs; what cannot be launched is known before a GPU is touched."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from quasim.errors import ConfigError
from quasim.kernels.lower import LoweringError
from quasim.space import SearchSpace
from quasim.targets.gpu.compile import AnySource
from quasim.targets.gpu.image import Buffer, Bundle, CompileFailure, Image, Loadable
from quasim.targets.gpu.pool import Compiler
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


@dataclass(frozen=True, slots=True)
class Planned:
    """The sources of one genome.

    Attributes:
        sources: in the order of their launches.
        workspace: what they hand on.
        main: the product's place among them.
    """

    sources: tuple[AnySource, ...]
    workspace: tuple[Buffer, ...] = ()
    main: int = 0

    def joined(self, results: Sequence[Image | CompileFailure]) -> Loadable | CompileFailure:
        """The variant of the images that the sources gave, or the first reason why there is none."""
        images = [result for result in results if isinstance(result, Image)]
        if len(images) < len(results):
            return next(result for result in results if isinstance(result, CompileFailure))
        return images[0] if len(images) == 1 else Bundle(tuple(images), self.workspace, self.main)


Planner = Callable[[Problem, Genome], Planned]
"""What a target makes of a genome.

Raises:
    ConfigError, LoweringError: it has no sources.
"""


def build(
    problem: Problem,
    space: SearchSpace,
    genomes: Sequence[Genome],
    arch: str,
    compiler: Compiler,
    plan: Planner,
) -> list[Built]:
    """Lower, print and compile all genomes; one result for each, in order.

    Args:
        plan: of the target.

    Raises:
        SpaceError: a genome is not in the space.
    """
    space.require(genomes, problem)
    start = time.perf_counter_ns()
    results = compiled([_planned(problem, genome, plan) for genome in genomes], arch, compiler)
    share_ns = (time.perf_counter_ns() - start) // max(1, len(genomes))
    return [built(result, share_ns) for result in results]


def compiled(
    plans: Sequence[Planned | CompileFailure], arch: str, compiler: Compiler
) -> list[Loadable | CompileFailure]:
    """The variant of each, or why there is none; stages that several have in common are compiled once."""
    printed = dict.fromkeys(one for plan in plans if isinstance(plan, Planned) for one in plan.sources)
    made = dict(zip(printed, compiler.compile_all(list(printed), arch) if printed else (), strict=True))
    return [plan.joined([made[one] for one in plan.sources]) if isinstance(plan, Planned) else plan for plan in plans]


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
