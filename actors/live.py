"""What is so now in a fleet: pulses of its nodes, their health, and the events of a run. Pure types."""

from __future__ import annotations

from typing import Literal

import msgspec

State = Literal["starting", "measuring", "resting", "idle", "round", "draining"]
"""What an agent does; it rests while the duty cycle of its regulation keeps it from measuring."""

Health = Literal["ok", "late", "lost", "left", "draining"]

Kind = Literal[
    "run-started",
    "run-ended",
    "node-joined",
    "node-lost",
    "node-left",
    "node-drained",
    "node-failed",
    "name-taken",
    "cycle-done",
    "cycle-abandoned",
    "round-opened",
    "round-closed",
    "round-abandoned",
    "policy-released",
    "policy-held",
    "regulator",
    "task-moved",
    "batch-refused",
]


class NodePulse(msgspec.Struct, frozen=True):
    """What a node says of itself about once a second, and nobody acknowledges.

    Attributes:
        machine: name or address of where it runs.
        device: its name; "" until it is open.
        cycle: that it works on, or has finished; −1 before the first.
        problem: that it works on; "" between two.
        power_w, cap_w, temperature_c: as its regulation last read them; None: unmetered, see ``metered_why``.
        energy_source: of its meter, such as ``counter`` or ``unmetered``.
        metered_why: why something is None; "" where nothing is.
        rows_sent, rows_acknowledged: of telemetry, since the node's first start.
        last_batch_at: unix seconds of its last acknowledged batch; None: none since it was opened.
        at: unix seconds.
    """

    node: str
    machine: str
    device: str
    state: State
    cycle: int
    problem: str
    power_w: float | None
    cap_w: float | None
    temperature_c: float | None
    energy_source: str
    metered_why: str
    rows_sent: int
    rows_acknowledged: int
    last_batch_at: float | None
    at: float


class NodeLive(msgspec.Struct, frozen=True):
    """A node as the fleet sees it.

    Attributes:
        pulse: its last.
        heard_at: unix seconds, by the aggregator's clock.
    """

    pulse: NodePulse
    health: Health
    heard_at: float


class FleetLive(msgspec.Struct, frozen=True):
    """The fleet now.

    Attributes:
        at: unix seconds.
        nodes: by name.
        phase: of the aggregator.
        round: number of the round that is open, or the next.
        policy_version: in force; 0 before the first.
        rows_stored: telemetry rows that are durable.
    """

    at: float
    nodes: tuple[NodeLive, ...]
    phase: str
    round: int
    policy_version: int
    rows_stored: int


class Event(msgspec.Struct, frozen=True):
    """Something that happened in a run.

    Attributes:
        at: unix seconds.
        node: "" where it is of the whole fleet.
        round, cycle: −1 where it is of none.
        text: for people.
    """

    at: float
    kind: Kind
    node: str
    round: int
    cycle: int
    text: str
