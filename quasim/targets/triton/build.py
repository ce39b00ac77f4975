"""From genomes to what a GPU worker runs; what cannot be launched is known before a GPU is touched."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from quasim.errors import ConfigError, SpaceError
from quasim.kernels import family
from quasim.kernels.lower import LoweringError
from quasim.space import SearchSpace
from quasim.targets.triton.foreign_family import ForeignFamily
from quasim.targets.triton.foreign_source import foreign_source
from quasim.targets.triton.image import CompileFailure, Image
from quasim.targets.triton.pool import Compiler
from quasim.targets.triton.source import Source, source
from quasim.trial import Genome, Problem, Status
from quasim.worker.protocol import Binary, Entry


@dataclass(frozen=True, slots=True)
class Built:
    """Something to measure.

    Attributes:
        entry: None where there is nothing to launch; ``status`` and ``detail`` say why.
        image: of a genome; None where it did not compile.
        compile_ns: of a genome, its share of the time that its batch took; None where it did not compile.
    """

    entry: Entry | None
    image: Image | None = None
    compile_ns: int | None = None
    status: Status = Status.OK
    detail: str = ""


def build(
    problem: Problem, space: SearchSpace, genomes: Sequence[Genome], arch: str, compiler: Compiler
) -> list[Built]:
    """Lower, print and compile all genomes; one result for each, in order.

    Raises:
        SpaceError: a genome is not in the space.
    """
    for genome in genomes:
        if not space.contains(genome):
            raise SpaceError(f"genome {genome} is not in the space of {problem}", "take it from the target's space")
    start = time.perf_counter_ns()
    sources = [_source(problem, genome) for genome in genomes]
    printed = [one for one in sources if isinstance(one, Source)]
    compiled = iter(compiler.compile_all(printed, arch) if printed else ())
    results = [next(compiled) if isinstance(one, Source) else one for one in sources]
    share_ns = (time.perf_counter_ns() - start) // max(1, len(genomes))
    return [built(result, share_ns) for result in results]


def built(result: Image | CompileFailure, compile_ns: int | None = None) -> Built:
    """What became of one source."""
    if isinstance(result, Image):
        return Built(Binary(result), result, compile_ns)
    status = Status.LAUNCH_ERROR if result.stage == "resources" else Status.COMPILE_ERROR
    return Built(None, status=status, detail=f"{result.stage}: {result.reason}")


def _source(problem: Problem, genome: Genome) -> Source | CompileFailure:
    known = family(problem.kernel)
    try:
        if isinstance(known, ForeignFamily):
            return foreign_source(known, genome, problem.dims)
        return source(known.kernel, genome, problem.dims)
    except (ConfigError, LoweringError) as error:
        return CompileFailure("compile", error.what)
