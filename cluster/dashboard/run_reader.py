"""Reads a run's folder for the pages: each finished file once, trials left out, what goes on anew."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import takewhile
from pathlib import Path
from typing import TypeVar

import msgspec

from actors.energy import Spent
from actors.live import Event, FleetLive
from actors.node_events import CycleRecord, ProblemCycle
from cluster.config import FleetConfig
from cluster.events import whole_lines
from cluster.run_folder import RunFolder
from cluster.run_log import FleetCycle, FleetEnd, MoveLog, RoundLog, RoundOutcome
from quasim.codec import from_json
from quasim.energy.loop import Regulated
from quasim.errors import DataError, QuasimError
from quasim.trial import Problem
from storage.files import storage_errors

T = TypeVar("T")


class _Part(msgspec.Struct, frozen=True):
    problem: Problem
    drifted: bool
    best_ns: float | None
    entropy: float


class _Record(msgspec.Struct, frozen=True):
    node: str
    cycle: int
    policy_version: int
    problems: tuple[_Part, ...]
    spent: Spent = Spent()
    regulated: Regulated = Regulated(detail="nobody regulates")


class _Cycle(msgspec.Struct, frozen=True):
    """A ``FleetCycle`` as far as pages need it: its trials, which are nearly all of it, are skipped unread."""

    cycle: int
    records: tuple[_Record, ...]
    round: RoundOutcome
    moves: tuple[MoveLog, ...] = ()


class RunReader:
    """One run, as its folder tells.

    Attributes:
        config: that it was started with.
        live: the fleet's newest state; None where nobody has written one.
        end: where everyone stood at the end; None while the run goes on.
        problems: that nodes have worked on.
        started_at: unix seconds; None where no event says so.
        last_of_nodes: the newest event that a node came, went or failed.
        strange_events: lines of the events that could not be read.

    Raises:
        StorageError: the folder holds no run, or a file cannot be read.
        DataError: a file does not hold what its format says.
    """

    def __init__(self, path: Path) -> None:
        self.folder = RunFolder.open(path)
        self.config: FleetConfig = self.folder.load_config()
        self.live: FleetLive | None = None
        self.end: FleetEnd | None = None
        self.problems: tuple[Problem, ...] = ()
        self.started_at: float | None = None
        self.last_of_nodes: Event | None = None
        self.strange_events = 0
        self._cycles: dict[str, FleetCycle] = {}
        self._rounds: dict[str, RoundLog] = {}
        self._newest: dict[str, CycleRecord] = {}
        self._events: list[Event] = []
        self._read_to = 0

    def refresh(self, sources: Collection[str]) -> None:
        """Read what was written since.

        Args:
            sources: ``live``: state of the fleet; ``events``; ``log``: all else but the telemetry.

        Raises:
            StorageError, DataError: the first source that cannot be read; the others were, all the same.
        """
        readers = {"live": self._read_live, "events": self._read_events, "log": self._read_log}
        troubles: list[QuasimError] = []
        for source, read in readers.items():
            try:
                if source in sources:
                    read()
            except QuasimError as error:
                troubles.append(error)
        if troubles:
            raise troubles[0]

    def cycles(self, until: int | None = None) -> list[FleetCycle]:
        """Finished cycles in order, their records without trials."""
        return [done for done in self._cycles.values() if until is None or done.cycle <= until]

    @property
    def last_cycle(self) -> int:
        """The newest that is finished; 0 before the first, so that a replay always has a place to stand at."""
        return max((done.cycle for done in self._cycles.values()), default=0)

    def records(self, until: int | None = None) -> list[CycleRecord]:
        """Of all nodes, in order, without trials."""
        return [record for done in self.cycles(until) for record in done.records]

    def by_node(self, until: int | None = None) -> dict[str, list[CycleRecord]]:
        """The records of each node in the order of its cycles; nodes by name."""
        found: dict[str, list[CycleRecord]] = {}
        for record in sorted(self.records(until), key=lambda record: (record.node, record.cycle)):
            found.setdefault(record.node, []).append(record)
        return found

    def newest(self, until: int | None = None) -> dict[str, CycleRecord]:
        """The last record of each node."""
        return self._newest if until is None else {node: own[-1] for node, own in self.by_node(until).items()}

    def rounds(self, until: int | None = None) -> list[RoundLog]:
        """Logs of the finished rounds, in order."""
        return [log for log in self._rounds.values() if until is None or log.cycle <= until]

    def events(self, until: int | None = None) -> Sequence[Event]:
        """In the order in which they happened; a replay has those before the first of a later cycle."""
        if until is None:
            return self._events
        return list(takewhile(lambda event: event.cycle <= until, self._events))

    def _read_live(self) -> None:
        self.live = _read(self.folder.fleet_now, FleetLive) if self.folder.fleet_now.exists() else None

    def _read_log(self) -> None:
        # A resumed run may have settled its configuration anew.
        self.config = self.folder.load_config()
        ended = self.end is None and self.folder.end.exists()
        if ended and self._cycles:
            self._cycles.popitem()  # what late nodes measured joined it before the run ended
        for path in self.folder.cycle_files():
            if path.name not in self._cycles:
                self._cycles[path.name] = _slim(_read(path, _Cycle))
        for path in self.folder.round_files():
            if path.name not in self._rounds:
                self._rounds[path.name] = _read(path, RoundLog)
        self._newest = {node: own[-1] for node, own in self.by_node().items()}
        self.problems = tuple(dict.fromkeys(part.problem for record in self.records() for part in record.problems))
        if ended:
            self.end = _read(self.folder.end, FleetEnd)

    def _read_events(self) -> None:
        for line, end in whole_lines(self.folder.events, self._read_to):
            self._read_to = end
            self._take(line)

    def _take(self, line: bytes) -> None:
        """One line; a machine that lost power may have left half of one, to which the next was appended."""
        try:
            event = from_json(line, Event, "an event")
        except DataError:
            self.strange_events += 1
            return
        self._events.append(event)
        if event.kind.startswith("node-"):
            self.last_of_nodes = event
        if event.kind == "run-started" and self.started_at is None:
            self.started_at = event.at


def _read(path: Path, kind: type[T]) -> T:
    with storage_errors("read the run", path):
        data = path.read_bytes()
    return from_json(data, kind, str(path))


def _slim(found: _Cycle) -> FleetCycle:
    return FleetCycle(found.cycle, tuple(map(_record, found.records)), found.round, found.moves)


def _record(found: _Record) -> CycleRecord:
    parts = tuple(ProblemCycle(p.problem, (), (), p.drifted, None, p.best_ns, p.entropy) for p in found.problems)
    return CycleRecord(found.node, found.cycle, found.policy_version, parts, found.spent, found.regulated)
