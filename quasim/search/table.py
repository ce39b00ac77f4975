"""What is expected at each of a set of points, kept up as trials of some of them come in."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from quasim.search.gaussian import Posterior
from quasim.search.ledger import Cells, Mask
from quasim.space import Floats

LEAST_FEASIBLE = 0.01
"""A regression may leave the range of a probability; nothing untried is ruled out or certain."""


class Table:
    """Times and feasibility at a set of points.

    Args:
        times: of log times at the points, in deviations.
        works: gives that of by how much feasibility differs from ``trust``; asked once something failed.
        trust: probability of each point to work before any trial, shape (size,).
    """

    def __init__(self, times: Posterior, works: Callable[[], Posterior], trust: Floats) -> None:
        self.times = times
        self._make_works = works
        self._works: Posterior | None = None
        self._trust = trust
        self._surprise: Floats = np.zeros(0)

    def update(self, told: Cells, worked: Mask, base: int) -> None:
        """Observe what was told since; the first ``base`` at once."""
        self.times.observe(told[worked], int(worked[:base].sum()))
        self._surprise = worked - self._trust[told]
        if not worked.all():
            # Feasibility matters from when the first failure is known.
            self._works = self._works or self._make_works()
            self._works.observe(told, base)

    def feasible(self) -> Floats:
        """Probability of each point to work, shape (size,)."""
        if self._works is None:
            return self._trust
        return np.asarray(np.clip(self._trust + self._works.mean(self._surprise), LEAST_FEASIBLE, 1.0))
