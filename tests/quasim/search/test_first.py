from __future__ import annotations

import numpy as np

from quasim.search.encoding import Encoding
from quasim.search.first import first_cells
from quasim.space import Parameter, SearchSpace
from quasim.trial import Genome

PARAMETERS = (Parameter("a", tuple(range(1, 10))), Parameter("b", tuple(range(9))))
SPACE = SearchSpace(PARAMETERS)
NONE = np.zeros(0, dtype=np.int64)


def firsts(space: SearchSpace, tried: np.ndarray, count: int, seed: int = 0) -> list[int]:
    free = np.ones(space.size, dtype=bool)
    free[tried] = False
    return first_cells(space, Encoding(space), tried, count, free, np.random.default_rng(seed))


def test_default_comes_first_while_it_is_free() -> None:
    default = Genome({"a": 2, "b": 7})
    space = SearchSpace(PARAMETERS, (), default)
    at = space.cell(default)
    assert firsts(space, NONE, 3)[0] == at
    assert at not in firsts(space, np.array([at]), 3)


def test_without_a_default_the_middle_comes_first() -> None:
    assert SPACE.rows[firsts(SPACE, NONE, 1)[0]].tolist() == [4, 4]


def test_first_cells_are_spread_and_differ_by_seed() -> None:
    chosen = firsts(SPACE, NONE, 5)
    rows = SPACE.rows[chosen]
    apart = np.abs(rows[:, None] - rows).max(axis=2)[np.triu_indices(5, 1)]
    assert apart.min() >= 2
    assert len({tuple(firsts(SPACE, NONE, 5, seed)) for seed in range(4)}) > 1


def test_no_more_than_are_free_are_given() -> None:
    assert sorted(firsts(SPACE, np.arange(2, SPACE.size), 9)) == [0, 1]
    assert firsts(SPACE, np.arange(SPACE.size), 2) == []
