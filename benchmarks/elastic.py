"""Machines of a real cluster killed, ended, added and drained in mid-run: no acknowledged row is lost, and it shows.

Where it shows is a viewer of the dashboard: a served `quasim dashboard` of the run, logged in to with its token, whose
WebSocket says what a page would draw.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Any, NamedTuple

import msgspec
import ray
from ray.cluster_utils import Cluster

from actors import drain
from actors.outbox import Position
from benchmarks.dashboard import serving
from benchmarks.harness import Bar, Row, main, say
from benchmarks.viewer import Viewer
from cluster.config import FleetConfig
from cluster.fleet import Fleet
from cluster.ray_session import NAMESPACE, provide_token
from cluster.report import build_report
from cluster.run_folder import RunFolder
from cluster.run_log import FleetEnd
from cluster.service.config import LABEL
from quasim.codec import from_json
from quasim.targets.spec import Recording, ReplaySpec
from storage.queries import open_dataset

SPACE = Path(__file__).parents[1] / "tests" / "data" / "matmul-192-two-cores.json.gz"
"""A recorded device: no time here is of a kernel, all that is measured is the fleet itself."""

FLEET = {"quasim-fleet": "elastic"}
"""Label of the machines that agents may use; the head has none."""

NODES = 8
CYCLES = 14
SHOWN_S = 2.0

SEEN = 60.0
"""Seconds after which a change that still does not show counts as never shown."""


class Step(NamedTuple):
    """A change of the cluster.

    Attributes:
        after: cycle after which it is made, while the next one runs.
        machine: that it befalls.
        make: makes it, and says since when it is so, in unix seconds.
        shows: what its node's health becomes.
        events: kinds that tell of it at once; none where it takes effect later.
    """

    after: int
    what: str
    machine: str
    make: Callable[[Machines], float]
    shows: tuple[str, ...]
    events: tuple[str, ...]


class Machines:
    """Ray daemons on this host, each a machine of its own to Ray."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        provide_token()
        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        self._nodes: dict[str, Any] = {}

    @property
    def address(self) -> str:
        """Of the cluster."""
        return str(self._cluster.address)

    def add(self, name: str) -> float:
        """A machine comes, or comes back; when its Ray had started, and the cluster had it."""
        added = self._nodes[name] = self._cluster.add_node(num_cpus=0, labels={LABEL: name, **FLEET})
        worker: Any = ray._private.worker.global_worker  # no public call tells when a machine came
        known = worker.gcs_client.get_all_node_info()
        return float(next(node.start_time_ms for key, node in known.items() if key.hex() == added.node_id)) / 1e3

    def remove(self, name: str, *, kill: bool) -> float:
        """A machine goes: killed without a word, or told to end; when that was."""
        begin = time.time()
        self._cluster.remove_node(self._nodes.pop(name), allow_graceful=not kill)
        return begin

    def close(self) -> None:
        """End them all."""
        self._cluster.shutdown()  # type: ignore[no-untyped-call]


STEPS = (
    Step(1, "killed", "m6", lambda ms: ms.remove("m6", kill=True), ("lost",), ("node-lost",)),
    Step(3, "ended", "m7", lambda ms: ms.remove("m7", kill=False), ("left", "lost"), ("node-left", "node-lost")),
    Step(5, "added", "m8", lambda ms: ms.add("m8"), ("ok",), ("node-joined",)),
    Step(6, "killed", "m0", lambda ms: ms.remove("m0", kill=True), ("lost",), ("node-lost",)),
    Step(8, "came back", "m6", lambda ms: ms.add("m6"), ("ok",), ("node-joined",)),
    Step(10, "told to leave", "m1", lambda ms: _asked(ms.folder, "m1"), ("draining", "left"), ()),
)


def _asked(folder: RunFolder, machine: str) -> float:
    begin = time.time()
    drain.request(folder.drained, machine)
    return begin


class Changes:
    """Makes the steps beside the run, one at a time, and times how long each took to show.

    The fleet runs in a thread, since Ray starts its daemons from the main thread alone.
    """

    def __init__(self, machines: Machines, viewer: Viewer) -> None:
        self._machines, self._viewer = machines, viewer
        self._due: Queue[Step | None] = Queue()
        self._idle = threading.Event()
        self._idle.set()
        self.rows: list[Row] = []

    def said(self, line: str) -> None:
        """What the fleet says; a finished cycle may start the next step."""
        say(f"elastic: {line}")
        if line.startswith("cycle "):
            self._idle.wait(SEEN)  # so that no two changes meet
            done = int(line.split()[1].partition("/")[0]) - 1
            for step in (step for step in STEPS if step.after == done):
                self._idle.clear()
                self._due.put(step)

    def over(self) -> None:
        """The run has ended."""
        self._due.put(None)

    def make(self) -> None:
        """Make each step when it is due, until the run has ended."""
        while (step := self._due.get()) is not None:
            time.sleep(0.1)  # into the next cycle
            self._make(step)
            self._idle.set()

    def _make(self, step: Step) -> None:
        begin = time.time()
        since = step.make(self._machines)
        never = since + SEEN
        shown, written = self._viewer.health(step.machine, step.shows, SEEN) or (never, never)
        told = (self._viewer.event(step.machine, step.events, begin, SEEN) or never) if step.events else None
        self.rows.append(
            {
                "machine": step.machine,
                "was": step.what,
                "in live/fleet.json after, s": written - since,
                "viewer sees it after, s": shown - since,
                "viewer reads of it after, s": None if told is None else told - since,
            }
        )
        say(f"elastic: {step.machine} {step.what}, a viewer saw it after {shown - since:.2f} s")


