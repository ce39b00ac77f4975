"""A whole fleet on a real Ray cluster, on a replayed device."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol

import pytest
import ray
from msgspec.structs import replace
from rich.console import Console

from actors import drain
from actors.round_step import RoundStep
from aggregation.enrolment import verify_enrolment
from aggregation.roster import Limits
from aggregation.signing import PolicySigner, inspect
from cluster.cli.fleet import fleet_now
from cluster.config import AggregationConfig, FleetConfig, ProblemConfig
from cluster.events import read_events
from cluster.federation import RootFolder, SiteFolder
from cluster.fleet import Fleet
from cluster.machines import Machines
from cluster.report import Report, build_report
from cluster.report_text import render
from cluster.rounds import Rounds
from cluster.run_folder import RunFolder
from cluster.session import PausedError, run_fleet
from quasim.errors import ConfigError, DataError, ExitCode, StorageError
from quasim.targets.spec import Recording, ReplaySpec, TritonSpec
from storage.files import make_folder
from storage.keys import load_or_create_key
from storage.queries import open_dataset
from tests.quasim.gpu import REASON

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

CYCLES = 4


@pytest.fixture(scope="module")
def config(recorded_space: Path, slower_space: Path) -> FleetConfig:
    recordings = (Recording(str(recorded_space)), Recording(str(slower_space), from_cycle=2))
    return FleetConfig(target=ReplaySpec(recordings), agents=2, late_agents=1, cycles=CYCLES, evaluations=12, seed=5)


def start(config: FleetConfig, folder: Path) -> tuple[Report, RunFolder]:
    made = RunFolder.create(folder, config)
    return run_fleet(config, made, nullcontext(), lambda line: None), made


@pytest.fixture(scope="module")
def finished(
    config: FleetConfig, tmp_path_factory: pytest.TempPathFactory, ray_cluster: None
) -> tuple[Report, RunFolder]:
    return start(config, tmp_path_factory.mktemp("runs") / "first")


def artefacts(folder: RunFolder) -> dict[str, bytes]:
    paths = [*folder.cycle_files(), *sorted(folder.policies.iterdir())]
    return {path.name: path.read_bytes() for path in paths if path.is_file()}


def test_every_row_sent_is_acknowledged_and_stored_once(finished: tuple[Report, RunFolder]) -> None:
    report, folder = finished
    assert report.fleet.rows.complete
    assert report.fleet.rows.sent == open_dataset([folder.telemetry]).count_rows() > 0


def test_every_cycle_ends_in_a_policy_that_the_nodes_adopt(finished: tuple[Report, RunFolder]) -> None:
    report, folder = finished
    assert (report.fleet.cycles, report.fleet.policy_versions, report.fleet.abandoned_rounds) == (CYCLES, CYCLES, 0)
    assert report.fleet.participants == (2, 2, 3, 3)
    assert {node.version for node in report.fleet.adoption} == {CYCLES}
    assert [set(s.policy_versions.values()) for s in report.fleet.selection] == [{0}, {1}, {2}, {3}]
    newest = max(path for path in folder.policies.iterdir() if path.is_file())
    assert inspect(newest.read_bytes())[0].version == CYCLES


def test_the_label_says_that_sums_are_secret(finished: tuple[Report, RunFolder]) -> None:
    assert finished[0].fleet.protocol.startswith("secure: the aggregator sees the sum alone; one group")


def test_the_rounds_log_says_who_took_part_and_what_it_cost(finished: tuple[Report, RunFolder]) -> None:
    rounds = finished[0].fleet.rounds
    assert [(taken.participants, taken.asked, taken.members) for taken in rounds] == [(2, 2, 2)] * 2 + [(3, 3, 3)] * 2
    assert all(taken.dropouts == () and taken.privacy is None for taken in rounds)
    for taken in rounds:
        assert 0 < taken.node_bytes <= taken.to_nodes_bytes + taken.from_nodes_bytes
        assert taken.node_cpu_s is not None
        assert min(taken.node_cpu_s, taken.server_cpu_s) > 0
    assert any(taken.canaries for taken in rounds)


def test_the_late_joiner_starts_from_the_fleets_policy(finished: tuple[Report, RunFolder]) -> None:
    report, _ = finished
    late = [node for node in report.fleet.adoption if node.node == "node-2"]
    assert (late[0].cycles, late[0].cycles_with_policy) == (2, 2)
    assert [gain.problem for gain in report.fleet.late_joiner] == ["matmul[m=192,n=192,k=192]"]


def test_the_change_of_the_device_shows_in_the_report(finished: tuple[Report, RunFolder]) -> None:
    best = [next(iter(s.best_ns.values())) for s in finished[0].fleet.selection]
    assert best[1] <= best[0]
    assert best[2] > best[1]


def test_same_seed_and_recordings_repeat_to_the_byte(
    config: FleetConfig, finished: tuple[Report, RunFolder], tmp_path: Path
) -> None:
    _, again = start(config, tmp_path / "again")
    assert artefacts(again) == artefacts(finished[1])


def test_a_run_asked_to_end_and_then_stopped_half_way_repeats_to_the_byte_once_resumed(
    config: FleetConfig, finished: tuple[Report, RunFolder], tmp_path: Path
) -> None:
    folder = RunFolder.create(tmp_path / "stopped", config)

    def ask(line: str) -> None:
        if line.startswith("cycle 2/"):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(PausedError):
        run_fleet(config, folder, nullcontext(), ask)
    assert [path.name for path in folder.cycle_files()] == ["0000.json", "0001.json"]
    assert not folder.end.exists()
    assert events_of(folder)[-1] == "run-ended"
    with pytest.raises(ValueError, match="look up"):
        ray.get_actor(f"quasim {folder.path.resolve()} node-0")

    def stop(line: str) -> None:
        if line.startswith("cycle 3/"):
            raise InterruptedError

    with pytest.raises(InterruptedError):
        run_fleet(config, folder, nullcontext(), stop)
    with pytest.raises(DataError, match="--resume"):
        build_report(folder)
    report = run_fleet(config, folder, nullcontext(), lambda line: None)
    assert artefacts(folder) == artefacts(finished[1])
    assert report.fleet.rows.complete


def test_a_driver_that_dies_leaves_its_agents_to_the_next(
    config: FleetConfig, finished: tuple[Report, RunFolder], tmp_path: Path
) -> None:
    folder = RunFolder.create(tmp_path / "died", config)

    def die(line: str) -> None:
        if line.startswith("cycle 2/"):
            raise InterruptedError

    dead = Fleet(config, folder, tmp_path / "site", die)
    with pytest.raises(InterruptedError):
        dead.run()
    # What a killed driver does not do: end its actors. Its thread dies with it.
    dead._crew._stop.set()
    dead._crew._thread.join()
    fleet = Fleet(config, folder, tmp_path / "site", lambda line: None)
    try:
        found = {name: node._actor_id for name, node in fleet._crew.nodes.items()}
        left = {name: node._actor_id for name, node in dead._crew.nodes.items()}
        assert {name: found[name] for name in left} == left
        fleet.run()
        fleet.finish()
    finally:
        fleet.close()
    cycles = {name: data for name, data in artefacts(folder).items() if name.endswith(".json")}
    assert cycles == {name: data for name, data in artefacts(finished[1]).items() if name.endswith(".json")}
    assert build_report(folder).fleet.rows.complete


def events_of(folder: RunFolder) -> list[str]:
    return [event.kind for event, _ in read_events(folder.events)]


def test_what_happened_is_told_in_order(finished: tuple[Report, RunFolder]) -> None:
    told = events_of(finished[1])
    a_cycle = ["round-opened", "round-closed", "policy-released", "cycle-done"]
    assert [kind for kind in told if not kind.startswith("policy-held")] == [
        *["node-joined"] * 2,
        "run-started",
        *a_cycle * 2,
        "node-joined",
        *a_cycle * 2,
        "run-ended",
    ]
    opened = [event for event, _ in read_events(finished[1].events) if event.kind == "round-opened"]
    assert [(event.cycle, event.round, event.text) for event in opened[1:3]] == [
        (1, 1, "2 nodes are asked"),
        (2, 2, "3 nodes are asked"),
    ]


def test_the_state_of_the_fleet_is_shown_with_what_nobody_measured_left_open(
    finished: tuple[Report, RunFolder],
) -> None:
    live = fleet_now(finished[1])
    assert (live.policy_version, live.rows_stored) == (CYCLES, finished[0].fleet.rows.stored)
    # Nodes that were there before the aggregator speak within a second, and the run may take no longer.
    assert "node-2" in {node.pulse.node for node in live.nodes} <= {"node-0", "node-1", "node-2"}
    assert {node.health for node in live.nodes} == {"left"}
    for node in live.nodes:
        assert (node.pulse.power_w, node.pulse.temperature_c, node.pulse.energy_source) == (None, None, "unmetered")
        assert node.pulse.metered_why


def test_a_machine_killed_in_mid_run_is_lost_at_once_and_the_others_go_on(
    config: FleetConfig, tmp_path: Path, second_machine: Daemon
) -> None:
    elastic = replace(config, agents=None, late_agents=0, aggregation=AggregationConfig(floor=1))
    folder = RunFolder.create(tmp_path / "elastic", elastic)

    def kill(line: str) -> None:
        if line.startswith("cycle 2/"):
            second_machine.kill_raylet()

    fleet = Fleet(elastic, folder, tmp_path / "site", kill)
    try:
        done = fleet.run()
        end = fleet.finish()
    finally:
        fleet.close()
    workers = [{record.node for record in cycle.records} for cycle in done]
    assert workers[0] == workers[1] == {"node-0", "node-1"}
    assert workers[3] == {"node-0"}
    assert [cycle.round.abandoned for cycle in done] == [""] * CYCLES
    assert [lost.name for lost in end.lost] == ["node-1"]
    known = sum(len(r.stages()) for cycle in done for r in cycle.records if r.node == "node-1")
    rows = build_report(folder).fleet.rows
    assert rows.of_lost >= known > 0
    assert rows.complete
    (lost,) = [event for event, _ in read_events(folder.events) if event.kind == "node-lost"]
    assert (lost.node, "second" in lost.text) == ("node-1", True)


def test_a_cycle_in_which_every_machine_goes_is_no_cycle_and_is_run_again(
    config: FleetConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled = replace(config, late_agents=0, cycles=2, evaluations=4)
    folder = RunFolder.create(tmp_path / "gone", settled)
    said: list[str] = []
    fleet = Fleet(settled, folder, tmp_path / "site", said.append)
    awaited, going = Fleet._awaited, iter([False, True])

    def all_go(waiting: Fleet) -> list[Any]:
        if next(going, False):
            fleet._crew.look(Machines(()))
        return awaited(waiting)

    monkeypatch.setattr(Fleet, "_awaited", all_go)
    try:
        done = fleet.run()
        fleet.finish()
    finally:
        fleet.close()
    assert [(cycle.cycle, len(cycle.records), cycle.round.abandoned) for cycle in done] == [(0, 2, ""), (1, 2, "")]
    (gone,) = [event for event, _ in read_events(folder.events) if event.kind == "cycle-abandoned"]
    assert (gone.cycle, gone.text) == (1, "every machine went before it had measured; cycle 2 is run again")
    assert gone.text in said
    assert build_report(folder).fleet.rows.complete


class Daemon(Protocol):
    """A Ray daemon of the tests' cluster."""

    def kill_raylet(self) -> object: ...


