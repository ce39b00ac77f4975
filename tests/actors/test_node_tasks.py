"""A task that moves between nodes is never lost and never doubled, whoever is killed on the way."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from actors.drive import drive
from actors.energy import Spent
from actors.node_agent import NodeAgent
from actors.node_events import CycleStarted
from actors.node_loop import NodeLoop, Plan
from actors.node_spec import NodeSpec
from actors.node_tasks import NodeTasks, Residence, Shares
from actors.regulation import NoRegulation
from actors.tasks import TaskState
from quasim.energy.heat import Forecast, Heat
from quasim.energy.migration import Move
from quasim.errors import DataError, StorageError
from quasim.search import strategy
from quasim.trial import EnergySource, Problem, Status
from storage.segments import SegmentStore
from tests.actors.bench_device import PROBLEM, SPACE, TableDevice
from tests.actors.test_node_agent import StoreLink, spec
from tests.quasim.meters.fake_nvml import Clock

SECOND = 1_000_000_000
HOT = Heat(0.0, Forecast(86.0, 96.0, 24.0, 0.08, 87.0), hot_samples=3, throttling=False)
COOL = Heat(0.0, Forecast(45.0, 45.0, 24.0, 0.08, 87.0), hot_samples=0, throttling=False)
MOVE = Move("node-0/0", "node-0", "node-1", power_w=200.0, busy=0.2, gain_s=20.0, cost_s=1.0)


def plan(task: str, problem: Problem = PROBLEM) -> Plan:
    if problem != PROBLEM:
        raise DataError(f"{task} is unknown", "")
    return Plan(problem, SPACE, strategy("evolution", SPACE, 1), task)


class Node:
    """A node's core on a clock that the test moves."""

    def __init__(self, name: str) -> None:
        self.clock = Clock()
        self.clock.now_ns = 1000 * SECOND
        self.loop = NodeLoop(name, "table", [plan(f"{name}/0")], 6, recheck=2)
        self.tasks = NodeTasks(self.loop, plan, Residence(), self.clock)
        self.cycle = -1

    def work(self) -> None:
        """A cycle of two seconds at 300 W, on a device that idles at 100 W, and eight seconds of waiting."""
        self.cycle += 1
        shares = Shares(self.clock)
        drive(self.loop, TableDevice(), self.cycle)
        self.clock.now_ns += 2 * SECOND
        shares.lap(PROBLEM)
        self.tasks.worked(shares, Spent("gpu", 600.0, None, ((PROBLEM, 600.0),), "", EnergySource.COUNTER), 100.0)
        self.clock.now_ns += 8 * SECOND

    def restart(self) -> None:
        """As an agent does from what it committed."""
        state, residence = self.loop.state(), self.tasks.residence
        self.loop = NodeLoop(self.loop.node, "table", [plan(task) for task in self.loop.tasks], 6, recheck=2)
        self.loop.restore(state)
        self.tasks = NodeTasks(self.loop, plan, residence, self.clock)


@pytest.fixture
def nodes() -> tuple[Node, Node]:
    pair = Node("node-0"), Node("node-1")
    for node in pair:
        node.work()
    return pair


def test_a_report_says_what_a_task_takes_of_its_device(nodes: tuple[Node, Node]) -> None:
    report = nodes[0].tasks.report(HOT)
    assert report is not None
    (task,) = report.tasks
    assert task.name == "node-0/0"
    assert task.power_w == pytest.approx(40.0)
    assert task.busy == pytest.approx(0.2)
    assert task.movable
    assert nodes[0].tasks.report(None) is None


def test_a_task_goes_on_elsewhere_and_no_longer_at_home(nodes: tuple[Node, Node]) -> None:
    source, target = nodes
    released = source.tasks.release(MOVE, HOT)
    assert target.tasks.accept(released.parcel, MOVE, COOL) == ""
    source.tasks.settle(MOVE.task, arrived=True)
    assert source.tasks.tasks.held == source.tasks.tasks.leaving == ()
    assert target.loop.tasks == ("node-1/0", "node-0/0")
    record = drive(target.loop, TableDevice(), 1)
    assert [part.problem for part in record.problems] == [PROBLEM, PROBLEM]
    assert drive(source.loop, TableDevice(), 1).problems == ()


