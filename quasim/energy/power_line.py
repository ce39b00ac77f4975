"""What a variant will draw, judged by its time and by those that were metered: a line in logarithms, and its doubt.

``log P = a + b·log t`` by Bayesian linear regression (Bishop 2006, section 3.3). b is 0 where power does not depend on
how fast a variant is, and −1 where joules do not; until variants say otherwise it is taken to lie about halfway.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from quasim.energy.objective import mean_power_w
from quasim.trial import Trial

SLOPE, SLOPE_SPREAD = -0.5, 0.5
LEVEL_SPREAD = 1.0
"""Of the logarithm of power about the first readings: they soon outweigh it."""

USUAL_SPREAD, USUAL_COUNT = 0.1, 3
"""Standard deviation of a variant about the line, and how many readings that guess is worth: as in our recordings of an
H100."""


class PowerLine:
    """The line through some metered trials of one problem on one device.

    Raises:
        ValueError: none of them was metered.
    """

    def __init__(self, trials: Sequence[Trial]) -> None:
        pairs = [(trial.time_ns, power) for trial in trials if (power := mean_power_w(trial)) is not None]
        if not pairs:
            raise ValueError("a line of power needs a metered trial")
        x, y = np.log(np.array(pairs)).T
        self._middle = float(x.mean())
        self._base = float(y.mean())
        design = np.stack([np.ones_like(x), x - self._middle], axis=1)
        prior = np.diag([LEVEL_SPREAD**-2, SLOPE_SPREAD**-2])
        pull = prior @ np.array([0.0, SLOPE])
        self._variance = USUAL_SPREAD**2
        for _ in range(2):  # the second time with the spread that the first one left
            self._covariance = np.linalg.inv(prior + design.T @ design / self._variance)
            self._line = self._covariance @ (pull + design.T @ (y - self._base) / self._variance)
            off = y - self._base - design @ self._line
            self._variance = (USUAL_COUNT * USUAL_SPREAD**2 + float(off @ off)) / (USUAL_COUNT + len(y))

    def log_power(self, time_ns: float) -> tuple[float, float]:
        """Logarithm of the watts that a variant of this time is expected to draw, and its standard deviation."""
        at = np.array([1.0, math.log(time_ns) - self._middle])
        return self._base + float(at @ self._line), math.sqrt(self._variance + float(at @ self._covariance @ at))
