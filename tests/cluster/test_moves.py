"""Tasks that move between real Ray actors, on simulated devices; and agents that are killed while they do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from msgspec.structs import replace
from ray.actor import ActorHandle

from actors.aggregator import AggregatorSpec
from actors.node_rounds import RoundsSpec
from actors.node_spec import NodeSpec, fingerprint
from actors.ray_aggregator import RayAggregator, start_aggregator
from actors.remote import Place, start_node
from actors.tasks import Tasks
from aggregation.agreement import Agreement
from aggregation.catalogue import Catalogue
from cluster.moves import Moves
from quasim.energy.migration import HeatReport, Move, advise
from quasim.energy.plant import Physics
from quasim.energy.spec import RegulationSpec
from quasim.targets.spec import Recording, ReplaySpec
from storage.keys import load_or_create_key

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

MOVE = Move("node-0/0", "node-0", "node-1", power_w=10.0, busy=0.0, gain_s=20.0, cost_s=1.0)
DEVICES = {"node-0": Physics(ambient_c=70.0, busy_w=250.0), "node-1": Physics(ambient_c=20.0, busy_w=100.0)}


class Pair:
    """A node in hot air and one in cool air, that have both worked for a cycle, and an aggregator."""

    def __init__(self, folder: Path, space: Path, aggregator: ActorHandle[RayAggregator]) -> None:
        here = ray.get_runtime_context().get_node_id()
        target = ReplaySpec((Recording(str(space)),))
        self.nodes = {
            name: start_node(_spec(folder, name, target), target, "nobody", Place(here, 0), f"{name} of {folder}")
            for name in sorted(DEVICES)
        }
        self.aggregator = aggregator
        self.records = [ray.get(node.run_cycle.remote(0, None)) for node in self.nodes.values()]
        self.said: list[str] = []

    @property
    def moves(self) -> Moves:
        return Moves(self.nodes, len(self.nodes), self.aggregator, self.said.append)

    def tasks(self, name: str) -> Tasks:
        found = ray.get(self.nodes[name].tasks.remote())
        assert isinstance(found, Tasks)
        return found

    def held(self) -> list[str]:
        return sorted(task for name in self.nodes for task in self.tasks(name).held)

    def kill(self, name: str) -> None:
        ray.kill(self.nodes[name], no_restart=False)

    def close(self) -> None:
        for node in self.nodes.values():
            ray.kill(node)


def _spec(folder: Path, name: str, target: ReplaySpec) -> NodeSpec:
    return NodeSpec(
        name=name,
        folder=folder / name,
        federation="lab",
        trusted_key=bytes(32),
        site_key=folder / "site.key",
        site_fingerprint=fingerprint(load_or_create_key(folder / "site.key")),
        dictionary=folder / "ids",
        problems=target.problems(),
        strategy="random",
        seed=int(name[-1]),
        first_cycle=0,
        evaluations=24,
        recheck=0,
        rounds=RoundsSpec(secure=False, identity=folder / f"{name}.key"),
        regulation=RegulationSpec(simulated=DEVICES[name]),
    )


def _aggregator(folder: Path) -> AggregatorSpec:
    return AggregatorSpec(
        folder=folder / "aggregator",
        telemetry=folder / "telemetry",
        policies=folder / "policies",
        signing_key=folder / "signing.key",
        federation="lab",
        catalogue=Catalogue(()),
        floor=1,
        agreement=Agreement(secure=False),
    )


@pytest.fixture(scope="module")
def aggregator(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> Iterator[ActorHandle[RayAggregator]]:
    folder = tmp_path_factory.mktemp("aggregator")
    here = ray.get_runtime_context().get_node_id()
    started = start_aggregator(_aggregator(folder), f"aggregator of {folder}", here)
    yield started
    ray.kill(started)


@pytest.fixture
def pair(tmp_path: Path, recorded_space: Path, aggregator: ActorHandle[RayAggregator]) -> Iterator[Pair]:
    made = Pair(tmp_path, recorded_space, aggregator)
    yield made
    made.close()


def test_a_task_really_moves_and_is_worked_on_where_it_went(pair: Pair) -> None:
    reports = [ray.get(node.heat.remote()) for node in pair.nodes.values()]
    assert all(isinstance(report, HeatReport) for report in reports)
    # Each simulated device has a time of its own, in which it never waits for the other: it has no time to give.
    idle = replace(reports[1], tasks=())
    advised = advise([reports[0], idle], 1.0)
    assert advised is not None
    assert (advised.task, advised.source, advised.target) == ("node-0/0", "node-0", "node-1")
    log = pair.moves.make(MOVE)
    assert (log.made, log.why) == (True, "")
    assert log.took_s is not None
    assert pair.tasks("node-0") == Tasks((), ())
    assert pair.tasks("node-1") == Tasks(("node-1/0", "node-0/0"), ())
    left, came = (ray.get(node.run_cycle.remote(1, None)) for node in pair.nodes.values())
    assert left.problems == ()
    before = {trial.genome for part in pair.records[0].problems for trial in part.searched}
    again = [trial.genome for trial in came.problems[1].searched]
    assert len(again) == 24
    assert again[0] == pair.records[0].problems[0].best  # measured elsewhere, so it is measured anew, first of all
    assert set(again) - before


def test_a_target_killed_in_mid_move_leaves_the_task_at_home(pair: Pair) -> None:
    there = replace(MOVE, task="node-1/0", source="node-1", target="node-0")
    assert "not hot" in pair.moves.make(there).why
    pair.kill("node-1")
    log = pair.moves.make(MOVE)
    assert not log.made
    assert "heat is not known" in log.why
    assert pair.held() == ["node-0/0", "node-1/0"]


def test_a_task_that_set_out_waits_for_all_to_be_asked_and_comes_back(pair: Pair) -> None:
    assert ray.get(pair.nodes["node-0"].release.remote(MOVE)).parcel
    pair.kill("node-0")
    assert pair.tasks("node-0") == Tasks((), ("node-0/0",))
    Moves({"node-0": pair.nodes["node-0"]}, 2, pair.aggregator, pair.said.append).reconcile()
    assert pair.tasks("node-0") == Tasks((), ("node-0/0",))
    pair.moves.reconcile()
    assert pair.tasks("node-0") == Tasks(("node-0/0",), ())
    assert "stays on node-0" in pair.said[0]


def test_a_task_that_arrived_before_everyone_died_is_not_doubled(pair: Pair) -> None:
    released = ray.get(pair.nodes["node-0"].release.remote(MOVE))
    assert ray.get(pair.nodes["node-1"].accept.remote(released.parcel, MOVE)) == ""
    for name in pair.nodes:
        pair.kill(name)
    pair.moves.reconcile()
    assert pair.tasks("node-0") == Tasks((), ())
    assert pair.held() == ["node-0/0", "node-1/0"]
    assert "has arrived" in pair.said[0]
