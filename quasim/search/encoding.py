"""A search space as features whose distances say how alike two configurations are."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import numpy.typing as npt

from quasim.space import Floats, Kind, Parameter, SearchSpace

GEOMETRIC = 4.0
"""Least ratio of the largest to the smallest positive value from which a parameter counts in octaves."""

ALIGNED = 6
"""Most factors of 2 that alignment counts: 64 lanes are the widest warp."""


class Encoding:
    """Features of one space, linear in the one-hot columns, so that relaxed genomes have them, too.

    Each parameter gives up to three groups of columns: where its value lies, how often 2 divides it (alignment to
    vectors, banks and warps), and which it is. Tile sizes, blocks and vector widths act through their ratios and
    products (threads of a block, work of a thread), so the positions of values that span ``GEOMETRIC`` or more are
    logarithms, and each two such parameters give one group more: the logarithm of their product.

    Attributes:
        matrix: features of each one-hot column, shape (genes, columns).
        centred: the same less each parameter's mean, shape (genes, columns): all distances stay, in fewer dimensions.
        groups: group of each column, shape (columns,), ascending from 0; a group has one length scale.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        blocks = [_lifted(space, {at: block}) for at, p in enumerate(space.parameters) for block in _blocks(p)]
        octaves = {at: _octaves(p) for at, p in enumerate(space.parameters) if len(p.values) > 2 and _is_geometric(p)}
        for one, other in combinations(octaves, 2):
            # An octave of the one weighs as much as of the other; the largest product is 1 from the smallest.
            span = octaves[one].max() + octaves[other].max()
            blocks.append(_lifted(space, {at: octaves[at][:, None] / span for at in (one, other)}))
        self.matrix: Floats = np.concatenate([np.zeros((len(space.gene_owners), 0)), *blocks], axis=1)
        self.centred: Floats = self.matrix - _means(space, self.matrix)[space.gene_owners]
        self.groups: npt.NDArray[np.int64] = np.repeat(np.arange(len(blocks)), [block.shape[1] for block in blocks])

    def of(self, cells: npt.NDArray[np.int64]) -> Floats:
        """Features of cells, shape (n, columns)."""
        return np.asarray(self._space.one_hot(self._space.rows[cells]) @ self.matrix)


def _means(space: SearchSpace, matrix: Floats) -> Floats:
    """Mean over the genes of each parameter, shape (parameters, columns)."""
    return np.asarray(np.add.reduceat(matrix, space.gene_offsets, axis=0) / np.array(space.cardinalities)[:, None])


def _lifted(space: SearchSpace, parts: dict[int, Floats]) -> Floats:
    """Columns over all genes, from those of some parameters, by index."""
    columns = np.zeros((len(space.gene_owners), next(iter(parts.values())).shape[1]))
    for at, part in parts.items():
        columns[space.gene_owners == at] = part
    return columns


def _blocks(parameter: Parameter) -> list[Floats]:
    """The groups of one parameter, shape (values, columns) each; none where it has no choice."""
    count = len(parameter.values)
    if count < 2:
        return []
    # Two values that differ are 1 apart in squared distance.
    which = np.eye(count) / math.sqrt(2)
    if parameter.kind is Kind.CATEGORICAL or count < 3:
        return [which]
    alignment = _alignment(parameter)
    return [_position(parameter), *([] if alignment is None else [alignment]), which]


def _is_geometric(parameter: Parameter) -> bool:
    if parameter.kind is Kind.CATEGORICAL:
        return False
    values = np.array(parameter.values, dtype=np.float64)
    return bool(values.min() > 0 and values.max() >= GEOMETRIC * values.min())


def _octaves(parameter: Parameter) -> Floats:
    """Octaves above the smallest value, shape (values,)."""
    logs = np.log2(np.array(parameter.values, dtype=np.float64))
    return np.asarray(logs - logs.min())


def _position(parameter: Parameter) -> Floats:
    """Where each value lies from the smallest (0) to the largest (1), shape (values, 1)."""
    values = np.array(parameter.values, dtype=np.float64)
    place = _octaves(parameter) if _is_geometric(parameter) else values - values.min()
    return np.asarray((place / place.max())[:, None])


def _alignment(parameter: Parameter) -> Floats | None:
    """How often 2 divides each value, from 0 to 1, shape (values, 1); None where the position says as much."""
    if not parameter.all_of(int):
        return None
    values = np.array(parameter.values, dtype=np.int64)
    if values.min() <= 0 or not (values & (values - 1)).any():
        return None
    factors = np.minimum(np.log2(values & -values), ALIGNED)
    spread = float(np.ptp(factors))
    return np.asarray((factors - factors.min())[:, None] / spread) if spread else None
