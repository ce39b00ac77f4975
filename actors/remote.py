"""The thin Ray edge: the typed classes as actors, and the link between them. The only file here that imports Ray."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TypeVar

import ray
from ray.actor import ActorHandle
from ray.exceptions import ActorDiedError, ActorUnavailableError, GetTimeoutError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.aggregator import Aggregator, AggregatorSnapshot, AggregatorSpec
from actors.compile_tasks import RayCompiler
from actors.node_agent import NodeAgent
from actors.node_events import CycleRecord
from actors.node_rounds import Accord, Answer
from actors.node_spec import NodeSnapshot, NodeSpec
from actors.node_tasks import Released
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

LOG = logging.getLogger(__name__)

SUBMIT_TIMEOUT_S = 30.0
SUBMIT_ATTEMPTS = 5

AGENT_CPUS = 0
"""Actors reserve no CPU of Ray's: timed runs are kept apart by the device lease, and an actor that found no share left
would wait for ever without a word."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an agent runs, and the share of a GPU that Ray reserves for it there; 0: none."""

    machine: str
    gpus: float


class RayLink:
    """Reaches the aggregator by its name, through its restarts."""

    def __init__(self, aggregator: str) -> None:
        self._name = aggregator
        self._actor: ActorHandle[RayAggregator] | None = None

    def submit(self, batch: bytes) -> Ack | Refusal | None:
        """See ``Link.submit``. An aggregator that restarts is waited for; sending twice does no harm."""
        for attempt in range(SUBMIT_ATTEMPTS):
            try:
                return self._submit(batch)
            except ActorDiedError:
                self._actor = None
            except (ActorUnavailableError, GetTimeoutError, ValueError, RayTaskError) as error:
                LOG.warning("the aggregator did not answer (attempt %d): %s", attempt + 1, error)
            time.sleep(0.1 * 2**attempt)
        return None

    def _submit(self, batch: bytes) -> Ack | Refusal:
        if self._actor is None:
            self._actor = ray.get_actor(self._name)
        answer = ray.get(self._actor.submit.remote(batch), timeout=SUBMIT_TIMEOUT_S)
        if not isinstance(answer, (Ack, Refusal)):
            raise TypeError(f"the aggregator answered {type(answer).__name__}")
        return answer


class RayAggregator:
    """An aggregator that opens its folders when it is first called.

    Not in the constructor: of what a constructor raises Ray keeps the text alone, and with it neither the type nor the
    exit code of an error. One that could not open tries again at its next call.
    """

    def __init__(self, spec: AggregatorSpec) -> None:
        self._spec = spec
        self._opened: Aggregator | None = None

    def _aggregator(self) -> Aggregator:
        if self._opened is None:
            self._opened = Aggregator(self._spec)
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

    async def snapshot(self) -> AggregatorSnapshot:  # noqa: D102
        return await self._aggregator().snapshot()


class RayNode:
    """A node agent that opens its own device, in the process that the actor runs in, when it is first called.

    As with the aggregator, so that its errors keep their exit codes.
    """

    def __init__(self, spec: NodeSpec, target: TargetSpec, aggregator: str, alone: bool) -> None:
        self._spec, self._target, self._aggregator, self._alone = spec, target, aggregator, alone
        self._opened: NodeAgent | None = None

    def _agent(self) -> NodeAgent:
        if self._opened is None:
            with ExitStack() as opened:
                target = open_target(self._target)
                opened.callback(target.close)
                spec, link = self._spec, RayLink(self._aggregator)
                meter, regulation = open_regulation(
                    spec.regulation, target, make_folder(spec.folder), alone=self._alone, seed=spec.seed
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
        return self._agent().run_cycle(cycle, policy)

    def adopt(self, envelope: bytes) -> int:  # noqa: D102
        return self._agent().adopt(envelope)

    def enrolment(self) -> bytes:  # noqa: D102
        return self._agent().enrolment()

    def accept_roster(self, envelope: bytes) -> None:  # noqa: D102
        self._agent().accept_roster(envelope)

    def answer(self, message: bytes, accord: Accord) -> Answer:  # noqa: D102
        return self._agent().answer(message, accord)

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


def open_target(spec: TargetSpec) -> Target:
    """The device, ready to measure; what it runs is compiled by the cluster where that needs no device."""
    return spec.open(RayCompiler()) if isinstance(spec, TritonSpec) else spec.open()


def pinned(node_id: str) -> NodeAffinitySchedulingStrategy:
    """Placement on one machine only: an actor's state lies in a folder there."""
    return NodeAffinitySchedulingStrategy(node_id, soft=False)


def start_node(spec: NodeSpec, target: TargetSpec, aggregator: str, place: Place) -> ActorHandle[RayNode]:
    """A node agent that Ray restarts whenever its process dies, and whose calls are then made again."""
    placed = ray.remote(RayNode).options(
        num_cpus=AGENT_CPUS,
        num_gpus=place.gpus,
        max_restarts=-1,
        max_task_retries=-1,
        scheduling_strategy=pinned(place.machine),
    )
    return as_handle(placed.remote(spec, target, aggregator, place.gpus == 1))


def start_aggregator(spec: AggregatorSpec, name: str, machine: str) -> ActorHandle[RayAggregator]:
    """The aggregator, to be found by name; pinned to the machine that holds its store."""
    placed = ray.remote(RayAggregator).options(
        name=name,
        get_if_exists=True,
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
