"""What the aggregator knows of the fleet now: the last pulse of each node, what the driver says of it, and progress."""

from __future__ import annotations

import threading

from actors.live import FleetLive, Health, NodeLive, NodePulse
from aggregation.fleet_state import FleetSnapshot, Phase

LATE_S = 1.5
"""A pulse comes about once a second. With this, what has stopped shows within two seconds."""

LOST_S = 10.0
"""So long without a pulse, a node is gone whether or not a driver is there to say so."""

_NOTHING = FleetSnapshot(Phase.IDLE, -1, -1, (), 0)


class Board:
    """Written by whoever hears something, read by whoever shows it; from several threads.

    Moments are unix seconds, given by the caller.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._heard: dict[str, tuple[NodePulse, float]] = {}
        self._marks: dict[str, tuple[int, Health]] = {}
        self._fleet = _NOTHING
        self._rows = 0

    def heard(self, pulse: NodePulse, at: float) -> None:
        """A pulse came in."""
        with self._lock:
            self._heard[pulse.node] = (pulse, at)

    def mark(self, node: str, health: Health, order: int) -> None:
        """What the driver knows of a node; ``ok`` leaves the word to its pulses.

        Args:
            order: higher in what the driver said later: on its way, one word may overtake another.
        """
        with self._lock:
            if order > self._marks.get(node, (-1, "ok"))[0]:
                self._marks[node] = (order, health)

    def progress(self, fleet: FleetSnapshot, rows: int) -> None:
        """Where learning and the store stand."""
        with self._lock:
            self._fleet, self._rows = fleet, rows

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
        _, mark = self._marks.get(node, (-1, "ok"))
        if mark in ("lost", "left"):
            return mark
        if silent_s > LOST_S:
            return "lost"
        return "late" if silent_s > LATE_S else mark
