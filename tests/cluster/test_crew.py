"""The agents of a run as machines go and come: real agents on the one machine of the tests, which seems to go."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError

from actors import drain
from actors.board import Mark
from actors.live import Health
from actors.live_file import EventLog
from actors.node_spec import NodeSnapshot
from actors.ray_aggregator import RayAggregator, start_aggregator
from actors.remote import Place, start_node
from aggregation.agreement import Agreement
from aggregation.catalogue import Catalogue
from aggregation.signing import PolicySigner
from cluster.calls import get
from cluster.config import FleetConfig
from cluster.crew import Crew, Node
from cluster.events import read_events
from cluster.machines import Machines, machines, refuses
from cluster.placement import Machine
from cluster.run_folder import RunFolder
from cluster.seats import Seat, read_seats
from cluster.specs import Specs
from quasim.targets.spec import Recording, ReplaySpec
from storage.keys import load_or_create_key

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


class Run:
    """A crew of one agent for each machine, and the aggregator that they send to."""

    def __init__(self, folder: Path, space: Path) -> None:
        self._target = ReplaySpec((Recording(str(space)),))
        self.config = FleetConfig(target=self._target, agents=None)
        self.folder = RunFolder.create(folder / "run", self.config)
        key = PolicySigner(load_or_create_key(folder / "signing.key")).public_key
        self._specs = Specs(self.config, self.folder, folder, self._target.problems(), key, None)
        self._events = EventLog(self.folder.events)
        self._name = f"crew of {folder}"
        self.crew = self.another()
        (node,) = self.crew.nodes.values()
        catalogue = Catalogue.from_bytes(ray.get(node.catalogue.remote()))
        told = self._specs.aggregator(catalogue, Agreement(secure=False))
        self.aggregator = start_aggregator(told, self._name, self.crew.driver.node_id)

    def another(self) -> Crew:
        """As a driver makes it."""
        return Crew(self.config, self.folder, self._start, self._events, 0)

    def _start(self, seat: Seat, place: Place) -> Node:
        name = f"{self._name} {seat.node}"
        return start_node(self._specs.node(seat), self._target, self._name, place, name)

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event, _ in read_events(self.folder.events)]

    def close(self) -> None:
        self.crew.close()
        ray.kill(self.aggregator)
        self._events.close()


@pytest.fixture
def run(tmp_path: Path, recorded_space: Path) -> Iterator[Run]:
    made = Run(tmp_path, recorded_space)
    yield made
    made.close()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def ended(node: Node) -> bool:
    """Whether a call fails at once; one that overtakes the agent's end is still answered."""
    try:
        ray.get(node.snapshot.remote(), timeout=20)
    except RayActorError:
        return True
    return False


def test_a_machine_that_goes_takes_its_agent_and_brings_it_back_with_its_state(run: Run) -> None:
    (node,) = run.crew.nodes.values()
    before = ray.get(node.run_cycle.remote(0, None))
    pending = node.top.remote(before.problems[0].problem, 1)
    run.crew.look(Machines(()))
    assert not run.crew.nodes
    assert run.crew.gone == run.crew.joined == frozenset(("node-0",))
    assert not run.crew.holds("node-0", node)
    assert run.kinds == ["node-joined", "node-lost"]
    until(lambda: ended(node))
    assert ray.wait([pending], timeout=20)[0]
    run.crew.look(machines())
    (again,) = run.crew.nodes.values()
    assert run.crew.holds("node-0", again)
    assert run.crew.gone == frozenset()
    assert ray.get(again.run_cycle.remote(0, None)) == before
    assert run.kinds == ["node-joined", "node-lost", "node-joined"]


def test_the_aggregator_hears_who_goes_and_who_starts(run: Run) -> None:
    run.crew.watch(run.aggregator)
    run.crew.look(Machines(()))
    run.crew.look_now()
    deadline = time.monotonic() + 20
    while not (live := ray.get(run.aggregator.live.remote())).nodes or live.nodes[0].health != "ok":
        assert time.monotonic() < deadline
    assert (live.nodes[0].pulse.node, live.nodes[0].pulse.machine) == ("node-0", run.crew.driver.name)


