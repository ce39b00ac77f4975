"""The baseline of every comparison: uniform draws without replacement."""

from __future__ import annotations

from quasim.search.ledger import Mask
from quasim.search.recording import RecordingStrategy


class Random(RecordingStrategy):
    """Draws each untried configuration with the same probability, after the candidates of an adopted prior."""

    name = "random"

    def _propose(self, count: int, free: Mask) -> list[int]:
        return self._drawn(count, free)

    def entropy(self) -> float:
        """Always 1: nothing is preferred."""
        return 1.0
