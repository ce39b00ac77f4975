"""The thin Ray edge: the typed classes as actors, and where they are placed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

import ray
from ray.actor import ActorHandle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.aggregator import Aggregator, AggregatorSnapshot, AggregatorSpec
from actors.compile_tasks import RayCompiler
from actors.links import RayLink, RayPulse
from actors.live import FleetLive, Health, NodePulse, State
from actors.log_lines import log_json
from actors.metrics import of_cycle, of_fleet, of_pulse
from actors.node_agent import NodeAgent
from actors.node_events import CycleRecord
from actors.node_rounds import Accord, Answer
from actors.node_spec import NodeSnapshot, NodeSpec
from actors.node_tasks import Released
from actors.pulse import Heart, pulse_of
from actors.ray_metrics import record
from actors.regulation import open_regulation
from actors.round_step import RoundStep
from actors.tasks import Tasks
from quasim.energy.migration import HeatReport, Move
from quasim.standing import Standing
from quasim.targets import Target
from quasim.targets.profile import Profile
from quasim.targets.spec import TargetSpec, TritonSpec
from quasim.trial import Genome, Problem, Trial
from storage.files import make_folder
from storage.segments import Ack, Refusal

T = TypeVar("T")

AGENT_CPUS = 0
"""Actors reserve no CPU of Ray's: timed runs are kept apart by the device lease, and an actor that found no share left
would wait for ever without a word."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an agent runs.

    Attributes:
        machine: Ray's id of it, new with each start.
        gpus: share of a GPU that Ray reserves for it there; 0: none.
        name: of the machine, for people; it outlives restarts.
    """

    machine: str
    gpus: float
    name: str = ""


class RayAggregator:
    """An aggregator that opens its folders when it is first called.

    Not in the constructor: of what a constructor raises Ray keeps the text alone, and with it neither the type nor the
    exit code of an error. One that could not open tries again at its next call.
    """

    def __init__(self, spec: AggregatorSpec) -> None:
        log_json(os.environ, run=spec.folder.parent.name)
        self._spec = spec
        self._opened: Aggregator | None = None

    def _aggregator(self) -> Aggregator:
        if self._opened is None:
            self._opened = Aggregator(self._spec, told=lambda fleet: record(of_fleet(fleet)))
        return self._opened

    async def submit(self, batch: bytes) -> Ack | Refusal:
        """See ``Aggregator.submit``, and so for every method below."""
        return await self._aggregator().submit(batch)

    async def open_round(  # noqa: D102
        self, cycle: int, nodes: Sequence[str], roster: bytes | None = None
    ) -> RoundStep:
        return await self._aggregator().open_round(cycle, nodes, roster)

    async def answer(self, messages: Sequence[tuple[str, bytes]]) -> RoundStep:  # noqa: D102
        return await self._aggregator().answer(messages)

    async def deadline(self) -> RoundStep:  # noqa: D102
        return await self._aggregator().deadline()

    async def advise(self, reports: Sequence[HeatReport]) -> Move | None:  # noqa: D102
        return self._aggregator().advise(reports)

    async def moved(self, took_s: float) -> None:  # noqa: D102
        self._aggregator().moved(took_s)

    async def policy(self) -> bytes | None:  # noqa: D102
        return await self._aggregator().policy()

    async def tabulate(self) -> bool:  # noqa: D102
        return await self._aggregator().tabulate()

    async def snapshot(self) -> AggregatorSnapshot:  # noqa: D102
        return await self._aggregator().snapshot()

    async def pulse(self, pulse: NodePulse) -> None:  # noqa: D102
        await self._aggregator().pulse(pulse)

    async def mark(self, node: str, health: Health, order: int) -> None:  # noqa: D102
        await self._aggregator().mark(node, health, order)

    async def live(self) -> FleetLive:  # noqa: D102
        return await self._aggregator().live()


class RayNode:
    """A node agent that opens its own device, in the process that the actor runs in, when it is first called.

    As with the aggregator, so that its errors keep their exit codes.
    """

    def __init__(self, spec: NodeSpec, target: TargetSpec, aggregator: str, place: Place) -> None:
        log_json(os.environ, run=spec.folder.parents[1].name, node=spec.name)
        self._spec, self._target, self._aggregator, self._place = spec, target, aggregator, place
        self._opened: NodeAgent | None = None
        self._state: State = "idle"
        self._pulse = RayPulse(aggregator)
        self._heart = Heart(self._beat)

    def _beat(self) -> None:
        """From a thread of its own; it only looks."""
        agent = self._opened
        vitals = None if agent is None else agent.vitals()
        state: State = "starting" if agent is None else self._state
        now = pulse_of(self._spec.name, self._place.name, state, vitals, time.time())
        record(of_pulse(now))
        self._pulse.send(now)

    @contextmanager
    def _in(self, state: State) -> Iterator[NodeAgent]:
        agent = self._agent()
        self._state = state
        try:
            yield agent
        finally:
            self._state = "idle"

    def _agent(self) -> NodeAgent:
        if self._opened is None:
            with ExitStack() as opened:
                target = open_target(self._target)
                opened.callback(target.close)
                spec, link = self._spec, RayLink(self._aggregator)
                meter, regulation = open_regulation(
                    spec.regulation, target, make_folder(spec.folder), alone=self._place.gpus == 1, seed=spec.seed
                )
                opened.callback(meter.close)
                opened.callback(regulation.close)
                self._opened = NodeAgent(spec, target, link, meter, regulation)
                opened.pop_all()
        return self._opened

    def catalogue(self) -> bytes:
        """See ``NodeAgent.catalogue``, and so for every method below."""
        return self._agent().catalogue()

    def cohort(self) -> str:  # noqa: D102
        return self._agent().cohort()

    def run_cycle(self, cycle: int, policy: bytes | None) -> CycleRecord:  # noqa: D102
        with self._in("measuring") as agent:
            done = agent.snapshot().cycle
            ran = agent.run_cycle(cycle, policy)
            if ran.cycle > done:  # a repeated call adds nothing
                record(of_cycle(ran, agent.snapshot()))
            return ran

    def adopt(self, envelope: bytes) -> int:  # noqa: D102
        return self._agent().adopt(envelope)

    def enrolment(self) -> bytes:  # noqa: D102
        return self._agent().enrolment()

    def accept_roster(self, envelope: bytes) -> None:  # noqa: D102
        self._agent().accept_roster(envelope)

    def answer(self, message: bytes, accord: Accord) -> Answer:  # noqa: D102
        with self._in("round") as agent:
            return agent.answer(message, accord)

    def top(self, problem: Problem, count: int) -> list[Trial]:  # noqa: D102
        return self._agent().top(problem, count)

    def default(self, problem: Problem) -> Genome | None:  # noqa: D102
        return self._agent().default(problem)

    def playoff(self, problem: Problem, genomes: Sequence[Genome]) -> list[Trial]:  # noqa: D102
        return self._agent().playoff(problem, genomes)

    def standing(self, problem: Problem, genome: Genome) -> Standing | None:  # noqa: D102
        return self._agent().standing(problem, genome)

    def profile(self, problem: Problem, genome: Genome) -> Profile | None:  # noqa: D102
        return self._agent().profile(problem, genome)

    def heat(self) -> HeatReport | None:  # noqa: D102
        return self._agent().heat()

    def tasks(self) -> Tasks:  # noqa: D102
        return self._agent().tasks()

    def release(self, move: Move) -> Released:  # noqa: D102
        return self._agent().release(move)

    def accept(self, parcel: bytes, move: Move) -> str:  # noqa: D102
        return self._agent().accept(parcel, move)

    def settle(self, task: str, arrived: bool) -> None:  # noqa: D102
        self._agent().settle(task, arrived)

    def flush(self) -> int:  # noqa: D102
        return self._agent().flush()

    def snapshot(self) -> NodeSnapshot:  # noqa: D102
        return self._agent().snapshot()

    def leave(self) -> NodeSnapshot:
        """Send what waits, and say where the node stands; it is ended afterwards, and may come again."""
        with self._in("draining") as agent:
            agent.flush()
            return agent.snapshot()


def open_target(spec: TargetSpec) -> Target:
    """The device, ready to measure; what it runs is compiled by the cluster where that needs no device."""
    return spec.open(RayCompiler()) if isinstance(spec, TritonSpec) else spec.open()


def pinned(node_id: str) -> NodeAffinitySchedulingStrategy:
    """Placement on one machine only: an actor's state lies in a folder there."""
    return NodeAffinitySchedulingStrategy(node_id, soft=False)


