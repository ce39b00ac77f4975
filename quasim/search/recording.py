"""What all strategies share: the notes, the queue of first asks, and saving and restoring."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from quasim.codec import from_json, to_json
from quasim.errors import DataError, SpaceError
from quasim.search._base import Prior
from quasim.search.ledger import Cells, Ledger, Mask
from quasim.search.notes import Notes
from quasim.search.saved import OwnState, SavedPrior, SavedRng, SavedState
from quasim.space import Rows, SearchSpace
from quasim.trial import Genome, Trial

REASKED = 6
"""Elites asked again first when the device changed: enough to seed each likely basin, little enough to be cheap."""


class RecordingStrategy(ABC):
    """A strategy that keeps notes; a kind says how it proposes and what it learns.

    A kind overrides ``learned``, ``adopted`` and ``forgot`` to keep more than the notes, which have changed by then.
    """

    name: str

    def __init__(self, space: SearchSpace, seed: int) -> None:
        self._space = space
        self._notes = Notes(space, seed)

    def share(self, notes: Notes) -> None:
        """Go by these notes instead of own ones; who owns them keeps them up to date."""
        self._notes = notes

    @property
    def _ledger(self) -> Ledger:
        return self._notes.ledger

    @property
    def _rng(self) -> np.random.Generator:
        return self._notes.rng

    @abstractmethod
    def _propose(self, count: int, free: Mask) -> list[int]:
        """Up to ``count`` distinct cells of ``free``; fewer only when fewer are free."""

    def _drawn(self, count: int, free: Mask) -> list[int]:
        """Up to ``count`` distinct cells of ``free``, each as likely; no longer free then."""
        cells = np.flatnonzero(free)
        drawn = self._rng.choice(cells, size=min(count, len(cells)), replace=False)
        free[drawn] = False
        return [int(cell) for cell in drawn]

    @abstractmethod
    def entropy(self) -> float:
        """Mean normalised entropy of what the strategy samples from: 1 uniform, 0 decided."""

    def _own_state(self) -> OwnState:
        """What the kind keeps besides ledger and generator; nothing, unless it overrides both of these."""
        return {}

    def _restore_own(self, own: OwnState) -> None:
        """Take over what ``_own_state`` gave.

        Raises:
            DataError: not what it gave; nothing is changed then.
        """
        if own:
            raise DataError(f"state of {self.name} has parts {sorted(own)}", "it keeps none; it is damaged")

    def ask(self, count: int) -> list[Genome]:
        """Up to ``count`` distinct valid genomes that were not told before; fewer only when none are left.

        Genomes handed out before and not told yet come again only when nothing else is left.
        """
        handed_out = list(self._ledger.pending)
        cells = self._ledger.take_queued(count)
        if len(cells) < count:
            cells += self._propose(count - len(cells), self._ledger.free())
        self._ledger.pending.update(dict.fromkeys(cells))
        cells += handed_out[: max(count - len(cells), 0)]
        return [self._space.genome_at(cell) for cell in cells]

    def tell(self, trials: Sequence[Trial]) -> None:
        """Learn from trials, failed ones included. A genome told again replaces what was known of it.

        Raises:
            SpaceError: a genome is not of this space; nothing is learned then.
        """
        self._ledger.record(trials)
        if trials:
            self.learned(trials)

    def learned(self, trials: Sequence[Trial]) -> None:  # noqa: B027 (most kinds keep nothing else)
        """These trials are in the ledger now."""

    def adopt(self, prior: Prior) -> None:
        """Go by a prior, and ask its candidates first, those of this space that were not tried.

        Raises:
            SpaceError: the prior is of a space of another size.
        """
        if prior.mean.shape != (self._space.size,) or prior.weight.shape != (self._space.size,):
            raise SpaceError(
                f"a prior of shape {prior.mean.shape} does not fit a space of {self._space.size}",
                "adopt the prior of this very space",
            )
        valid = [genome for genome in prior.candidates if self._space.contains(genome)]
        self._ledger.enqueue(self._space.cell(genome) for genome in valid)
        self._notes.believe(prior if (prior.weight > 0).any() else None)
        self.adopted(prior)

    def adopted(self, prior: Prior) -> None:  # noqa: B027
        """This prior is in the notes now."""

    def forget(self) -> None:
        """The device changed: drop all times and the prior, and ask the elites of before again first."""
        elites = [int(cell) for cell in self._elites()]
        self._ledger.forget()
        self._ledger.enqueue(elites)
        self._notes.believe(None)
        self.forgot()

    def forgot(self) -> None:  # noqa: B027
        """The notes are empty now, but for the elites to ask again."""

    def _elites(self) -> Cells:
        """The fastest of distinct niches, fastest first."""
        cells, _ = self._ledger.ranked()
        return cells[niches(self._space.rows[cells], REASKED)]

    def best(self, count: int = 1) -> list[Trial]:
        """The fastest known ok trials, best first."""
        return self._ledger.best(count)

    def state(self) -> bytes:
        """Everything needed to go on later exactly as if never stopped, as JSON."""
        ledger = self._ledger
        return to_json(
            SavedState(
                strategy=self.name,
                space=self._space.digest,
                rng=SavedRng.of(self._rng),
                trials=tuple(ledger.trials.values()),
                pending=tuple(ledger.pending),
                queue=tuple(ledger.queue),
                prior=None if self._notes.prior is None else SavedPrior.of(self._notes.prior),
                own=self._own_state(),
            )
        )

    def restore(self, state: bytes) -> None:
        """Continue from ``state``.

        Raises:
            DataError: not a state of this strategy and space; nothing is changed then.
        """
        saved = from_json(state, SavedState, f"state of {self.name}")
        if (saved.strategy, saved.space) != (self.name, self._space.digest):
            raise DataError(
                f"a state of {saved.strategy} on space {saved.space[:8]} is not of {self.name} on "
                f"{self._space.digest[:8]}",
                "restore into the strategy and space that it was saved from",
            )
        ledger = self._restored_ledger(saved)
        try:
            rng = saved.rng.generator()
        except (ValueError, OverflowError, TypeError) as error:
            raise DataError(f"state of {self.name}: {error}", "its random generator is damaged") from error
        prior = None if saved.prior is None else saved.prior.prior(self._space.size)
        self._restore_own(saved.own)
        self._notes.ledger, self._notes.rng = ledger, rng
        self._notes.believe(prior)

    def _restored_ledger(self, saved: SavedState) -> Ledger:
        ledger = Ledger(self._space)
        if any(not 0 <= cell < self._space.size for cell in (*saved.pending, *saved.queue)):
            raise DataError(f"state of {self.name} names cells outside its space", "it is damaged; start anew")
        try:
            ledger.record(saved.trials)
        except SpaceError as error:
            raise DataError(f"state of {self.name}: {error}", "it is damaged; start anew") from error
        ledger.pending = dict.fromkeys(saved.pending)
        ledger.queue = list(saved.queue)
        return ledger


def niches(rows: Rows, count: int) -> Cells:
    """Positions of up to ``count`` of the rows, first ones preferred, that differ pairwise in two or more values."""
    chosen: list[int] = []
    left = np.arange(len(rows))
    while len(left) and len(chosen) < count:
        chosen.append(int(left[0]))
        left = left[(rows[left] != rows[left[0]]).sum(axis=1) > 1]
    return np.array(chosen, dtype=np.int64)
