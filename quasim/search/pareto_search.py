"""Search for a whole front: asks where the optimistic forecasts of all objectives would add most volume below it.

One surrogate an objective, so that trials without joules still tell of time and error. This is SMS-EGO (Ponweiser et
al. 2008): the gain in hypervolume of the lower confidence bounds, by the probability that the configuration works.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from quasim.search.ledger import Cells, Mask
from quasim.search.pareto import gains, measured
from quasim.search.recording import RecordingStrategy
from quasim.search.relaxed import LEAST
from quasim.search.surrogate import Prediction, Surrogate
from quasim.space import Floats, SearchSpace

FIRST = 10
"""Random configurations before a model is asked, where the fleet tells nothing."""

DOUBT = 2.0
"""Deviations by which a forecast is optimistic."""

REFERENCE = 1.1
"""Where volume ends, the best seen being 0 and the worst 1: the ends of the front count, too."""

LEAST_ERROR = 2.0**-53
"""Errors below the rounding of float64, against which they are measured, are alike."""

LOOKED_AT = 1 << 15
"""Most free cells that a proposal chooses from; of more, a random part."""


class _Forecast(NamedTuple):
    """Logs of the objectives that trials differ in; the best that was seen of each is 0, the worst 1.

    Attributes:
        points: optimistic, of cells, shape (cells, 3); an objective that is not there is 0.
        known: of the trials that know all of these, shape (trials, 3).
        feasible: probability that a cell works, shape (cells,).
    """

    points: Floats
    known: Floats
    feasible: Floats


class Pareto(RecordingStrategy):
    """Grows the volume below the front; ``best`` still gives the fastest."""

    name = "pareto"

    def __init__(self, space: SearchSpace, seed: int) -> None:
        super().__init__(space, seed)
        self._others = (Surrogate(space), Surrogate(space))

    def _propose(self, count: int, free: Mask) -> list[int]:
        if not self._is_led():
            return self._drawn(count, free)
        cells = self._looked_at(free)
        if not count or not len(cells):
            return []
        points, known, feasible = self._forecast(cells)
        left = np.ones(len(cells), dtype=bool)
        proposed: list[int] = []
        while len(proposed) < count and left.any():
            merit = np.where(left, feasible * gains(points, known, np.full(3, REFERENCE)), -np.inf)
            if not merit.max() > 0:
                merit = np.where(left, -points.sum(axis=1), -np.inf)
            chosen = int(merit.argmax())
            proposed.append(int(cells[chosen]))
            # The next one is to add to what this one would.
            known, left[chosen] = np.append(known, points[chosen : chosen + 1], axis=0), False
        return proposed

    def _is_led(self) -> bool:
        """Whether forecasts decide, and not chance."""
        return self._notes.prior is not None or len(self._ledger.trials) >= FIRST

    def _looked_at(self, free: Mask) -> Cells:
        cells = np.flatnonzero(free)
        return cells if len(cells) <= LOOKED_AT else np.unique(self._rng.choice(cells, size=LOOKED_AT))

    def _forecast(self, cells: Cells) -> _Forecast:
        """Of cells, from all trials; joules that were not known before are not a cell's doing and say nothing."""
        told, _ = self._ledger.told()
        values, _, _ = measured(tuple(self._ledger.trials.values()))
        seen = np.log(np.maximum(values, LEAST_ERROR))
        times = self._notes.surrogate().predict(cells)
        points, known = np.zeros((len(cells), 3)), np.zeros((len(seen), 3))
        points[:, 0], known[:, 0] = _scaled(times, seen[:, 0])
        for at, model in enumerate(self._others, start=1):
            logs = seen[np.isfinite(seen[:, at]), at]
            if len(logs) and np.ptp(logs) > 0:
                model.fit(told, np.where(np.isfinite(seen[:, at]), np.exp(seen[:, at]), np.inf))
                points[:, at], known[:, at] = _scaled(model.predict(cells), seen[:, at])
        return _Forecast(points, known[np.isfinite(known).all(axis=1)], times.feasible)

    def entropy(self) -> float:
        """1 while configurations are drawn, 0 once forecasts decide."""
        return float(not self._is_led())


def _scaled(expected: Prediction, seen: Floats) -> tuple[Floats, Floats]:
    """Optimistic forecasts, shape (n,), and the logs seen (NaN: not known), from the best in units of the range."""
    logs = seen[np.isfinite(seen)]
    if not len(logs):
        return expected.mean - DOUBT * expected.deviation, seen
    span = max(float(np.ptp(logs)), LEAST)
    return (expected.mean - DOUBT * expected.deviation) / span, (seen - logs.min()) / span
