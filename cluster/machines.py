"""The machines of the Ray cluster: who is alive, and how those went that are not."""

from __future__ import annotations

import socket
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import ray

from cluster.placement import Machine, distinct

PROBE_S = 0.2
"""How long a machine's daemon may take to accept a connection before nothing follows from it."""

PROBES = 16
"""Machines asked at a time: those that do not answer at all cost the others of a large cluster little time."""

_WILLING = (1, 3, 4)
"""Reasons for which a machine left in good order: ended as expected, and drained by an autoscaler."""


@dataclass(frozen=True, slots=True)
class Machines:
    """The cluster at a moment.

    Attributes:
        alive: those that answer, of distinct names, the driver's own first; their order outlives a restart.
        willing: Ray's ids of those that left in good order.
        draining: names of those that Ray ends once they are idle.
        unnamed: those that answer and whose name another one has; the other may be the same machine before a restart.
    """

    alive: tuple[Machine, ...]
    willing: frozenset[str] = frozenset()
    draining: frozenset[str] = frozenset()
    unnamed: tuple[Machine, ...] = ()


def machines(in_use: Collection[str] = ()) -> Machines:
    """As Ray sees them, less those whose Ray was killed and of which Ray does not know yet.

    Args:
        in_use: Ray's ids of the machines that agents work on; these keep their names.
    """
    own = ray.get_runtime_context().get_node_id()
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    known = sorted(
        (_machine(node) for node in nodes if node["Alive"]),
        key=lambda machine: (machine.node_id != own, machine.address, machine.node_id),
    )
    dead = refusing([machine for machine in known if machine.node_id != own])
    answering = [machine for machine in known if machine.node_id not in dead]
    alive = distinct(answering, in_use)
    left = frozenset(node["NodeID"] for node in nodes if not node["Alive"] and node["DeathReason"] in _WILLING)
    draining = ray._private.state.state.get_draining_nodes()  # as Ray Serve asks: there is no public call
    return Machines(
        tuple(alive),
        left,
        frozenset(machine.name for machine in alive if machine.node_id in draining),
        tuple(machine for machine in answering if machine not in alive),
    )


def _machine(node: Mapping[str, Any]) -> Machine:
    return Machine(
        node_id=node["NodeID"],
        gpus=int(node["Resources"].get("GPU", 0)),
        labels=node["Labels"],
        address=node["NodeManagerAddress"],
        port=int(node["NodeManagerPort"]),
    )


def refusing(machines: Sequence[Machine]) -> frozenset[str]:
    """Ray's ids of those that refuse, asked at the same time."""
    with ThreadPoolExecutor(PROBES, "probe") as pool:
        return frozenset(
            machine.node_id for machine, refused in zip(machines, pool.map(refuses, machines), strict=True) if refused
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