def test_an_aggregator_that_is_restarted_hears_again_who_has_gone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.crew.watch(run.aggregator)

    def health() -> list[str]:
        return [node.health for node in ray.get(run.aggregator.live.remote()).nodes]

    until(lambda: health() == ["ok"])
    monkeypatch.setattr("cluster.crew.machines", lambda in_use: Machines((), willing=in_use))
    until(lambda: health() == ["left"])
    ray.kill(run.aggregator, no_restart=False)
    # Silence alone would be "late", and "lost" in the end.
    until(lambda: health() == ["left"])


def test_who_works_is_known_while_a_machine_does_not_answer(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answers = threading.Event(), threading.Event()

    def silent(in_use: Collection[str]) -> Machines:
        asked.set()
        answers.wait(60)
        return Machines((run.crew.driver,))

    monkeypatch.setattr("cluster.crew.machines", silent)
    with ThreadPoolExecutor(2) as pool:
        looks = pool.submit(run.crew.look_now)
        assert asked.wait(20)
        try:
            assert list(pool.submit(lambda: run.crew.nodes).result(20)) == ["node-0"]
        finally:
            answers.set()
        assert looks.result().alive == (run.crew.driver,)


def test_a_machine_that_comes_under_a_taken_name_is_left_out_and_said_once(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, told = run.crew.driver, []
    twin = Machine("another", 0, here.labels, "10.0.0.7")

    def known(in_use: Collection[str]) -> Machines:
        told.append(in_use)
        return Machines((here,), unnamed=(twin,))

    monkeypatch.setattr("cluster.crew.machines", known)
    run.crew.look_now()
    run.crew.look_now()
    assert told == [{here.node_id}] * 2
    assert (run.kinds, list(run.crew.nodes)) == (["node-joined", "name-taken"], ["node-0"])
    (taken,) = [event.text for event, _ in read_events(run.folder.events) if event.kind == "name-taken"]
    assert taken.endswith("the one at 10.0.0.7 gets no agent until that one is gone")


def test_a_machine_that_left_in_good_order_is_not_called_lost(run: Run) -> None:
    run.crew.look(Machines((), willing=frozenset((run.crew.driver.node_id,))))
    assert run.kinds == ["node-joined", "node-left"]


def test_a_drained_node_leaves_between_cycles_and_comes_back_when_it_may(run: Run) -> None:
    (node,) = run.crew.nodes.values()
    record = ray.get(node.run_cycle.remote(0, None))
    drain.request(run.folder.drained, "node-0")
    run.crew.begin(1, busy=frozenset(("node-0",)))
    assert list(run.crew.nodes) == ["node-0"]
    run.crew.begin(2, busy=frozenset())
    (left,) = run.crew.left
    assert not run.crew.nodes
    assert (left.cycle, left.sent, left.waiting_rows) == (0, len(record.stages()), 0)
    run.crew.look_now()
    assert run.crew.nodes == run.another().nodes == {}
    drain.withdraw(run.folder.drained, "node-0")
    run.crew.look_now()
    assert (list(run.crew.nodes), run.crew.left) == (["node-0"], ())
    assert run.kinds == ["node-joined", "node-drained", "node-joined"]


def test_a_machine_that_goes_and_comes_back_while_its_agent_leaves_keeps_the_new_one(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(call: ray.ObjectRef[NodeSnapshot], whom: str) -> NodeSnapshot:
        stands: NodeSnapshot = get(call, whom)
        run.crew.look(Machines(()))
        drain.withdraw(run.folder.drained, "node-0")
        run.crew.look_now()
        return stands

    monkeypatch.setattr("cluster.crew.get", slow)
    drain.request(run.folder.drained, "node-0")
    run.crew.begin(1, busy=frozenset())
    (again,) = run.crew.nodes.values()
    assert ray.get(again.snapshot.remote()).name == "node-0"
    assert run.crew.left == ()
    assert run.kinds == ["node-joined", "node-lost", "node-joined"]


def test_an_agent_that_came_back_just_before_it_was_asked_leaves_its_new_seat(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaving = Crew._leaving

    def late(crew: Crew, busy: frozenset[str], wished: frozenset[str]) -> list[Seat]:
        found = leaving(crew, busy, wished)
        crew.look(Machines(()))
        drain.withdraw(run.folder.drained, "node-0")
        crew.look_now()
        return found

    monkeypatch.setattr(Crew, "_leaving", late)
    drain.request(run.folder.drained, "node-0")
    run.crew.begin(1, busy=frozenset())
    assert (list(run.crew.nodes), [stands.name for stands in run.crew.left]) == ([], ["node-0"])
    assert [seat.starts for seat in read_seats(run.folder)] == [2]


class Overheard:
    """The aggregator, and what it is told of the agents."""

    def __init__(self, aggregator: ActorHandle[RayAggregator]) -> None:
        self.pulse, self.mark = aggregator.pulse, self
        self._mark = aggregator.mark
        self.told: list[dict[str, Health]] = []

    def remote(self, marks: Mapping[str, Mark]) -> ray.ObjectRef[None]:
        self.told.append({name: mark.health for name, mark in marks.items()})
        heard: ray.ObjectRef[None] = self._mark.remote(marks)
        return heard


def test_at_the_end_the_aggregator_hears_once_that_all_have_left(run: Run) -> None:
    here = run.crew.driver
    twin = Machine(here.node_id, 0, {"quasim-node": "twin"}, here.address)
    run.crew.look(Machines((here, twin)))
    overheard = Overheard(run.aggregator)
    run.crew._aggregator = overheard  # type: ignore[assignment]
    run.crew.close()
    assert overheard.told == [{"node-0": "left", "node-1": "left"}]


def test_no_agent_starts_on_a_machine_that_is_about_to_end(run: Run) -> None:
    here = run.crew.driver
    draining = Machines((here,), draining=frozenset((here.name,)))
    run.crew.look(Machines(()))
    run.crew.look(draining)
    assert run.crew.nodes == {}
    run.crew.look(Machines((here,)))
    assert list(run.crew.nodes) == ["node-0"]


def test_a_machine_that_drains_as_it_comes_gets_no_seat(run: Run) -> None:
    here = run.crew.driver
    twin = Machine(here.node_id, 0, {"quasim-node": "twin"}, here.address)
    run.crew.look(Machines((here, twin), draining=frozenset(("twin",))))
    assert run.crew.joined == {"node-0"}
    assert len(read_seats(run.folder)) == 1
    run.crew.look(Machines((here, twin)))
    assert run.crew.joined == {"node-0", "node-1"}


def test_a_machine_that_comes_while_a_cycle_runs_gets_an_agent_at_once(run: Run) -> None:
    run.crew.begin(3, busy=frozenset())
    here = run.crew.driver
    twin = Machine(here.node_id, 0, {"quasim-node": "twin"}, here.address)
    run.crew.look(Machines((here, twin)))
    assert list(run.crew.nodes) == ["node-0", "node-1"]
    assert [(seat.machine, seat.first_cycle) for seat in read_seats(run.folder)] == [(here.name, 0), ("twin", 3)]


def test_seats_of_an_earlier_driver_are_kept_and_its_agents_found(run: Run) -> None:
    (node,) = run.crew.nodes.values()
    (found,) = run.another().nodes.values()
    assert found._actor_id == node._actor_id
    assert len(read_seats(run.folder)) == 1


def test_a_daemon_that_was_killed_refuses_and_one_that_listens_does_not() -> None:
    (here,) = machines().alive
    assert not refuses(here)
    assert refuses(Machine(here.node_id, 0, {}, "127.0.0.1", 1))
    assert not refuses(Machine(here.node_id, 0, {}, here.address))
