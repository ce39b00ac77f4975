"""What the aggregator knows of the fleet now: the last pulse of each node, what the driver says of it, and progress."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import msgspec

from actors.live import FleetLive, Health, NodeLive, NodePulse
from aggregation.fleet_state import FleetSnapshot, Phase

LATE_S = 1.5
"""A pulse comes about once a second. With this, what has stopped shows within two seconds."""

LOST_S = 10.0
"""So long without a pulse, a node is gone whether or not a driver is there to say so."""

_NOTHING = FleetSnapshot(Phase.IDLE, -1, -1, (), 0)


class Mark(msgspec.Struct, frozen=True):
    """What the driver knows of a node; ``ok`` leaves the word to its pulses.

    Attributes:
        order: higher in what the driver said later: on its way, one word may overtake another.
    """

    health: Health
    order: int


_UNMARKED = Mark("ok", -1)


class Board:
    """Written by whoever hears something, read by whoever shows it; from several threads.

    Moments are unix seconds, given by the caller.

    Args:
        before: what an earlier board of the run showed last; who has fallen silent since then stays in sight.
    """

    def __init__(self, before: FleetLive | None = None) -> None:
        self._lock = threading.Lock()
        known = before.nodes if before is not None else ()
        self._heard = {node.pulse.node: (node.pulse, node.heard_at) for node in known}
        self._marks: dict[str, Mark] = {}
        self._fleet = _NOTHING
        self._rows = 0

    def heard(self, pulse: NodePulse, at: float) -> None:
        """A pulse came in."""
        with self._lock:
            self._heard[pulse.node] = (pulse, at)

    def mark(self, marks: Mapping[str, Mark]) -> bool:
        """Take what the driver says of nodes; whether it is news of any."""
        with self._lock:
            newer = {node: mark for node, mark in marks.items() if mark.order > self._marked(node).order}
            news = any(mark.health != self._marked(node).health for node, mark in newer.items())
            self._marks |= newer
            return news

    def learned(self, fleet: FleetSnapshot) -> None:
        """Where learning stands."""
        with self._lock:
            self._fleet = fleet

    def stored(self, rows: int) -> None:
        """How many rows are durable."""
        with self._lock:
            self._rows = rows

    def live(self, at: float) -> FleetLive:
        """The fleet at a moment."""
        with self._lock:
            nodes = tuple(
                NodeLive(pulse, self._health(name, at - heard), heard)
                for name, (pulse, heard) in sorted(self._heard.items())
            )
            fleet = self._fleet
            return FleetLive(at, nodes, fleet.phase.value, fleet.round, fleet.version, self._rows)

    def _health(self, node: str, silent_s: float) -> Health:
        mark = self._marked(node).health
        if mark in ("lost", "left"):
            return mark
        if silent_s > LOST_S:
            return "lost"
        return "late" if silent_s > LATE_S else mark

    def _marked(self, node: str) -> Mark:
        return self._marks.get(node, _UNMARKED)
