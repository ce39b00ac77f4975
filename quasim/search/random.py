"""The baseline of every comparison: uniform draws without replacement."""

from __future__ import annotations

import numpy as np

from quasim.errors import DataError
from quasim.search.ledger import Mask
from quasim.search.recording import RecordingStrategy
from quasim.search.saved import OwnState


class Random(RecordingStrategy):
    """Draws each untried configuration with the same probability, after the candidates of an adopted prior."""

    name = "random"

    def _propose(self, count: int, free: Mask) -> list[int]:
        cells = np.flatnonzero(free)
        return [int(cell) for cell in self._rng.choice(cells, size=min(count, len(cells)), replace=False)]

    def entropy(self) -> float:
        """Always 1: nothing is preferred."""
        return 1.0

    def _own_state(self) -> OwnState:
        return {}

    def _restore_own(self, own: OwnState) -> None:
        if own:
            raise DataError(f"state of {self.name} has parts {sorted(own)}", "it keeps none; it is damaged")
