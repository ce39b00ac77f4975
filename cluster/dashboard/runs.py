"""The runs that a server shows: one, or all of a folder; each is read while somebody looks, by one reader."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path

from cluster.dashboard.desk import Desk
from cluster.dashboard.names import Names
from cluster.dashboard.refresher import Refresher, Threads
from cluster.run_folder import RunFolder
from quasim.errors import DataError, StorageError, UnknownNameError
from storage.files import storage_errors

MOST_OPEN = 4
"""Runs that are kept up to date at once; of more, those that nobody looks at are closed, the longest unasked first."""

LIST_S = 1.0
"""A list of runs is shown for so long: pages ask ten times a second, and to list takes a call of stat for each run."""


@dataclass(frozen=True, slots=True)
class _Open:
    refresher: Refresher
    task: asyncio.Task[None]


class Runs:
    """Finds runs and opens them.

    Args:
        path: of a run, or of a folder of runs where ``many``.
        clock: unix seconds.

    Raises:
        StorageError: there is no run at ``path``, or no folder.
        DataError: the run is of another version.
    """

    def __init__(self, path: Path, names: Names, *, many: bool = False, clock: Callable[[], float] = time.time) -> None:
        if not many:
            RunFolder.open(path).load_config()
        elif not path.is_dir():
            raise StorageError(f"there is no folder {path}", "give the folder that `quasim run` makes its runs in")
        self._path, self._many, self._site_names, self._clock = path, many, names, clock
        self._listed: tuple[float, tuple[str, ...]] = (-inf, ())
        self._open: dict[str, _Open] = {}
        self._opening = asyncio.Lock()
        self._threads = Threads()

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open)

    @property
    def viewers(self) -> int:
        """How many look on, whichever run they look at."""
        return sum(entry.refresher.viewers for entry in self._open.values())

    def names(self) -> tuple[str, ...]:
        """Of all runs, newest first, as of a second ago at most: names begin with the time of their start."""
        at, names = self._listed
        # A clock that was set back makes the list old, too.
        return names if 0 <= self._clock() - at < LIST_S else self._list()

    def _list(self) -> tuple[str, ...]:
        if not self._many:
            return (self._path.resolve().name,)
        with storage_errors("look for runs", self._path):
            found = [entry.name for entry in self._path.iterdir() if (entry / "config.json").is_file()]
        self._listed = (self._clock(), tuple(sorted(found, reverse=True)))
        return self._listed[1]

    async def get(self, name: str) -> Refresher:
        """The reader of a run.

        Args:
            name: "" for the newest that can be read.

        Raises:
            UnknownNameError: there is no such run.
            StorageError, DataError: it cannot be read.
        """
        known = self._list()
        if not known or name not in ("", *known):
            raise UnknownNameError(f"no run {name!r}", "choose one of the runs that the server shows")
        return await (self._reader(name) if name else self._newest(known))

    async def _newest(self, known: Sequence[str]) -> Refresher:
        """A run of another version must not hide those before it."""
        for name in known[:-1]:
            with suppress(StorageError, DataError):
                return await self._reader(name)
        return await self._reader(known[-1])

    async def _reader(self, name: str) -> Refresher:
        async with self._opening:
            found = self._open.pop(name, None) or await self._start(name)
            self._open[name] = found
            await self._close_some()
        return found.refresher

    async def close(self) -> None:
        """Stop reading."""
        for name in list(self._open):
            await self._stop(name)
        self._threads.close()

    async def _start(self, name: str) -> _Open:
        path = self._path / name if self._many else self._path
        make = partial(Desk, path, self._site_names, self.names, self._clock)
        desk = await asyncio.get_running_loop().run_in_executor(self._threads.files, make)
        refresher = Refresher(desk, self._threads)
        return _Open(refresher, asyncio.create_task(refresher.run()))

    async def _close_some(self) -> None:
        idle = [name for name, entry in list(self._open.items())[:-1] if not entry.refresher.viewers]
        for name in idle[: max(0, len(self._open) - MOST_OPEN)]:
            await self._stop(name)

    async def _stop(self, name: str) -> None:
        task = self._open.pop(name).task
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