def measure(_: argparse.Namespace | None = None) -> tuple[list[Row], list[Bar]]:
    """The run with its changes."""
    config = FleetConfig(
        target=ReplaySpec((Recording(str(SPACE)),)), agents=None, labels=FLEET, cycles=CYCLES, evaluations=8, seed=7
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = RunFolder.create(Path(temporary) / "run", config)
        machines = Machines(folder)
        try:
            ray.init(address=machines.address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR)
            for number in range(NODES):
                machines.add(f"m{number}")
            with serving(folder.path, Path(temporary) / "viewer") as (server, started_s), Viewer.of(server) as viewer:
                say(f"elastic: a dashboard listened after {started_s:.1f} s")
                changes = Changes(machines, viewer)
                seconds = _run(config, folder, Path(temporary) / "site", changes)
            return _told(folder, changes, seconds)
        finally:
            ray.shutdown()
            machines.close()


def _run(config: FleetConfig, folder: RunFolder, site: Path, changes: Changes) -> float:
    begin = time.monotonic()
    with ThreadPoolExecutor(1) as beside:
        driver = beside.submit(_drive, config, folder, site, changes)
        changes.make()
        driver.result()
    return time.monotonic() - begin


def _drive(config: FleetConfig, folder: RunFolder, site: Path, changes: Changes) -> None:
    try:
        fleet = Fleet(config, folder, site, changes.said)
        try:
            fleet.run()
            fleet.finish()
        finally:
            fleet.close()
    finally:
        changes.over()


def _acknowledged(folder: Path) -> int:
    """Telemetry rows of a node that were acknowledged by what its own disk says: committed, and not in its spool."""
    if not (folder / "state.json").exists():
        return 0
    position = from_json((folder / "state.json").read_bytes(), _Committed, "state.json").position
    names = (path.stem.split("-") for path in (folder / "spool").glob("*.arrows"))
    places = [(int(incarnation), int(sequence), int(rows)) for incarnation, sequence, rows in names]
    # What lies behind the committed position was never sent.
    waiting = sum(rows for *at, rows in places if tuple(at) <= (position.incarnation, position.sequence))
    return position.sent - waiting


class _Committed(msgspec.Struct):
    position: Position


def _told(folder: RunFolder, changes: Changes, seconds: float) -> tuple[list[Row], list[Bar]]:
    fleet = build_report(folder).fleet
    stored = open_dataset([folder.telemetry]).count_rows()
    lost = from_json(folder.end.read_bytes(), FleetEnd, "end.json").lost
    missing = sum(max(0, _acknowledged(folder.node(node.name)) - node.rows_stored) for node in lost)
    kept = fleet.rows.acknowledged + fleet.rows.of_lost
    rows: list[Row] = [*changes.rows]
    rows.append(
        {
            "cycles": fleet.cycles,
            "abandoned rounds": fleet.abandoned_rounds,
            "participants": " ".join(map(str, fleet.participants)),
            "sent": fleet.rows.sent,
            "acknowledged": fleet.rows.acknowledged,
            "stored": stored,
            "stored of lost nodes": fleet.rows.of_lost,
            "acknowledged of lost nodes, by their disks": sum(_acknowledged(folder.node(node.name)) for node in lost),
            "seconds": seconds,
        }
    )
    seen = ("viewer sees it after, s", "viewer reads of it after, s")
    slowest = max(float(row[what] or 0) for row in changes.rows for what in seen)
    return rows, [
        Bar.at_least("elastic: changes made in mid-run", len(changes.rows), len(STEPS)),
        Bar.at_least("elastic: cycles completed", fleet.cycles, CYCLES),
        Bar.at_most("elastic: slowest change to reach a viewer of the dashboard, s", slowest, SHOWN_S),
        Bar.at_most("elastic: acknowledged rows that are not stored once", abs(kept - stored) + missing, 0),
        Bar.at_most(
            "elastic: sent rows of nodes that remain, not acknowledged", fleet.rows.sent - fleet.rows.acknowledged, 0
        ),
    ]


if __name__ == "__main__":
    main("elastic", __doc__ or "", measure)
