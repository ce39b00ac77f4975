"""One machine's idle tuning: executes what ``decide`` says, within its allowance, and goes on after a stop.

Its folder holds ``state.json``, written after each turn: what was spent today, and each problem's search. A turn that
was cut short is paid for and counts for nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from actors.background import Decision, Evolve, Progress, Retrain, Spending, Terms, decide
from actors.background_search import Aim, SavedSearch, resumed
from actors.energy import NodeMeter, Spent, Tally
from quasim.codec import from_json, to_json
from quasim.targets import DeviceFacts, Target
from quasim.trial import Problem
from quasim.tuned import TunedCache
from storage.files import make_folder, storage_errors, write_atomic
from storage.ownership import Ownership


class Turn(msgspec.Struct, frozen=True):
    """What was done.

    Attributes:
        problem: None: all of them, when a node retrained.
        evaluations: of the problem so far, on the device as it is.
        before_ns, after_ns: best time of the problem; None while nothing worked.
        joules: that the device drew meanwhile; None: ``unmetered`` says why.
    """

    problem: Problem | None
    evaluations: int
    before_ns: float | None
    after_ns: float | None
    seconds: float
    joules: float | None
    unmetered: str


class BackgroundSnapshot(msgspec.Struct, frozen=True):
    """Where a machine's idle tuning stands."""

    device: DeviceFacts
    spending: Spending
    problems: tuple[Progress, ...]


class _State(msgspec.Struct, frozen=True):
    spending: Spending
    retrained_ns: int
    searches: tuple[SavedSearch, ...]


@dataclass(frozen=True, slots=True)
class Clocks:
    """Time, as it is handed in.

    Attributes:
        utc_ns: since 1970-01-01.
        monotonic_ns: for what a turn takes.
    """

    utc_ns: Callable[[], int]
    monotonic_ns: Callable[[], int]


class BackgroundNode:
    """The idle tuning of one machine; a single caller at a time.

    Args:
        folder: where the state lives.
        open_target: opens the device; done again when a node retrains, so that compiler and driver are looked at anew.
        say: told what its user should know, a line at a time.

    Raises:
        InUseError: another process tunes with this folder.
        DataError: the state cannot be read.
        UnknownNameError, ShapeError: the target cannot run one of the problems.
    """

    def __init__(
        self,
        folder: Path,
        aims: tuple[Aim, ...],
        terms: Terms,
        open_target: Callable[[], Target],
        cache: TunedCache,
        clocks: Clocks,
        say: Callable[[str], None],
    ) -> None:
        self._path = make_folder(folder) / "state.json"
        self._aims, self._terms, self._open_target, self._cache = aims, terms, open_target, cache
        self._clocks, self._say = clocks, say
        self._device = ExitStack()
        self._owned = Ownership(folder)
        try:
            state = self._read()
            self._spending, self._retrained_ns = state.spending, state.retrained_ns
            self._saved = {saved.progress.problem: saved for saved in state.searches}
            self._open()
        except BaseException:
            self.close()
            raise

    @property
    def target(self) -> Target:
        """The opened device."""
        return self._target

    def decide(self, in_use: str) -> Decision:
        """What to do next; ``in_use`` as of ``background.decide``."""
        progress = [search.progress for search in self._searches.values()]
        return decide(self._clocks.utc_ns(), self._terms, self._spending, progress, self._retrained_ns, in_use)

    def run(self, decision: Evolve | Retrain) -> Turn:
        """Do it, and make what came of it durable."""
        return self._evolve(decision) if isinstance(decision, Evolve) else self._retrain()

    def snapshot(self) -> BackgroundSnapshot:
        """What may be shown."""
        progress = tuple(search.progress for search in self._searches.values())
        return BackgroundSnapshot(self._target.device, self._spending.on(self._clocks.utc_ns()), progress)

    def close(self) -> None:
        """End the device's workers and give the folder back. Idempotent."""
        self._device.close()
        self._owned.close()

    def _evolve(self, decision: Evolve) -> Turn:
        search = self._searches[decision.problem]
        before_ns = search.progress.best_ns
        with self._billed() as bill:
            search.evolve(decision.genomes, self._clocks.utc_ns(), bill.tally.lap)
        search.charge(bill.seconds, bill.spent.joules or 0.0)
        self._save()
        now = search.progress
        return self._turn(bill, decision.problem, now.evaluations, before_ns, now.best_ns)

    def _retrain(self) -> Turn:
        self._device.close()
        self._open()
        with self._billed() as bill:
            for problem, search in self._searches.items():
                if search.retrain(self._clocks.utc_ns(), bill.tally.lap):
                    self._say(f"{problem}: its best take another time now, so what was known of it is dropped")
        self._retrained_ns = self._clocks.utc_ns()
        self._save()
        return self._turn(bill, None, 0, None, None)

    def _turn(
        self, bill: _Bill, problem: Problem | None, evaluations: int, before_ns: float | None, after_ns: float | None
    ) -> Turn:
        spent = bill.spent
        return Turn(problem, evaluations, before_ns, after_ns, bill.seconds, spent.joules, spent.detail)

    @contextmanager
    def _billed(self) -> Iterator[_Bill]:
        """What the body takes is spent, even if it is cut short."""
        bill = _Bill(self._meter.tally())
        start_ns = self._clocks.monotonic_ns()
        try:
            yield bill
        finally:
            bill.seconds = (self._clocks.monotonic_ns() - start_ns) / 1e9
            bill.spent = bill.tally.spent()
            today = self._spending.on(self._clocks.utc_ns())
            self._spending = today.plus(bill.seconds, bill.spent.joules, bill.spent.detail)
            self._write()

    def _open(self) -> None:
        self._target = self._open_target()
        self._device.callback(self._target.close)
        self._meter = NodeMeter.of(self._target, alone=False)
        self._device.callback(self._meter.close)
        self._searches = {
            aim.problem: resumed(aim, self._target, self._cache, self._saved.get(aim.problem), self._say)
            for aim in self._aims
        }

    def _save(self) -> None:
        self._saved |= {problem: search.saved() for problem, search in self._searches.items()}
        self._write()

    def _write(self) -> None:
        """Searches as they stood after the last whole turn, those of problems that were tuned once included."""
        state = _State(self._spending, self._retrained_ns, tuple(self._saved.values()))
        write_atomic(self._path, to_json(state), mode=0o600)

    def _read(self) -> _State:
        if not self._path.exists():
            return _State(Spending(), self._clocks.utc_ns(), ())
        with storage_errors("read", self._path):
            return from_json(self._path.read_bytes(), _State, str(self._path))


@dataclass(slots=True)
class _Bill:
    """What a turn takes, known when it has ended."""

    tally: Tally
    seconds: float = 0.0
    spent: Spent = field(default_factory=Spent)
