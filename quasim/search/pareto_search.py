"""Search for a whole front: each proposal is the best for a direction of its own through time, energy and error.

One surrogate an objective, so that trials without joules still tell of time and error. A proposal draws weights, and
takes the free configuration with the lowest augmented Tchebycheff sum of the optimistic forecasts, scaled to what was
seen: ParEGO's scalarisation (Knowles 2006) of a model for each objective instead of one model for each direction, which
spares refits and needs no trial to know all objectives.
"""

from __future__ import annotations

import numpy as np

from quasim.search.ledger import Cells, Mask
from quasim.search.pareto import measured
from quasim.search.recording import RecordingStrategy
from quasim.search.relaxed import LEAST
from quasim.search.surrogate import Prediction, Surrogate
from quasim.space import Floats, SearchSpace

FIRST = 10
"""Random configurations before a model is asked, where the fleet tells nothing."""

AUGMENTATION = 0.05
"""Share of the plain weighted sum in the scalar, as published: keeps weakly dominated configurations out."""

DOUBT = 1.0
"""Deviations by which a forecast is optimistic."""

LEAST_ERROR = 2.0**-53
"""Errors below the rounding of float64, against which they are measured, are alike."""

LOOKED_AT = 1 << 15
"""Most free cells that a proposal chooses from; of more, a random part."""


class Pareto(RecordingStrategy):
    """Draws a direction for each proposal; ``best`` still gives the fastest."""

    name = "pareto"

    def __init__(self, space: SearchSpace, seed: int) -> None:
        super().__init__(space, seed)
        self._others = (Surrogate(space), Surrogate(space))

    def _propose(self, count: int, free: Mask) -> list[int]:
        if self._notes.prior is None and len(self._ledger.trials) < FIRST:
            return self._drawn(count, free)
        cells = self._looked_at(free)
        forecasts = self._forecasts(cells) if count and len(cells) else np.zeros((0, 1))
        proposed: list[int] = []
        for _ in range(min(count, len(cells))):
            weights = self._rng.dirichlet(np.ones(forecasts.shape[1]))
            merit = (forecasts * weights).max(axis=1) + AUGMENTATION * forecasts @ weights
            chosen = int(merit.argmin())
            proposed.append(int(cells[chosen]))
            forecasts[chosen] = np.inf
        return proposed

    def _looked_at(self, free: Mask) -> Cells:
        cells = np.flatnonzero(free)
        return cells if len(cells) <= LOOKED_AT else np.unique(self._rng.choice(cells, size=LOOKED_AT))

    def _forecasts(self, cells: Cells) -> Floats:
        """Optimistic log of each objective that trials differ in, from the best forecast, in units of the range seen.

        Shape (cells, objectives). What probably fails, or will not be known, is as far off as that is likely.
        """
        told, times_ns = self._ledger.told()
        values, _, _ = measured(tuple(self._ledger.trials.values()))
        columns = [_scaled(self._notes.surrogate().predict(cells), np.log(times_ns[np.isfinite(times_ns)]))]
        for model, column in zip(self._others, values.T[1:], strict=True):
            known = np.isfinite(column)
            logs = np.log(np.maximum(column[known], LEAST_ERROR))
            if len(logs) and np.ptp(logs) > 0:
                model.fit(told, np.where(known, np.maximum(column, LEAST_ERROR), np.inf))
                columns.append(_scaled(model.predict(cells), logs))
        return np.stack(columns, axis=1)

    def entropy(self) -> float:
        """Always 1: every direction is as likely."""
        return 1.0


def _scaled(expected: Prediction, seen: Floats) -> Floats:
    """Optimistic forecasts, shape (n,), in units of the range of the logs that were seen, from the best."""
    span = max(float(np.ptp(seen)), LEAST) if len(seen) else 1.0
    forecast = (expected.mean - DOUBT * expected.deviation) / span - np.log(np.maximum(expected.feasible, LEAST))
    # From the best that any cell may be: below 0 a small weight would make things worse.
    return np.asarray(forecast - forecast.min())
