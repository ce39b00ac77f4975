"""The first configurations of a search that knows nothing: the default, then spread over the space."""

from __future__ import annotations

import numpy as np

from quasim.search.encoding import Encoding
from quasim.search.gaussian import distances
from quasim.search.ledger import Cells, Mask
from quasim.space import SearchSpace

FIRST = 8
"""Trials before a model is asked; on 14 recorded spaces 3 or 5 did worse at 50 evaluations and later."""

DRAWN = 400
"""Free cells of which the farthest from all tried ones is taken: another for each seed, and none far from the best."""


def first_cells(
    space: SearchSpace, encoding: Encoding, tried: Cells, count: int, free: Mask, rng: np.random.Generator
) -> list[int]:
    """Up to ``count`` distinct free cells.

    The space's default comes first. Where it has none, a configuration in the middle does: extremes of block and tile
    sizes are seldom good, and often fail. Each further one is the farthest of some draws from all before.

    Args:
        tried: what was told or handed out.
        free: which cells may be chosen, shape (size,).
    """
    chosen: list[int] = []
    for _ in range(count):
        cells = np.flatnonzero(free)
        cells = cells[~np.isin(cells, chosen)]
        if not len(cells):
            break
        before = np.append(tried, np.array(chosen, dtype=np.int64))
        chosen.append(_farthest(encoding, cells, before, rng) if len(before) else _middle(space, cells, rng))
    return chosen


def _middle(space: SearchSpace, cells: Cells, rng: np.random.Generator) -> int:
    """The default if it is free, else one of the cells nearest to the middle of all values."""
    if space.default is not None:
        default = space.cell(space.default)
        if np.isin(default, cells):
            return default
    off = ((space.ordinal(space.rows[cells]) - 0.5) ** 2).sum(axis=1)
    return int(rng.choice(cells[off <= off.min() + 1e-9]))


def _farthest(encoding: Encoding, cells: Cells, before: Cells, rng: np.random.Generator) -> int:
    drawn = rng.choice(cells, size=min(DRAWN, (len(cells) + 1) // 2), replace=False)
    apart = distances(encoding.of(drawn), encoding.of(before)).min(axis=1)
    return int(drawn[apart.argmax()])
