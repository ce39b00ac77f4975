"""How Ray is asked for an actor: pinned to a machine, without a share of its CPUs, under a typed handle."""

from __future__ import annotations

from typing import TypeVar

from ray.actor import ActorHandle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

T = TypeVar("T")

AGENT_CPUS = 0
"""Actors reserve no CPU of Ray's: timed runs are kept apart by the device lease, and an actor that found no share left
would wait for ever without a word."""


def pinned(node_id: str) -> NodeAffinitySchedulingStrategy:
    """Placement on one machine only: an actor's state lies in a folder there."""
    return NodeAffinitySchedulingStrategy(node_id, soft=False)


def as_handle(actor: ActorHandle[T] | type[T]) -> ActorHandle[T]:
    """The handle that ``.remote()`` of an actor class gave, which Ray types as a union with the class itself."""
    assert isinstance(actor, ActorHandle)
    return actor