@pytest.fixture
def second_machine(ray_cluster: None) -> Iterator[Daemon]:
    """Joins the tests' cluster as a machine of its own."""
    params = ray._private.parameter.RayParams(
        gcs_address=ray.get_runtime_context().gcs_address,
        redis_address=ray.get_runtime_context().gcs_address,
        labels={"quasim-node": "second"},
        num_cpus=0,
        object_store_memory=80 * 1024 * 1024,
        min_worker_port=0,
        max_worker_port=0,
        node_manager_port=0,
    )
    daemon = ray._private.node.Node(params, head=False, shutdown_at_exit=False, spawn_reaper=False)
    ray._private.services.wait_for_node(daemon.gcs_address, daemon.plasma_store_socket_name, 30)
    started = [info.process for group in daemon.all_processes.values() for info in group]
    yield daemon
    daemon.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)
    for process in started:
        process.wait(30)


def test_killed_actors_change_nothing(config: FleetConfig, finished: tuple[Report, RunFolder], tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "killed", config)

    def kill(line: str) -> None:
        if line.startswith(("cycle 1/", "cycle 3/")):
            for actor in (fleet._aggregator, fleet._crew.nodes["node-1"]):
                ray.kill(actor, no_restart=False)

    fleet = Fleet(config, folder, Path(str(tmp_path / "site")), kill)
    try:
        fleet.run()
        fleet.finish()
    finally:
        fleet.close()
    report = build_report(folder)
    assert report.fleet.rows.complete
    cycles = {name: data for name, data in artefacts(folder).items() if name.endswith(".json")}
    assert cycles == {name: data for name, data in artefacts(finished[1]).items() if name.endswith(".json")}


