"""Keeps the views of one run: reads what changed since it looked last, builds what depends on it, serialises once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock

from cluster.dashboard.energy_page import energy_view
from cluster.dashboard.events_page import events_view
from cluster.dashboard.fleet_page import fleet_view
from cluster.dashboard.names import Names
from cluster.dashboard.rounds_page import rounds_view
from cluster.dashboard.run_page import run_view
from cluster.dashboard.run_reader import RunReader
from cluster.dashboard.search_page import search_view
from cluster.dashboard.telemetry import NOT_YET, Telemetry, TelemetryReader
from cluster.dashboard.views import Absent, View
from quasim.codec import to_json
from quasim.errors import QuasimError, UnknownNameError

NO_SOLVER = "no solver has run in this build: no genome has a certificate, and none claims one"
NO_PROGRAM = "this build tunes kernels alone: no program has an arena or an influence map"

NEEDS: dict[str, frozenset[str]] = {
    # Time alone can turn a run silent, so that it is built at every look.
    "run": frozenset(("clock", "live", "log", "events")),
    "fleet": frozenset(("live", "log")),
    "search": frozenset(("table",)),
    "rounds": frozenset(("log",)),
    "energy": frozenset(("log", "events", "table")),
    "certificates": frozenset(),
    "programs": frozenset(),
    "events": frozenset(("events",)),
}
"""The views, and what each is built from."""

REPLAYS = 32
"""Views of earlier cycles that are kept: who plays a run goes to and fro."""

RETRY_S = 30.0
"""A table that could not be read, or has no names, is asked again so often although it has not changed."""

Stamp = tuple[int, int, int] | None


class Desk:
    """The views of one run. Its methods may be called from any thread.

    Args:
        runs: names of all runs that the server shows, newest first.
        clock: unix seconds.

    Raises:
        StorageError: the folder holds no run.
        DataError: it cannot be read.
    """

    def __init__(self, path: Path, names: Names, runs: Callable[[], Sequence[str]], clock: Callable[[], float]) -> None:
        self._run = RunReader(path)
        self._names, self._runs, self._clock = names, runs, clock
        self._table = TelemetryReader(self._run.folder.table)
        self._telemetry = NOT_YET
        self._table_stamp: str | None = None
        self._asked_at = 0.0
        self._stamps: dict[Path, Stamp] = {}
        self._trouble = ""
        self._views: dict[str, bytes] = {}
        self._replays: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._lock, self._asking = Lock(), Lock()
        self.look()
        self._rebuild(NEEDS)

    def look(self) -> list[str]:
        """Read the files that changed; which views changed with them."""
        with self._lock:
            changed = self._changed()
            try:
                self._run.refresh(changed)
                self._trouble = ""
            except QuasimError as error:
                # Read again next time: the views stay as they were, and the run's says why.
                self._stamps.clear()
                self._trouble = str(error)
            if changed & {"log", "events"}:
                self._replays.clear()
            return self._rebuild([view for view, needs in NEEDS.items() if needs & (changed | {"clock"})])

    def look_at_table(self) -> list[str]:
        """Ask the telemetry table, where it changed; which views changed with it. Takes up to seconds."""
        with self._asking:
            stamp = self._table.stamp()
            if stamp == self._table_stamp and not self._retry_is_due():
                return []
            telemetry, self._asked_at = self._named(self._table.read()), self._clock()
        with self._lock:
            as_before = stamp == self._table_stamp and telemetry.notes == self._telemetry.notes
            self._telemetry, self._table_stamp = telemetry, stamp
            if as_before:
                return []
            self._replays.clear()
            return self._rebuild([view for view, needs in NEEDS.items() if "table" in needs])

    def news(self) -> dict[str, object]:
        """What of a view nobody should wait for, as of the last look: how each node is, and what befell one last."""
        live = self._run.live
        return {
            "fleet": tuple((node.pulse.node, node.health) for node in live.nodes) if live else (),
            "events": self._run.last_of_nodes,
        }

    def view(self, name: str, until: int | None = None) -> bytes:
        """A view as JSON; of an earlier cycle it is built now, which takes up to seconds.

        Args:
            until: cycle; one that is not finished yet means the last one that is.

        Raises:
            UnknownNameError: there is no such view.
        """
        if name not in NEEDS:
            raise UnknownNameError(f"no view {name!r}", f"use one of {', '.join(NEEDS)}")
        if until is None:
            return self._views[name]
        with self._lock:
            until = min(until, self._run.last_cycle)
        kept = self._replays.get((name, until))
        return kept if kept is not None else self._replay(name, until)

    def _retry_is_due(self) -> bool:
        """Whether what the last answer lacked, as its notes say, may be there by now; a clock set back makes it so."""
        return bool(self._telemetry.notes) and not 0 <= self._clock() - self._asked_at < RETRY_S

    def _named(self, telemetry: Telemetry) -> Telemetry:
        """With the newest names; where those cannot be read, a note says so and ids stay hashed."""
        try:
            self._names.refresh()
        except QuasimError as error:
            return replace(telemetry, notes=(*telemetry.notes, str(error)))
        return telemetry

    def _replay(self, name: str, until: int) -> bytes:
        with self._asking:
            telemetry = self._table.read(until) if "table" in NEEDS[name] else NOT_YET
        with self._lock:
            made = to_json(self._build(name, telemetry, until))
            self._replays[name, until] = made
            if len(self._replays) > REPLAYS:
                self._replays.popitem(last=False)
        return made

    def _rebuild(self, names: Collection[str]) -> list[str]:
        """Build views anew; those that are not what they were."""
        changed = []
        for name in names:
            made = to_json(self._build(name, self._telemetry, None))
            if made != self._views.get(name):
                self._views[name] = made
                changed.append(name)
        return changed

    def _build(self, name: str, telemetry: Telemetry, until: int | None) -> View:
        run, names = self._run, self._names
        builders: dict[str, Callable[[], View]] = {
            "run": lambda: run_view(run, names, self._clock(), self._runs(), until, self._trouble),
            "fleet": lambda: fleet_view(run, names, until),
            "search": lambda: search_view(telemetry, names, until),
            "rounds": lambda: rounds_view(run, names, until),
            "energy": lambda: energy_view(run, names, telemetry, until),
            "certificates": lambda: Absent(names.text(NO_SOLVER), until),
            "programs": lambda: Absent(names.text(NO_PROGRAM), until),
            "events": lambda: events_view(run, names, until),
        }
        return builders[name]()

    def _changed(self) -> set[str]:
        """Which of our sources are not what they were: a few calls of stat, so that looking often costs little."""
        folder = self._run.folder
        watched = {
            folder.fleet_now: "live",
            folder.events: "events",
            folder.config: "log",
            folder.end: "log",
            folder.path / "cycles": "log",
            folder.path / "rounds": "log",
        }
        found = set()
        for path, source in watched.items():
            stamp = _stamp(path)
            if path not in self._stamps or self._stamps[path] != stamp:
                found.add(source)
            self._stamps[path] = stamp
        return found


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
