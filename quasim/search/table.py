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
        self._told = 0
        self._weighed = 0
        self._surprise: Floats = np.zeros(0)

    def update(self, told: Cells, worked: Mask, base: int) -> None:
        """Observe what was told since; of the first update, the first ``base`` at once."""
        if not self._told:
            self.times.start(told[:base][worked[:base]])
            self._told = base
        for at in told[self._told :][worked[self._told :]]:
            self.times.observe(int(at))
        self._told, self._surprise = len(told), worked - self._trust[told]
        if not worked.all():
            self._weigh(told, base)

    def _weigh(self, told: Cells, base: int) -> None:
        """Observe all that was told for its feasibility, from when the first failure is known."""
        if self._works is None:
            self._works, self._weighed = self._make_works(), base
            self._works.start(told[:base])
        for at in told[self._weighed :]:
            self._works.observe(int(at))
        self._weighed = len(told)

    def feasible(self) -> Floats:
        """Probability of each point to work, shape (size,)."""
        if self._works is None:
            return self._trust
        return np.asarray(np.clip(self._trust + self._works.mean(self._surprise), LEAST_FEASIBLE, 1.0))
