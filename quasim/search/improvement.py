"""Bayesian optimisation: asks where the surrogate expects the largest improvement, among all configurations."""

from __future__ import annotations

import numpy as np

from quasim.search.first import FIRST, first_cells
from quasim.search.ledger import Cells, Mask
from quasim.search.recording import RecordingStrategy
from quasim.search.surrogate import TABLE, Prediction
from quasim.space import Floats

REACH = 8
"""Fastest configurations whose neighbours are looked at in spaces that are too large to look at whole."""


FAR = -3.5
"""Standardised improvement below which the asymptote takes over."""

TINY = 1e-300
"""What the least promising configuration is worth, so that none is ruled out."""


class Improvement(RecordingStrategy):
    """Expected improvement (Jones et al. 1998) times the probability that the configuration works.

    Several asked at once are kept apart: what is expected of one falls with its likeness to those chosen before it or
    still out.
    """

    name = "improvement"

    def _propose(self, count: int, free: Mask) -> list[int]:
        known, pending = len(self._ledger.trials), list(self._ledger.pending)
        chosen: list[int] = []
        if self._notes.prior is None and (missing := FIRST - known - len(pending)) > 0:
            tried = np.array([*self._ledger.trials, *pending], dtype=np.int64)
            encoding = self._notes.surrogate().encoding
            chosen = first_cells(self._space, encoding, tried, min(count, missing), free, self._rng)
            free[chosen] = False
        return chosen + self._improving(count - len(chosen), free, pending + chosen)

    def _improving(self, count: int, free: Mask, out: list[int]) -> list[int]:
        """Up to ``count`` free cells, apart from those that are out."""
        cells = self._candidates(free) if count else np.zeros(0, dtype=np.int64)
        if not len(cells):
            return []
        surrogate = self._notes.surrogate()
        merit = improvement(surrogate.predict(cells))
        for cell in out:
            merit = merit * (1 - surrogate.likeness(cells, cell))
        chosen: list[int] = []
        while len(chosen) < min(count, len(cells)):
            best = int(merit.argmax())
            chosen.append(int(cells[best]))
            if len(chosen) < count:
                merit = merit * (1 - surrogate.likeness(cells, chosen[-1]))
                merit[best] = -1.0
        return chosen

    def _candidates(self, free: Mask) -> Cells:
        """All free cells; of a space beyond ``TABLE`` a random part, and the neighbours of the fastest."""
        cells = np.flatnonzero(free)
        if self._space.size <= TABLE:
            return cells
        best, _ = self._ledger.ranked()
        near = self._space.neighbours(self._space.rows[best[:REACH]]).ravel()
        near = near[near >= 0]
        drawn = self._rng.choice(cells, size=min(TABLE // 2, len(cells)), replace=False)
        return np.union1d(drawn, near[free[near]])

    def entropy(self) -> float:
        """Mean normalised entropy of each parameter's values, weighted by what they promise: 1 before any trial."""
        counts = np.array(self._space.cardinalities)
        if not self._ledger.trials or not (counts > 1).any():
            return float((counts > 1).any())
        cells = np.unique(np.linspace(0, self._space.size - 1, min(self._space.size, TABLE)).astype(np.int64))
        merit = improvement(self._notes.surrogate().predict(cells))
        genes = self._space.rows[cells] + self._space.gene_offsets
        shares = np.bincount(genes.ravel(), np.repeat(merit / merit.sum(), len(counts)), len(self._space.gene_owners))
        surprise = -shares * np.log(np.maximum(shares, TINY))
        return float(
            np.mean(np.add.reduceat(surprise, self._space.gene_offsets)[counts > 1] / np.log(counts[counts > 1]))
        )


def improvement(expected: Prediction) -> Floats:
    """Expected improvement of log time on the best known, by probability of working, shape (n,), above 0."""
    by = -expected.mean / expected.deviation
    # Far below, the difference of the two terms is lost to rounding; there it is φ(z)/(z² + 3) to within 2 %.
    gain = np.where(by < FAR, _density(by) / (by * by + 3), by * _below(by) + _density(by))
    return np.asarray(expected.feasible * expected.deviation * gain + TINY)


def _density(z: Floats) -> Floats:
    return np.asarray(np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi))


def _below(z: Floats) -> Floats:
    """The normal distribution function, to 1e-7 (Abramowitz & Stegun 1964, 7.1.26)."""
    t = 1 / (1 + 0.3275911 / np.sqrt(2) * np.abs(z))
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return np.asarray(0.5 + np.sign(z) * 0.5 * (1 - series * np.exp(-0.5 * z * z)))