def test_actors_killed_in_the_middle_of_rounds_lose_nothing_but_their_part(
    config: FleetConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled = replace(config, agents=4, late_agents=0, cycles=2, evaluations=4)
    folder = RunFolder.create(tmp_path / "middle", settled)
    fleet = Fleet(settled, folder, tmp_path / "site", lambda line: None)
    deliver, delivered = Rounds._deliver, Counter[int]()

    def killing(rounds: Rounds, step: RoundStep, *others: Any) -> RoundStep:
        cycle = len(fleet._done)
        delivered[cycle] += 1
        if delivered[cycle] == 3:
            ray.kill(fleet._crew.nodes["node-1"] if cycle == 0 else fleet._aggregator, no_restart=False)
        return deliver(rounds, step, *others)

    monkeypatch.setattr(Rounds, "_deliver", killing)
    try:
        first, second = fleet.run()
        fleet.finish()
    finally:
        fleet.close()
    lost, interrupted = build_report(folder).fleet.rounds
    assert (first.round.policy_version, first.round.participants) == (1, 3)
    assert lost.dropouts == (("receipts", ("node-1",)),)
    assert (second.round.policy_version, second.round.participants) == (2, 4)
    assert (lost.number, interrupted.number) == (0, 2)
    assert build_report(folder).fleet.rows.complete


def test_a_fleet_of_one_says_that_its_rounds_are_plain(config: FleetConfig, tmp_path: Path) -> None:
    alone = replace(config, agents=1, late_agents=0, cycles=1, aggregation=AggregationConfig(floor=1))
    said: list[str] = []
    folder = RunFolder.create(tmp_path / "one", alone)
    report = run_fleet(alone, folder, nullcontext(), said.append)
    assert "a roster of one: its rounds are plain" in said[0]
    assert report.fleet.protocol == "plain: the aggregator sees each node's vector"
    assert "a roster of one: the sum of one vector is that vector" in shown(report)


def test_a_fleet_asks_the_members_of_the_sites_roster_alone(config: FleetConfig, tmp_path: Path) -> None:
    site = tmp_path / "site"
    server = PolicySigner(load_or_create_key(site / "signing.key")).public_key
    root, home = RootFolder.create(tmp_path / "root", "lab", server, Limits(2, 66, 2)), SiteFolder(site, "lab")
    home.pin(root.public_key)
    members = [verify_enrolment(home.enrol(name, "amd"), federation="lab") for name in ("node-0", "node-2")]
    home.accept(root.publish(root.newest().next_epoch(enrol=members)))
    given = replace(
        config, federation="lab", agents=3, late_agents=0, cycles=1, aggregation=AggregationConfig(roster="site")
    )
    said: list[str] = []
    folder = RunFolder.create(tmp_path / "given", given)
    fleet = Fleet(given, folder, site, said.append)
    try:
        (done,) = fleet.run()
        fleet.finish()
    finally:
        fleet.close()
    assert "node-1 is not in the roster and takes no part in rounds" in said
    assert (done.round.policy_version, done.round.participants) == (1, 2)
    assert {node.version for node in build_report(folder).fleet.adoption} == {1}


def shown(report: Report) -> str:
    console = Console(width=200, markup=False)
    with console.capture() as captured:
        for part in render(report):
            console.print(part)
    return captured.get()


def test_a_round_below_its_floor_shares_nothing_and_the_run_goes_on(config: FleetConfig, tmp_path: Path) -> None:
    alone = replace(config, agents=2, late_agents=0, cycles=2)
    folder = RunFolder.create(tmp_path / "floor", alone)
    fleet = Fleet(alone, folder, tmp_path / "site", lambda line: None)
    try:
        # One of two nodes leaves before it could work: the floor of two cannot be met any more.
        drain.request(folder.drained, "node-1")
        done = fleet.run()
        fleet.finish()
    finally:
        fleet.close()
    assert [cycle.round.policy_version for cycle in done] == [0, 0]
    assert all("floor" in cycle.round.abandoned for cycle in done)
    report = build_report(folder)
    assert report.fleet.abandoned_rounds == 2
    assert [(taken.participants, taken.dropouts) for taken in report.fleet.rounds] == [(0, ()), (0, ())]


def test_the_report_renders_every_part(finished: tuple[Report, RunFolder]) -> None:
    text = shown(finished[0])
    for words in (
        "matmul[m=192,n=192,k=192]",
        "unmetered: node-0: cycle 0: the replay target has no meter",
        "How selection adapted",
        "telemetry rows",
        "Rounds of aggregation",
        "none: sums are exact",
        "late joiner",
    ):
        assert words in text


@pytest.mark.skipif(not REASON, reason="this machine has a GPU")
def test_a_gpu_fleet_on_a_cluster_without_gpus_is_a_config_error(tmp_path: Path) -> None:
    gpus = FleetConfig(target=TritonSpec(), problems=(ProblemConfig("add", "rows=8,cols=8"),), agents=None)
    with pytest.raises(ConfigError, match="no GPU in the 1 machines") as caught:
        start(gpus, tmp_path / "gpus")
    assert caught.value.exit_code is ExitCode.CONFIG


def test_what_an_agent_cannot_open_ends_the_run_with_its_own_exit_code(config: FleetConfig, tmp_path: Path) -> None:
    alone = replace(config, agents=1, late_agents=0, aggregation=AggregationConfig(floor=1))
    folder = RunFolder.create(tmp_path / "damaged", alone)
    (make_folder(folder.node("node-0")) / "state.json").write_bytes(b"{}")
    with pytest.raises(DataError, match=r"state\.json") as caught:
        run_fleet(alone, folder, nullcontext(), lambda line: None)
    assert caught.value.exit_code is ExitCode.BAD_DATA


def test_what_the_aggregator_cannot_open_ends_the_run_with_its_own_exit_code(
    config: FleetConfig, tmp_path: Path
) -> None:
    alone = replace(config, agents=1, late_agents=0, aggregation=AggregationConfig(floor=1))
    folder = RunFolder.create(tmp_path / "damaged", alone)
    (make_folder(folder.aggregator) / "state").write_bytes(b"{}")
    with pytest.raises(DataError, match="state") as caught:
        run_fleet(alone, folder, nullcontext(), lambda line: None)
    assert caught.value.exit_code is ExitCode.BAD_DATA


def test_a_folder_that_holds_a_run_is_not_overwritten(config: FleetConfig, finished: tuple[Report, RunFolder]) -> None:
    with pytest.raises(StorageError, match="already holds a run"):
        RunFolder.create(finished[1].path, config)
