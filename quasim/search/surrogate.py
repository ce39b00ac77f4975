"""What a configuration is probably worth: log time, how sure that is, and whether it works at all.

Log times above the best are a Gaussian process over the ``Encoding``, around a constant and, where the fleet knows
something, its score times a learned slope. Failed configurations tell where configurations fail, never a time.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import NamedTuple

import numpy as np

from quasim.search._base import Prior
from quasim.search.encoding import Encoding
from quasim.search.gaussian import ROOT5, Posterior, Scales, Singles, distances, matern
from quasim.search.ledger import Cells, Mask
from quasim.search.table import Table
from quasim.space import Floats, SearchSpace

PRIOR_SLOPE = 2.0
"""Deviations of log time between a prior's scores −1 and 0 as believed at first, and how unsure that is."""

TAIL = 2.0
"""Log times beyond so many medians are cut off: how slow the slow are says nothing about the fast."""

LEAST_TAIL = math.log(2.0)
"""Log time that is never cut off: in a flat space all configurations are near the best, and tell of it."""

LEAST_SPREAD = 1e-3
"""Least deviation of log times that counts, as where all are alike."""

LEAST_VARIANCE = 1e-6
"""Least variance of what is expected, in units of the variance of the log times: single precision ends there."""

MEMORY = 384
"""Most trials that are fitted; of more, the latest and the fastest."""

STRIDE = 64
"""Trials by which the window of the latest moves."""

GROWTH = 1.15
"""Scales are learned anew with each so many times more trials."""

TABLE = 1 << 15
"""Largest space whose cells are all kept as a table; of a larger one, those asked for are worked out each time."""

TRUST = 0.9
"""Share of configurations that work, far from all that was tried and where the fleet does not know better."""


class Prediction(NamedTuple):
    """What is expected of cells, arrays of shape (n,).

    Attributes:
        mean: of log(time / best known); 0 is as good as the best.
        deviation: standard deviation of that.
        feasible: probability that the configuration works.
    """

    mean: Floats
    deviation: Floats
    feasible: Floats


