"""Somebody with the dashboard open: what its WebSocket has said of the machines of a fleet, and when that came."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import msgspec
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from actors.live import Event
from benchmarks.dashboard import Server
from cluster.dashboard.views import EventsView, FleetView
from quasim.codec import from_json


class _Frame(msgspec.Struct):
    view: str
    data: msgspec.Raw


class Viewer:
    """Listens in a thread of its own until the connection ends."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._said = threading.Condition()
        self._fleet: tuple[float, FleetView] | None = None
        self._events: dict[Event, float] = {}
        self._thread = threading.Thread(target=self._listen, name="viewer")
        self._thread.start()

    @classmethod
    @contextmanager
    def of(cls, server: Server) -> Iterator[Viewer]:
        """Logged in with the server's token, as a page is."""
        server.log_in()
        with connect(server.socket, additional_headers=server.headers, max_size=None, proxy=None) as connection:
            viewer = cls(connection)
            try:
                yield viewer
            finally:
                connection.close()
                viewer._thread.join()

    def health(self, machine: str, wanted: Collection[str], wait_s: float) -> tuple[float, float] | None:
        """When a frame came in which the node of a machine is so, and of when the fleet's state in it is.

        Returns:
            Both in unix seconds; None: it is not so within ``wait_s``.
        """
        with self._said:
            if not self._said.wait_for(lambda: self._health(machine) in wanted, wait_s):
                return None
            assert self._fleet is not None
            at, fleet = self._fleet
            return at, fleet.at or at

    def event(self, machine: str, kinds: Collection[str], since: float, wait_s: float) -> float | None:
        """Unix seconds at which a frame came with an event of these kinds that names the machine.

        Args:
            since: unix seconds; earlier events do not count.

        Returns:
            None: there is none within ``wait_s``.
        """
        with self._said:
            self._said.wait_for(lambda: self._told(machine, kinds, since), wait_s)
            return min(self._told(machine, kinds, since), default=None)

    def _health(self, machine: str) -> str | None:
        nodes = self._fleet[1].nodes if self._fleet else ()
        return next((tile.health for tile in nodes if tile.machine == machine), None)

    def _told(self, machine: str, kinds: Collection[str], since: float) -> list[float]:
        return [
            at
            for event, at in self._events.items()
            if event.at >= since and event.kind in kinds and machine in event.text
        ]

    def _listen(self) -> None:
        try:
            for message in self._connection:
                self._hear(from_json(message, _Frame, "a message"), time.time())
        except ConnectionClosed:
            return

    def _hear(self, frame: _Frame, at: float) -> None:
        with self._said:
            if frame.view == "fleet":
                self._fleet = at, from_json(bytes(frame.data), FleetView, "the fleet")
            elif frame.view == "events":
                for event in from_json(bytes(frame.data), EventsView, "the events").events:
                    self._events.setdefault(event, at)
            self._said.notify_all()
