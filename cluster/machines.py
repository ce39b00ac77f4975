"""The machines of the Ray cluster: who is alive, and how those went that are not."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray

from cluster.placement import Machine, distinct

PROBE_S = 0.2
"""How long a machine's daemon may take to accept a connection before nothing follows from it."""

_WILLING = (1, 3, 4)
"""Reasons for which a machine left in good order: ended as expected, and drained by an autoscaler."""


@dataclass(frozen=True, slots=True)
class Machines:
    """The cluster at a moment.

    Attributes:
        alive: those that answer, of distinct names, the driver's own first; their order outlives a restart.
        willing: Ray's ids of those that left in good order.
        draining: names of those that Ray ends once they are idle.
    """

    alive: tuple[Machine, ...]
    willing: frozenset[str] = frozenset()
    draining: frozenset[str] = frozenset()


def machines() -> Machines:
    """As Ray sees them, less those whose Ray was killed and of which Ray does not know yet."""
    own = ray.get_runtime_context().get_node_id()
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    alive = sorted(
        (node for node in nodes if node["Alive"]),
        key=lambda node: (node["NodeID"] != own, node["NodeManagerAddress"], node["NodeID"]),
    )
    known = distinct(machine for machine in map(_machine, alive) if machine.node_id == own or not refuses(machine))
    left = frozenset(node["NodeID"] for node in nodes if not node["Alive"] and node["DeathReason"] in _WILLING)
    draining = ray._private.state.state.get_draining_nodes()  # as Ray Serve asks: there is no public call
    return Machines(tuple(known), left, frozenset(machine.name for machine in known if machine.node_id in draining))


def _machine(node: Mapping[str, Any]) -> Machine:
    return Machine(
        node_id=node["NodeID"],
        gpus=int(node["Resources"].get("GPU", 0)),
        labels=node["Labels"],
        address=node["NodeManagerAddress"],
        port=int(node["NodeManagerPort"]),
    )


def refuses(machine: Machine) -> bool:
    """Whether nothing listens where its Ray daemon did: it was killed, which Ray itself notices after a quarter of a
    minute. A machine that does not answer at all may be slow, and is left to Ray's judgement."""
    if not machine.port:
        return False
    try:
        socket.create_connection((machine.address, machine.port), PROBE_S).close()
    except OSError as error:
        return isinstance(error, ConnectionRefusedError)
    return False