def test_on_another_board_of_the_same_model_its_times_do_not_count_and_its_elites_are_asked_first(
    nodes: tuple[Node, Node],
) -> None:
    source, target = nodes
    elites = [trial.genome for trial in source.loop.plans[0].strategy.best(3)]
    target.tasks.accept(source.tasks.release(MOVE, HOT).parcel, MOVE, COOL)
    assert len(target.loop.known(PROBLEM)) == 6
    assert target.loop.plans[1].strategy.ask(3) == elites


@pytest.mark.parametrize(
    ("heat", "why"),
    [(COOL, "not hot"), (replace(HOT, age_s=9.0), "old"), (None, "not known")],
)
def test_a_node_keeps_a_task_that_needs_not_leave(nodes: tuple[Node, Node], heat: Heat | None, why: str) -> None:
    released = nodes[0].tasks.release(MOVE, heat)
    assert why in released.why
    assert released.parcel == b""
    assert nodes[0].loop.tasks == ("node-0/0",)


@pytest.mark.parametrize(
    ("heat", "move", "why"),
    [
        (HOT, MOVE, "hotter"),
        (None, MOVE, "not known"),
        (COOL, replace(MOVE, busy=0.9), "time is taken"),
        (COOL, replace(MOVE, task="another"), "announced"),
    ],
)
def test_a_node_refuses_a_task_that_does_not_suit(
    nodes: tuple[Node, Node], heat: Heat | None, move: Move, why: str
) -> None:
    parcel = nodes[0].tasks.release(MOVE, HOT).parcel
    assert why in nodes[1].tasks.accept(parcel, move, heat)
    assert nodes[1].loop.tasks == ("node-1/0",)
    nodes[0].tasks.settle(MOVE.task, arrived=False)
    assert nodes[0].loop.tasks == ("node-0/0",)
    assert len(nodes[0].loop.known(PROBLEM)) == 6


def test_a_task_that_came_stays_a_minute_and_its_node_rests(nodes: tuple[Node, Node]) -> None:
    source, target = nodes
    target.tasks.accept(source.tasks.release(MOVE, HOT).parcel, MOVE, COOL)
    back = replace(MOVE, source="node-1", target="node-0")
    assert "took part in a move" in target.tasks.release(back, HOT).why
    target.clock.now_ns += 40 * SECOND
    target.work()
    assert "came only" in target.tasks.release(back, HOT).why
    target.clock.now_ns += 20 * SECOND
    assert target.tasks.release(back, HOT).parcel


def test_every_step_can_be_repeated(nodes: tuple[Node, Node]) -> None:
    source, target = nodes
    first, second = source.tasks.release(MOVE, HOT), source.tasks.release(MOVE, HOT)
    assert first == second
    assert [target.tasks.accept(first.parcel, MOVE, COOL) for _ in range(2)] == ["", ""]
    for _ in range(2):
        source.tasks.settle(MOVE.task, arrived=True)
    assert target.loop.tasks.count("node-0/0") == 1


@pytest.mark.parametrize("killed", ["released", "accepted", "settled"])
def test_nodes_that_restart_in_mid_move_neither_lose_nor_double_the_task(nodes: tuple[Node, Node], killed: str) -> None:
    source, target = nodes
    parcel = source.tasks.release(MOVE, HOT).parcel
    if killed == "released":
        source.restart()
        assert source.tasks.tasks.leaving == ("node-0/0",)
    target.tasks.accept(parcel, MOVE, COOL)
    if killed == "accepted":
        target.restart()
        source.restart()
    source.tasks.settle(MOVE.task, arrived=True)
    if killed == "settled":
        source.restart()
    held = [*source.loop.tasks, *target.loop.tasks]
    assert sorted(held) == ["node-0/0", "node-1/0"]


def test_a_machine_started_anew_does_not_keep_a_task_for_ever(nodes: tuple[Node, Node]) -> None:
    source, target = nodes
    target.tasks.accept(source.tasks.release(MOVE, HOT).parcel, MOVE, COOL)
    residence = target.tasks.residence
    anew = NodeTasks(target.loop, plan, residence, Clock())
    report = anew.report(COOL)
    assert report is not None
    assert report.rested_s == 0.0


