"""Search spaces of the C target: the genes of each schedule pattern and the values worth trying."""

from __future__ import annotations

from quasim.kernels import family
from quasim.kernels.lower import Pattern, pattern
from quasim.space import AtMost, Constraint, Kind, Parameter, SearchSpace
from quasim.trial import Genome, Problem

BOOL = (False, True)


def space(problem: Problem, threads: int) -> SearchSpace:
    """The search space of a problem on a CPU with so many threads."""
    kernel = family(problem.kernel).kernel
    counts = tuple(sorted({max(1, threads // 2), threads}))
    shared: tuple[Parameter, ...] = (Parameter("lanes", (4, 8)), Parameter("threads", counts))
    constraints: tuple[Constraint, ...] = ()
    if pattern(kernel) is Pattern.CONTRACTION:
        own = (
            Parameter("mr", (2, 4, 6, 8)), Parameter("nv", (1, 2, 3)), Parameter("ku", (1, 2, 4)),
            Parameter("kc", (128, 256, 512)), Parameter("mc", (48, 96, 192)), Parameter("nc", (192, 384, 768)),
            Parameter("pack_a", BOOL, Kind.CATEGORICAL), Parameter("pack_b", BOOL, Kind.CATEGORICAL),
        )  # fmt: skip
        constraints = (AtMost(("mr", "nv"), 14),)
        default = {
            "lanes": 4,
            "threads": threads,
            "mr": 4,
            "nv": 1,
            "ku": 1,
            "kc": 128,
            "mc": 48,
            "nc": 192,
            "pack_a": False,
            "pack_b": False,
        }
    elif pattern(kernel) is Pattern.ROWS:
        own = (
            Parameter("unroll", (1, 2, 4)), Parameter("keep", ("nothing", "scratch", "output"), Kind.CATEGORICAL),
            Parameter("chunk", (1, 8, 64)), Parameter("overlap", BOOL, Kind.CATEGORICAL),
            Parameter("prefetch", BOOL, Kind.CATEGORICAL), Parameter("stream", BOOL, Kind.CATEGORICAL),
        )  # fmt: skip
        default = {
            "lanes": 4,
            "threads": threads,
            "unroll": 1,
            "keep": "nothing",
            "chunk": 1,
            "overlap": False,
            "prefetch": False,
            "stream": False,
        }
    else:
        own = (
            Parameter("step_rows", (1, 2, 4, 8)), Parameter("tile_rows", (16, 64, 256)),
            Parameter("tile_cols", (256, 1024, 4096)), Parameter("stream", BOOL, Kind.CATEGORICAL),
        )  # fmt: skip
        default = {"lanes": 4, "threads": threads, "step_rows": 1, "tile_rows": 16, "tile_cols": 256, "stream": False}
    return SearchSpace((*shared, *own), constraints, Genome(default))
