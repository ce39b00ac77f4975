"""Looks at one run for all its viewers, and brings them what changed: news at once, a view else once a second."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from cluster.dashboard.desk import NEEDS, Desk
from cluster.dashboard.hub import Hub, Viewer

T = TypeVar("T")

LOG = logging.getLogger(__name__)

LOOK_S = 0.1
"""Files are looked at so often: a few calls of stat."""

PUSH_S = 1.0
"""Between two pushes of a view on the average: by ``EARLY_S`` less, where what is written every second came early."""

EARLY_S = 0.25

TABLE_S = 1.0
TABLE_SHARE = 4
"""The table is looked at every second, and rests four times as long as a question to it took."""


class Threads:
    """Where looks are made, so that answers need not wait for them: one thread for files, one for tables.

    Questions to a table are big. More threads would ask several at once, and each would keep memory for itself.
    """

    def __init__(self) -> None:
        self.files = ThreadPoolExecutor(1, "dashboard-files")
        self.tables = ThreadPoolExecutor(1, "dashboard-tables")

    def close(self) -> None:
        """Wait for what is under way; the rest is dropped."""
        for pool in (self.files, self.tables):
            pool.shutdown(cancel_futures=True)


class Refresher:
    """The one reader of a run, and its viewers.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, desk: Desk, threads: Threads, clock: Callable[[], float] = time.monotonic) -> None:
        self._desk, self._threads, self._clock = desk, threads, clock
        self._hub = Hub()
        self._changed: set[str] = set()
        self._due: dict[str, float] = {}
        self._news = desk.news()

    @property
    def viewers(self) -> int:
        """How many look on."""
        return len(self._hub)

    async def run(self) -> None:
        """Look until cancelled."""
        await asyncio.gather(self._files(), self._table())

    async def view(self, name: str, until: int | None) -> bytes:
        """A view as JSON.

        Raises:
            UnknownNameError: there is no such view.
        """
        if until is None:
            return self._desk.view(name)
        return await _in(self._threads.tables, partial(self._desk.view, name, until))

    def join(self, viewer: Viewer) -> None:
        """Let a viewer have every view now, and what changes from now on."""
        for name in NEEDS:
            viewer.offer(name, self._message(name))
        self._hub.join(viewer)

    def leave(self, viewer: Viewer) -> None:
        """Forget a viewer."""
        self._hub.leave(viewer)

    async def _files(self) -> None:
        while True:
            await self._look(self._threads.files, self._desk.look)
            self._push()
            await asyncio.sleep(LOOK_S)

    async def _table(self) -> None:
        while True:
            begin_s = self._clock()
            await self._look(self._threads.tables, self._desk.look_at_table)
            await asyncio.sleep(max(TABLE_S, TABLE_SHARE * (self._clock() - begin_s)))

    async def _look(self, thread: Executor, look: Callable[[], list[str]]) -> None:
        try:
            self._changed.update(await _in(thread, look))
        except Exception:
            # Whatever a half-written run does to us, those who look on keep what they have.
            LOG.exception("a look at the run failed")

    def _push(self) -> None:
        now = self._clock()
        before, self._news = self._news, self._desk.news()
        for name in self._news:
            if self._news[name] != before[name]:
                self._due.pop(name, None)
        for name in [name for name in self._changed if self._due.get(name, now) <= now]:
            self._changed.remove(name)
            self._due[name] = max(self._due.get(name, now), now - EARLY_S) + PUSH_S
            if self.viewers:
                self._hub.publish(name, self._message(name))

    def _message(self, name: str) -> str:
        return f'{{"view":"{name}","data":{self._desk.view(name).decode()}}}'


async def _in(thread: Executor, call: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(thread, call)
