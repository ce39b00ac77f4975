"""What all strategies share: the ledger, the queue of first asks, and saving and restoring."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import msgspec
import numpy as np

from quasim.codec import from_json, to_json
from quasim.errors import DataError, SpaceError
from quasim.search._base import Prior
from quasim.search.ledger import Cells, Ledger, Mask
from quasim.space import SearchSpace
from quasim.trial import Genome, Trial

REASKED = 6
"""Elites asked again first when the device changed: enough to seed each likely basin, little enough to be cheap."""


OwnState = dict[str, tuple[float, ...]]
"""What one kind of strategy keeps besides the ledger and the generator, by name."""


class _Rng(msgspec.Struct, frozen=True):
    """State of a PCG64 generator; its 128-bit words in hex, because JSON numbers end at 64 bits."""

    state: str
    inc: str
    has_uint32: int
    uinteger: int

    @classmethod
    def of(cls, rng: np.random.Generator) -> _Rng:
        state = rng.bit_generator.state
        words = state["state"]
        return cls(f"{words['state']:x}", f"{words['inc']:x}", int(state["has_uint32"]), int(state["uinteger"]))

    def generator(self) -> np.random.Generator:
        """A generator that goes on from here."""
        bits = np.random.PCG64()
        bits.state = {
            "bit_generator": "PCG64",
            "state": {"state": int(self.state, 16), "inc": int(self.inc, 16)},
            "has_uint32": self.has_uint32,
            "uinteger": self.uinteger,
        }
        return np.random.Generator(bits)


class _State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A strategy as it is written; the cells of ``pending`` and ``queue`` are those of the space with this digest."""

    strategy: str
    space: str
    rng: _Rng
    trials: tuple[Trial, ...]
    pending: tuple[int, ...]
    queue: tuple[int, ...]
    own: OwnState


class RecordingStrategy(ABC):
    """A strategy that keeps a ledger; a kind says how it proposes and what it learns."""

    name: str

    def __init__(self, space: SearchSpace, seed: int) -> None:
        self._space = space
        self._rng = np.random.Generator(np.random.PCG64(seed))
        self._ledger = Ledger(space)

    @abstractmethod
    def _propose(self, count: int, free: Mask) -> list[int]:
        """Up to ``count`` distinct cells of ``free``; fewer only when fewer are free."""

    @abstractmethod
    def entropy(self) -> float:
        """Mean normalised entropy of what the strategy samples from: 1 uniform, 0 decided."""

    @abstractmethod
    def _own_state(self) -> OwnState:
        """What the kind keeps besides ledger and generator."""

    @abstractmethod
    def _restore_own(self, own: OwnState) -> None:
        """Take over what ``_own_state`` gave.

        Raises:
            DataError: not what it gave; nothing is changed then.
        """

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

    def adopt(self, prior: Prior) -> None:
        """Ask the prior's candidates first, those of this space that were not tried.

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

    def forget(self) -> None:
        """The device changed: drop all times, and ask the elites of before again first."""
        elites = [int(cell) for cell in self._elites()]
        self._ledger.forget()
        self._ledger.enqueue(elites)

    def _elites(self) -> Cells:
        return self._ledger.ranked()[0][:REASKED]

    def best(self, count: int = 1) -> list[Trial]:
        """The fastest known ok trials, best first."""
        return self._ledger.best(count)

    def state(self) -> bytes:
        """Everything needed to go on later exactly as if never stopped, as JSON."""
        ledger = self._ledger
        return to_json(
            _State(
                strategy=self.name,
                space=self._space.digest,
                rng=_Rng.of(self._rng),
                trials=tuple(ledger.trials.values()),
                pending=tuple(ledger.pending),
                queue=tuple(ledger.queue),
                own=self._own_state(),
            )
        )

    def restore(self, state: bytes) -> None:
        """Continue from ``state``.

        Raises:
            DataError: not a state of this strategy and space; nothing is changed then.
        """
        saved = from_json(state, _State, f"state of {self.name}")
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
        self._restore_own(saved.own)
        self._ledger, self._rng = ledger, rng

    def _restored_ledger(self, saved: _State) -> Ledger:
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
