"""How a run counts its rows at the end, when nodes are late, or came back with an empty disk; real fleets."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ray
from msgspec.structs import replace

from actors import drain
from actors.node_spec import NodeSnapshot
from cluster.config import AggregationConfig, FleetConfig
from cluster.federation import SiteFolder
from cluster.finale import uncounted
from cluster.fleet import Fleet
from cluster.report import Rows, build_report
from cluster.run_folder import RunFolder
from cluster.run_log import FleetCycle, NodeLost
from cluster.seats import read_seats
from cluster.specs import RESTARTS_PER_START
from quasim.codec import from_json
from quasim.targets import DeviceFacts
from quasim.targets.spec import Recording, ReplaySpec
from storage.pseudonyms import Pseudonyms
from storage.segments import Stream

IDS = Pseudonyms(bytes(32))


def stands(name: str, sent: int, since: int) -> NodeSnapshot:
    return NodeSnapshot(name, DeviceFacts("cpu", "cpu"), 0, 0, sent, 0, 0, since)


def stream(name: str, incarnation: int, rows: int) -> Stream:
    return Stream(IDS.id("node", name), incarnation, rows)


def test_rows_of_nodes_that_are_silent_and_of_disks_that_are_lost_are_told_apart() -> None:
    streams = [stream("a", 10, 1), stream("a", 20, 2), stream("a", 21, 4), stream("b", 0, 8), stream("c", 5, 16)]
    nodes = [stands("a", 6, since=20), stands("b", 8, since=0)]
    assert uncounted(streams, nodes, {"a", "b", "c", "d"}, IDS) == ((NodeLost("c", 16), NodeLost("d", 0)), 1)


def test_a_row_that_is_missing_is_missed_also_beside_a_lost_disk() -> None:
    streams = [stream("a", 10, 5), stream("a", 20, 2)]
    _, forgotten = uncounted(streams, [stands("a", 3, since=20)], {"a"}, IDS)
    assert not Rows(sent=3, acknowledged=3, stored=7, refused=0, of_lost=forgotten).complete


Say = Callable[[Fleet, str], None]


class Run:
    """A run of a small fleet, in which something is done when something is said."""

    def __init__(self, config: FleetConfig, path: Path, hear: Say) -> None:
        self.folder = RunFolder.create(path / "run", config)
        self.said: list[str] = []

        def say(line: str) -> None:
            self.said.append(line)
            hear(fleet, line)

        fleet = Fleet(config, self.folder, path / "site", say)
        try:
            fleet.run()
            self.end = fleet.finish()
        finally:
            fleet.close()

    @property
    def rows(self) -> Rows:
        return build_report(self.folder).fleet.rows

    @property
    def last(self) -> FleetCycle:
        path = self.folder.cycle_files()[-1]
        return from_json(path.read_bytes(), FleetCycle, str(path))


@pytest.fixture
def config(recorded_space: Path) -> FleetConfig:
    recorded = ReplaySpec((Recording(str(recorded_space)),))
    plain = AggregationConfig(floor=1, protocol="plain")
    return FleetConfig(target=recorded, agents=2, cycles=2, evaluations=6, aggregation=plain, seed=3)


class Frozen:
    """Holds the process of an agent still."""

    def __init__(self) -> None:
        self._pid = 0

    def hold(self, fleet: Fleet, name: str) -> None:
        node = fleet._crew.nodes[name]
        self._pid = ray.get(node.__ray_call__.remote(lambda _: os.getpid()))
        os.kill(self._pid, signal.SIGSTOP)

    def let_go(self) -> None:
        if self._pid:
            os.kill(self._pid, signal.SIGCONT)
            self._pid = 0


@pytest.fixture
def frozen() -> Iterator[Frozen]:
    made = Frozen()
    yield made
    made.let_go()


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_node_that_is_late_at_the_end_is_waited_for_and_what_it_measured_counts(
    config: FleetConfig, tmp_path: Path, frozen: Frozen
) -> None:
    def hear(fleet: Fleet, line: str) -> None:
        if line.startswith("cycle 1/"):
            frozen.hold(fleet, "node-1")
        if line.startswith("waiting up to"):
            frozen.let_go()

    run = Run(replace(config, cycle_timeout_s=4.0), tmp_path, hear)
    assert "node-1 is still busy and misses the round of cycle 1" in run.said
    assert "waiting up to 4 s for what node-1 still measures" in run.said
    assert [(record.node, record.cycle) for record in run.last.records] == [("node-0", 1), ("node-1", 1)]
    assert (run.last.round.participants, run.end.lost) == (1, ())
    assert run.rows.complete
    assert run.rows.of_lost == 0


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_node_that_stays_busy_is_not_waited_for_for_ever_nor_taken_for_lost_rows(
    config: FleetConfig, tmp_path: Path, frozen: Frozen
) -> None:
    def hear(fleet: Fleet, line: str) -> None:
        if line.startswith("cycle 1/"):
            frozen.hold(fleet, "node-1")

    run = Run(replace(config, cycle_timeout_s=1.5), tmp_path, hear)
    frozen.let_go()
    assert "node-1 is busy for longer than 1.5 s; what it has not sent by now is left out" in run.said
    assert [record.node for record in run.last.records] == ["node-0"]
    assert [lost.name for lost in run.end.lost] == ["node-1"]
    assert run.rows.complete
    assert run.rows.of_lost > 0


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_nodes_that_come_back_with_an_empty_disk_lose_no_stored_row_and_take_part_in_rounds(
    config: FleetConfig, tmp_path: Path
) -> None:
    secure = replace(config, agents=4, cycles=4, aggregation=AggregationConfig(floor=3))

    def come_back(folder: RunFolder, name: str) -> None:
        shutil.rmtree(folder.node(name))
        drain.withdraw(folder.drained, name)

    def hear(fleet: Fleet, line: str) -> None:
        folder = fleet._folder
        if line.startswith("cycle 1/"):
            drain.request(folder.drained, "node-1")
        if line.startswith("cycle 2/"):
            come_back(folder, "node-1")
            drain.request(folder.drained, "node-2")
        if line.startswith("cycle 3/"):
            SiteFolder(tmp_path / "site", secure.federation).identity_file("node-2").unlink()
            come_back(folder, "node-2")

    run = Run(secure, tmp_path, hear)
    assert [taken.participants for taken in build_report(run.folder).fleet.rounds] == [4, 3, 3, 4]
    assert [seat.starts for seat in read_seats(run.folder)] == [1, 2, 2, 1]
    assert [node.since // RESTARTS_PER_START for node in run.end.nodes] == [1, 2, 2, 1]
    assert (run.end.forgotten > 0, run.end.lost) == (True, ())
    assert run.rows.refused == 0
    assert run.rows.complete
