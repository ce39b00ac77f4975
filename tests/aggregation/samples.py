"""Small spaces, trials and vectors that the tests of this folder share."""

from __future__ import annotations

import numpy as np

from aggregation.catalogue import Catalogue
from quasim.space import AtMost, Floats, Parameter, SearchSpace
from quasim.trial import Genome, Problem, Status, Timing, Trial

MATMUL = Problem.of("matmul", m=768, n=768, k=768)
NEAR = Problem.of("matmul", m=800, n=900, k=750)
"""Another problem of MATMUL's shape class."""
SOFTMAX = Problem.of("softmax", rows=4096, columns=512)

SPACE = SearchSpace(
    (Parameter("tile", (8, 16, 32)), Parameter("unroll", (1, 2, 4))),
    (AtMost(("tile", "unroll"), 64),),
)
ROWS = SearchSpace((Parameter("width", (1, 4, 8, 16)),))

SPACES = {("c", MATMUL): SPACE, ("c", NEAR): SPACE, ("c", SOFTMAX): ROWS}
CATALOGUE = Catalogue.of(SPACES)


def ok(time_ns: float, cell: int, problem: Problem = MATMUL, space: SearchSpace = SPACE) -> Trial:
    timing = Timing(time_ns, time_ns, time_ns, 5)
    return Trial(problem=problem, target="c", genome=space.genome_at(cell), status=Status.OK, timing=timing)


def failed(cell: int, status: Status = Status.CRASHED) -> Trial:
    return Trial(problem=MATMUL, target="c", genome=SPACE.genome_at(cell), status=status)


def outside() -> Trial:
    genome = Genome({"tile": 32, "unroll": 4})
    return Trial(problem=MATMUL, target="c", genome=genome, status=Status.OK, timing=Timing(1.0, 1.0, 1.0, 1))


def random_vector(seed: int, length: int) -> Floats:
    """Entries of very unlike sizes, so that the order of a sum shows."""
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, length) * 10.0 ** rng.integers(-12, 0, length, endpoint=True)