def start_node(spec: NodeSpec, target: TargetSpec, aggregator: str, place: Place, name: str) -> ActorHandle[RayNode]:
    """A node agent that Ray restarts whenever its process dies, and whose calls are then made again.

    It outlives the driver; one of this name that is there already is the same.
    """
    placed = ray.remote(RayNode).options(
        name=name,
        get_if_exists=True,
        lifetime="detached",
        num_cpus=AGENT_CPUS,
        num_gpus=place.gpus,
        max_restarts=-1,
        max_task_retries=-1,
        scheduling_strategy=pinned(place.machine),
    )
    return as_handle(placed.remote(spec, target, aggregator, place))


def start_aggregator(spec: AggregatorSpec, name: str, machine: str) -> ActorHandle[RayAggregator]:
    """The aggregator, to be found by name; pinned to the machine that holds its store. It outlives the driver.

    One that an earlier driver left is ended first: what it was told may differ, and all that counts is on disk.
    """
    with suppress(ValueError):  # there is none
        ray.kill(ray.get_actor(name))
    placed = ray.remote(RayAggregator).options(
        name=name,
        lifetime="detached",
        num_cpus=AGENT_CPUS,
        max_restarts=-1,
        max_task_retries=-1,
        scheduling_strategy=pinned(machine),
    )
    return as_handle(placed.remote(spec))


def as_handle(actor: ActorHandle[T] | type[T]) -> ActorHandle[T]:
    """The handle that ``.remote()`` of an actor class gave, which Ray types as a union with the class itself."""
    assert isinstance(actor, ActorHandle)
    return actor
