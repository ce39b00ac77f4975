"""The thin Ray edge: the typed classes as actors, and the link between them. The only file here that imports Ray."""

from __future__ import annotations

import logging
import time
from typing import TypeVar

import ray
from ray.actor import ActorHandle
from ray.exceptions import ActorDiedError, ActorUnavailableError, GetTimeoutError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.aggregator import Aggregator, AggregatorSpec
from actors.node_agent import NodeAgent, NodeSpec
from quasim.targets.spec import TargetSpec
from storage.segments import Ack, Refusal

T = TypeVar("T")

LOG = logging.getLogger(__name__)

SUBMIT_TIMEOUT_S = 30.0
SUBMIT_ATTEMPTS = 5

AGENT_CPUS = 0
"""Actors reserve no CPU of Ray's: timed runs are kept apart by the device lease, and an actor that found no share left
would wait for ever without a word."""


class RayLink:
    """Reaches the aggregator by its name, through its restarts."""

    def __init__(self, aggregator: str) -> None:
        self._name = aggregator
        self._actor: ActorHandle[Aggregator] | None = None

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


class RayNode(NodeAgent):
    """A node agent that opens its own device, in the process that the actor runs in."""

    def __init__(self, spec: NodeSpec, target: TargetSpec, aggregator: str) -> None:
        super().__init__(spec, target.open(), RayLink(aggregator))


def pinned(node_id: str) -> NodeAffinitySchedulingStrategy:
    """Placement on one machine only: an actor's state lies in a folder there."""
    return NodeAffinitySchedulingStrategy(node_id, soft=False)


def start_node(spec: NodeSpec, target: TargetSpec, aggregator: str, machine: str) -> ActorHandle[RayNode]:
    """A node agent that Ray restarts whenever its process dies, and whose calls are then made again."""
    placed = ray.remote(RayNode).options(
        num_cpus=AGENT_CPUS, max_restarts=-1, max_task_retries=-1, scheduling_strategy=pinned(machine)
    )
    return as_handle(placed.remote(spec, target, aggregator))


def start_aggregator(spec: AggregatorSpec, name: str, machine: str) -> ActorHandle[Aggregator]:
    """The aggregator, to be found by name; pinned to the machine that holds its store."""
    placed = ray.remote(Aggregator).options(
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