@pytest.mark.parametrize("damaged", [b"", b"{}", b"[1]"])
def test_a_damaged_parcel_changes_nothing(nodes: tuple[Node, Node], damaged: bytes) -> None:
    with pytest.raises(DataError):
        nodes[1].tasks.accept(damaged, MOVE, COOL)
    assert nodes[1].loop.tasks == ("node-1/0",)


def test_a_task_of_a_problem_that_a_node_does_not_tune_is_refused(nodes: tuple[Node, Node]) -> None:
    state = TaskState.from_bytes(nodes[0].tasks.release(MOVE, HOT).parcel)
    state = replace(state, problem=Problem.of("other", n=1), known=())
    with pytest.raises(DataError, match="unknown"):
        nodes[1].tasks.accept(state.to_bytes(), MOVE, COOL)


def test_a_task_that_comes_back_goes_on_where_it_stood(nodes: tuple[Node, Node]) -> None:
    source, _ = nodes
    known, asked = source.loop.known(PROBLEM), plan("twin").strategy
    asked.restore(source.loop.plans[0].strategy.state())
    source.tasks.release(MOVE, HOT)
    source.tasks.settle(MOVE.task, arrived=False)
    assert source.loop.known(PROBLEM) == known
    assert source.loop.plans[0].strategy.ask(4) == asked.ask(4)


def test_a_task_does_not_leave_during_a_cycle(nodes: tuple[Node, Node]) -> None:
    loop = nodes[0].loop
    loop.handle(CycleStarted(5))
    with pytest.raises(DataError, match="cannot leave"):
        loop.release("node-0/0")


class Warm(NoRegulation):
    """Of a device whose heat the test sets."""

    def __init__(self, heat: Heat) -> None:
        super().__init__("the test regulates nothing")
        self._heat = heat

    def heat(self) -> Heat | None:
        return self._heat


def moved_spec(tmp_path: Path, name: str) -> NodeSpec:
    return replace(spec(tmp_path), name=name, folder=tmp_path / name)


def test_agents_keep_a_move_through_their_own_restart(tmp_path: Path) -> None:
    link = StoreLink(SegmentStore(tmp_path / "telemetry"))
    cool = NodeAgent(moved_spec(tmp_path, "node-1"), TableDevice(), link, regulation=Warm(COOL))
    hot = NodeAgent(moved_spec(tmp_path, "node-0"), TableDevice(), link, regulation=Warm(HOT))
    for agent in (cool, hot):
        agent.run_cycle(0, None)
    assert "middle of a trial" in hot.release(MOVE).why  # no meter, so nobody knows what the task draws
    parcel = hot._loop.release("node-0/0")  # as one whose heat is known would give it
    assert "a task" in cool.accept(b"{}", MOVE)
    assert cool.tasks().held == ("node-1/0",)
    assert cool.accept(parcel.to_bytes(), replace(MOVE, busy=0.0)) == ""
    cool.close()
    again = NodeAgent(moved_spec(tmp_path, "node-1"), TableDevice(), link, regulation=Warm(COOL))
    assert again.tasks().held == ("node-1/0", "node-0/0")
    record = again.run_cycle(1, None)
    assert [part.problem for part in record.problems] == [PROBLEM, PROBLEM]
    assert all(trial.status in (Status.OK, Status.CRASHED) for part in record.problems for trial in part.searched)
    again.close()
    hot.close()


def test_a_step_that_could_not_be_made_durable_was_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = StoreLink(SegmentStore(tmp_path / "telemetry"))
    agent = NodeAgent(moved_spec(tmp_path, "node-1"), TableDevice(), link, regulation=Warm(COOL))
    agent.run_cycle(0, None)
    source = Node("node-0")
    source.work()
    parcel = source.tasks.release(MOVE, HOT).parcel

    def full(path: Path, data: bytes) -> None:
        raise StorageError(f"{path} cannot be written", "the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("actors.node_agent.write_atomic", full)
        with pytest.raises(StorageError):
            agent.accept(parcel, replace(MOVE, busy=0.0))
    assert agent.tasks().held == ("node-1/0",)
    assert agent.accept(parcel, replace(MOVE, busy=0.0)) == ""
    agent.close()
