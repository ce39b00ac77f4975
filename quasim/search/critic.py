"""The critic of the evolution: what a configuration is probably worth, and how sure that is.

A Gaussian process (Rasmussen & Williams 2006, algorithm 2.1) on the advantages of the told genomes. Two configurations
are alike by ``LIKENESS`` to the power of their distance, to which every ordinal parameter that differs adds ½ and how
far apart its values are (1: first and last), a categorical one 1. That is a squared Euclidean distance of encodings, so
the kernel is positive definite. A prior's score is one more linear feature, whose slope is learned: a fleet that is
wrong about this device is soon disbelieved.
"""

from __future__ import annotations

import math

import numpy as np

from quasim.search.ledger import Cells
from quasim.space import Floats, Kind, Rows, SearchSpace

LIKENESS = 0.7
"""Correlation of two configurations at distance 1."""

NOISE = 0.05
"""Variance of an advantage that the kernel cannot explain, in units of the advantages' variance."""

PRIOR_SLOPE = 2.0
"""Advantage between a prior's scores −1 and 0 as believed at first, and how unsure that is."""

MEMORY = 384
"""Latest trials that are fitted: the time of a fit grows with the cube, 384 take about 15 ms."""


class Critic:
    """Posterior mean and deviation of the advantage of any cell of one space."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._scores: Floats = np.zeros(space.size)
        self._cells: Cells = np.zeros(0, dtype=np.int64)
        self._weights: Floats = np.zeros(0)
        self._whitening: Floats = np.zeros((0, 0))
        spans = np.maximum(np.array(space.cardinalities) - 1, 1)
        ordinal = np.array([p.kind is Kind.ORDINAL for p in space.parameters])
        # A mismatch shows in two one-hot columns, a step in one.
        self._match_scale = np.sqrt(np.where(ordinal, 0.5, 1.0) / 2)[space.gene_owners]
        self._step_scale = np.sqrt(np.where(ordinal, 1.0 / spans, 0.0))[space.gene_owners]

    def expect(self, mean: Floats, weight: Floats) -> None:
        """Believe a prior: score and weight of each cell, shape (size,). Cells of weight 0 count as average."""
        known = weight > 0
        average = float(np.average(mean[known], weights=weight[known])) if known.any() else 0.0
        self._scores = np.where(known, mean - average, 0.0)

    def fit(self, cells: Cells, advantages: Floats) -> None:
        """Learn from the advantages of distinct cells, shape (n,); replaces what was fitted before."""
        self._cells = cells[-MEMORY:]
        residual = advantages[-MEMORY:] - PRIOR_SLOPE * self._scores[self._cells]
        kernel = self._kernel(self._cells, self._cells) + NOISE * np.eye(len(self._cells))
        self._whitening = np.linalg.inv(np.linalg.cholesky(kernel))
        self._weights = self._whitening.T @ (self._whitening @ residual)

    def judge(self, cells: Cells) -> tuple[Floats, Floats]:
        """Expected advantage of each cell and its standard deviation, each shape (n,)."""
        mean = PRIOR_SLOPE * self._scores[cells]
        spread = 1 + (PRIOR_SLOPE * self._scores[cells]) ** 2
        if len(self._cells):
            shared = self._kernel(cells, self._cells)
            mean = mean + shared @ self._weights
            spread = spread - ((shared @ self._whitening.T) ** 2).sum(axis=1)
        return mean, np.sqrt(np.maximum(spread, 0.0))

    def _kernel(self, left: Cells, right: Cells) -> Floats:
        a, b = self._encode(self._space.rows[left]), self._encode(self._space.rows[right])
        distances = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * a @ b.T
        # exp is several times faster than a power.
        kernel = np.exp(math.log(LIKENESS) * np.maximum(distances, 0.0))
        kernel += PRIOR_SLOPE**2 * np.outer(self._scores[left], self._scores[right])
        return np.asarray(kernel)

    def _encode(self, rows: Rows) -> Floats:
        """Features whose squared Euclidean distance is the distance of the configurations.

        One-hot columns count differing parameters; one column per step passed (a thermometer) counts steps between
        values. A categorical parameter has no steps and counts fully by differing.
        """
        passed = self._space.gene_values < rows[:, self._space.gene_owners]
        return np.concatenate([self._space.one_hot(rows) * self._match_scale, passed * self._step_scale], axis=1)