class Surrogate:
    """Posterior of one space: a function of the prior and the trials in their order, with no generator inside.

    The scales are those of the first trials, up to the last count at which they were to be learned; later trials join
    one by one. So the same trials give the same figures to the bit, however they came in.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self.encoding = Encoding(space)
        self._scores: Floats = np.zeros(space.size)
        self._trust = _trusted(None, space.size)
        self._forgotten()

    def _forgotten(self) -> None:
        self._told: Cells = np.zeros(0, dtype=np.int64)
        self._worked: Mask = np.zeros(0, dtype=bool)
        self._targets: Floats = np.zeros(0)
        self._centre, self._spread = 0.0, 1.0
        self._times = self._works = self._unlearned
        self._learned_from = (b"", b"")
        self._table: Table | None = None

    @cached_property
    def _unlearned(self) -> _Learned:
        return self._learned(np.zeros(0, dtype=np.int64), np.zeros(0))

    def _learned(self, cells: Cells, targets: Floats) -> _Learned:
        scales = Scales(self.encoding.of(cells), self.encoding.groups, targets)
        return _Learned(scales.metric(self.encoding.centred), scales.noise)

    def expect(self, prior: Prior | None) -> None:
        """Believe a prior, or none; cells of weight 0 count as average."""
        self._scores = np.zeros(self._space.size)
        self._trust = _trusted(prior, self._space.size)
        if prior is not None and (prior.weight > 0).any():
            known = prior.weight > 0
            average = float(np.average(prior.mean[known], weights=prior.weight[known]))
            self._scores = PRIOR_SLOPE * np.where(known, prior.mean - average, 0.0)
        self._forgotten()

    def fit(self, cells: Cells, times_ns: Floats) -> None:
        """Learn from distinct told cells and their times in ns (infinity: failed); replaces what was fitted."""
        cells, times_ns = _remembered(cells, times_ns)
        worked = np.isfinite(times_ns)
        seen = len(self._told)
        if not (np.array_equal(cells[:seen], self._told) and np.array_equal(worked[:seen], self._worked)):
            self._table = None
        self._told, self._worked = cells, worked
        first = _learned_at(len(cells))
        source = (cells[:first].tobytes(), times_ns[:first].tobytes())
        if self._learned_from != source:
            self._learn(cells[:first], times_ns[:first])
            self._learned_from, self._table = source, None
        targets, self._centre, self._spread = _standard(np.log(times_ns[worked]))
        self._targets = targets + self._scores[cells[worked]]

    def _learn(self, cells: Cells, times_ns: Floats) -> None:
        """Learn the scales of times and of feasibility; these differ, since limits lie elsewhere than slopes."""
        worked = np.isfinite(times_ns)
        targets, _, _ = _standard(np.log(times_ns[worked]))
        self._times = self._learned(cells[worked], targets + self._scores[cells[worked]])
        # Where nothing failed, or all did, there is nothing to tell apart.
        mixed = 0 < worked.sum() < len(worked)
        self._works = self._learned(cells, 1.0 - 2.0 * worked) if mixed else self._unlearned

    def predict(self, cells: Cells) -> Prediction:
        """What is expected of cells."""
        return self._prediction(*self._table_with(cells), cells)

    def predict_once(self, cells: Cells) -> Prediction:
        """The same up to rounding, for who asks but once: of these cells alone, and nothing is kept to grow."""
        return self._prediction(*self._table_alone(cells), cells)

    def _prediction(self, table: Table, at: Cells, cells: Cells) -> Prediction:
        mean = table.times.mean(self._targets)[at] - self._scores[cells]
        variance = np.maximum(table.times.variance[at].astype(np.float64), LEAST_VARIANCE)
        return Prediction(self._centre + self._spread * mean, self._spread * np.sqrt(variance), table.feasible()[at])

    def likeness(self, cells: Cells, to: int) -> Floats:
        """How alike the log times of cells are to that of one, from 0 to 1, whatever was tried; shape (n,)."""
        points = self._points(np.append(cells, to))
        return np.asarray(matern(distances(points[:-1], points[-1:]))[:, 0])

    def relaxed(self, weights: Floats) -> tuple[Floats, Floats]:
        """Expected log time of relaxed genomes and its gradient, of what was fitted; the fleet's word aside.

        Args:
            weights: weight of each one-hot column, shape (n, genes), each parameter's sum 1.

        Returns:
            Mean of log(time / best known), shape (n,), and its derivative by each weight, shape (n, genes).
        """
        known = self._told[self._worked]
        table, _ = self._table_with(known)
        pulls = table.times.weights(self._targets)
        tried, points = self._points(known), weights @ self._times.metric
        squares = distances(points, tried)
        root = ROOT5 * np.sqrt(squares)
        # dk/dx of the Matérn 5/2 kernel is −5/3 (1 + √5 r) exp(−√5 r) (x − xᵢ).
        pull = -5 / 3 * (1 + root) * np.exp(-root) * pulls
        slope = pull.sum(axis=1)[:, None] * points - pull @ tried
        mean = matern(squares) @ pulls
        return self._centre + self._spread * mean, self._spread * (slope @ self._times.metric.T)

    def _points(self, cells: Cells) -> Floats:
        return np.asarray(self._space.one_hot(self._space.rows[cells]) @ self._times.metric)

    @cached_property
    def _hot(self) -> Singles:
        """One-hot columns of all cells, shape (size, genes)."""
        return self._space.one_hot(self._space.rows).astype(np.float32)

    def _table_with(self, cells: Cells) -> tuple[Table, Cells]:
        """A table up to date that holds these cells, and where."""
        if self._space.size > TABLE:
            return self._table_alone(cells)
        if self._table is None:
            self._table = self._table_of(self._hot, np.arange(self._space.size))
        self._table.update(self._told, self._worked, _learned_at(len(self._told)))
        return self._table, cells

    def _table_alone(self, cells: Cells) -> tuple[Table, Cells]:
        """A table of what was told and these cells alone, and where the latter are."""
        count = len(self._told)
        held = np.concatenate([self._told, cells])
        small = self._space.size <= TABLE
        hot = self._hot[held] if small else self._space.one_hot(self._space.rows[held]).astype(np.float32)
        table = self._table_of(hot, held)
        table.update(np.arange(count), self._worked, count)
        return table, np.arange(count, len(held))

    def _table_of(self, hot: Singles, cells: Cells) -> Table:
        """A table of cells, given their one-hot columns, without any trial."""
        times = self._times.posterior(hot, self._scores[cells])
        level = np.zeros(len(hot))
        return Table(times, lambda: self._works.posterior(hot, level, mean_only=True), self._trust[cells])


class _Learned(NamedTuple):
    """Points of the one-hot columns in units of their length scales, shape (genes, columns), and the noise."""

    metric: Floats
    noise: float

    def posterior(self, hot: Singles, trend: Floats, *, mean_only: bool = False) -> Posterior:
        """Of points given by their one-hot columns, before anything was observed."""
        return Posterior(hot @ self.metric.astype(np.float32), trend, self.noise, mean_only=mean_only)


def _trusted(prior: Prior | None, size: int) -> Floats:
    """What share of each cell's like works before any trial, shape (size,)."""
    if prior is None or prior.feasible is None:
        return np.full(size, TRUST)
    return np.where(prior.weight > 0, prior.feasible, TRUST)


def _remembered(cells: Cells, times_ns: Floats) -> tuple[Cells, Floats]:
    """Up to ``MEMORY`` trials: the latest, and the fastest of those before; in their order."""
    if len(cells) <= MEMORY:
        return cells, times_ns
    # The window moves in strides, so that trials within one join the table one by one.
    start = -(-(len(cells) - MEMORY // 2) // STRIDE) * STRIDE
    fastest = np.sort(np.argsort(times_ns[:start], kind="stable")[: MEMORY // 4])
    kept = np.concatenate([fastest, np.arange(start, len(cells))])
    return cells[kept], times_ns[kept]


def _learned_at(count: int) -> int:
    """From how many trials the scales come when there are ``count``: the last step of a geometric series."""
    step = 1.0
    while step * GROWTH <= count:
        step *= GROWTH
    return min(count, math.ceil(step))


def _standard(logs: Floats) -> tuple[Floats, float, float]:
    """Targets of mean 0 and deviation 1 from log times, and that mean and deviation above the best."""
    if not len(logs):
        return logs, 0.0, 1.0
    above = logs - logs.min()
    above = np.minimum(above, max(TAIL * float(np.median(above)), LEAST_TAIL))
    centre, spread = float(above.mean()), max(float(above.std()), LEAST_SPREAD)
    return (above - centre) / spread, centre, spread
