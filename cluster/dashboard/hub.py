"""Brings changed views to all who look on: each gets the newest, and none waits for another."""

from __future__ import annotations

import asyncio

MOST_VIEWERS = 200
"""Of one server: each holds a connection and, when it is slow, one message a view."""


class Viewer:
    """One who looks on: what it has not got yet, the newest of each view."""

    def __init__(self) -> None:
        self._waiting: dict[str, str] = {}
        self._woken = asyncio.Event()

    def offer(self, view: str, message: str) -> None:
        """Have a message sent, instead of an older one of the same view."""
        self._waiting[view] = message
        self._woken.set()

    async def next(self) -> str:
        """The message that waits longest."""
        while not self._waiting:
            self._woken.clear()
            await self._woken.wait()
        return self._waiting.pop(next(iter(self._waiting)))


class Hub:
    """The viewers of one run."""

    def __init__(self) -> None:
        self._viewers: set[Viewer] = set()

    def __len__(self) -> int:
        return len(self._viewers)

    def join(self, viewer: Viewer) -> None:
        """Let a viewer have what is published from now on."""
        self._viewers.add(viewer)

    def leave(self, viewer: Viewer) -> None:
        """Forget a viewer."""
        self._viewers.discard(viewer)

    def publish(self, view: str, message: str) -> None:
        """Offer a message to all; returns at once."""
        for viewer in self._viewers:
            viewer.offer(view, message)
