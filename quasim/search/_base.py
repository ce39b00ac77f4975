"""The ask/tell interface that every search strategy speaks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from quasim.trial import Genome, Trial


class Prior(msgspec.Struct, frozen=True):
    """What a node starts from: the fleet's knowledge of one space.

    Attributes:
        mean: score of each cell of the space, shape (size,): 0 is a node's own best, −1 hopeless.
        weight: how many nodes stand behind each score, shape (size,); 0 where nobody knows.
        candidates: genomes to try first, best first.
        spread: standard deviation of a cell's score over the nodes, shape (size,); None: not told.
        feasible: share of the nodes, by weight, on which the cell works, shape (size,); None: not told.
        energy: the same of joules instead of times; None where nobody metered.
    """

    mean: npt.NDArray[np.float64]
    weight: npt.NDArray[np.float64]
    candidates: tuple[Genome, ...]
    spread: npt.NDArray[np.float64] | None = None
    feasible: npt.NDArray[np.float64] | None = None
    energy: Prior | None = None


class Strategy(Protocol):
    """Proposes genomes and learns from trials. Deterministic: same seed, prior and trials, same asks.

    Implementations take ``(space: SearchSpace, seed: int, …)`` and never keep a global random state.
    """

    name: str

    def ask(self, count: int) -> list[Genome]:
        """Up to ``count`` distinct valid genomes that were not told before; fewer only when none are left."""
        ...

    def tell(self, trials: Sequence[Trial]) -> None:
        """Learn from trials, failed ones included. A genome told again replaces what was known of it."""
        ...

    def adopt(self, prior: Prior) -> None:
        """Start from, or be steered by, what the fleet knows."""
        ...

    def forget(self) -> None:
        """The device changed: old times no longer hold. Keep the hints, drop the measurements."""
        ...

    def best(self, count: int = 1) -> list[Trial]:
        """The fastest known ok trials, best first."""
        ...

    def entropy(self) -> float:
        """Mean normalised entropy of what the strategy samples from: 1 uniform, 0 decided."""
        ...

    def state(self) -> bytes:
        """Everything needed to go on later exactly as if never stopped, as JSON."""
        ...

    def restore(self, state: bytes) -> None:
        """Continue from ``state``.

        Raises:
            DataError: not a state of this strategy and space.
        """
        ...
