"""The thin Ray edge of a node: its agent as an actor, pinned to the machine that holds its state."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import ray
from ray.actor import ActorHandle

from actors.compile_tasks import RayCompiler
from actors.links import RayLink, RayPulse
from actors.live import State
from actors.log_lines import log_json
from actors.metrics import of_cycle, of_pulse
from actors.node_agent import NodeAgent
from actors.node_events import CycleRecord
from actors.node_rounds import Accord, Answer
from actors.node_spec import NodeSnapshot, NodeSpec
from actors.node_tasks import Released
from actors.placed import AGENT_CPUS, as_handle, pinned
from actors.pulse import Heart, pulse_of
from actors.ray_metrics import record
from actors.regulation import open_regulation
from actors.tasks import Tasks
from quasim.energy.migration import HeatReport, Move
from quasim.standing import Standing
from quasim.targets import Target
from quasim.targets.profile import Profile
from quasim.targets.spec import TargetSpec, TritonSpec
from quasim.trial import Genome, Problem, Trial
from storage.files import make_folder


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
