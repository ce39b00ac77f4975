"""Writes what is so now for whoever looks on: the state of the fleet when it is news and twice a second, and events."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from actors.board import Board
from actors.live import Event, FleetLive, Kind
from quasim.codec import from_json, to_json
from quasim.errors import DataError, StorageError
from storage.files import make_folder, storage_errors, write_fully

LOG = logging.getLogger(__name__)

PERIOD_S = 0.5

REST_S = 0.05
"""Between two writes at the least: a hundred machines that come at once are two or three of them."""


class LiveFile:
    """A thread that rewrites a file with what is on a board. A disk that is full is said once, and the fleet goes on.

    Args:
        clock: unix seconds.
        told: also hears of it, in the same thread.
    """

    def __init__(
        self,
        board: Board,
        path: Path,
        clock: Callable[[], float] = time.time,
        told: Callable[[FleetLive], None] = lambda fleet: None,
    ) -> None:
        self._board, self._path, self._clock, self._told = board, path, clock, told
        self._stop, self._news = threading.Event(), threading.Event()
        self._failed = False
        self._writing = threading.Lock()
        make_folder(path.parent)
        self.write()
        self._thread = threading.Thread(target=self._run, name="live-file", daemon=True)
        self._thread.start()

    def news(self) -> None:
        """Something changed that nobody should wait for. Returns at once; the thread writes it."""
        self._news.set()

    def close(self) -> None:
        """Write a last time and end the thread."""
        self._stop.set()
        self._news.set()
        self._thread.join()
        self.write()

    def _run(self) -> None:
        while not self._stop.wait(REST_S):
            self._news.wait(PERIOD_S - REST_S)
            self._news.clear()
            self.write()

    def write(self) -> None:
        """Write now what is so now."""
        with self._writing:
            self._rewrite()

    def _rewrite(self) -> None:
        now = self._board.live(self._clock())
        self._told(now)
        data = to_json(now)
        # Not synced: after a power failure nothing of it is so any more.
        aside = self._path.with_name(f".{self._path.name}.{os.getpid()}.tmp")
        try:
            aside.write_bytes(data)
            aside.replace(self._path)
            self._failed = False
        except OSError as error:
            if not self._failed:
                LOG.warning("the state of the fleet cannot be written to %s: %s", self._path, error)
            self._failed = True


def last_live(path: Path) -> FleetLive | None:
    """What such a file said last; None where there is none, or a power failure left none that is whole."""
    try:
        return from_json(path.read_bytes(), FleetLive, str(path)) if path.exists() else None
    except (OSError, DataError) as error:
        LOG.warning("the last state of the fleet is not known: %s", error)
        return None


@contextmanager
def _alone(handle: int) -> Iterator[None]:
    """No other process writes to the file meanwhile."""
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(handle, fcntl.LOCK_UN)


class EventLog:
    """Appends events to a file, each as one whole line, from any thread and also beside another process that does.

    Args:
        clock: unix seconds.

    Raises:
        StorageError: the file cannot be opened.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path, self._clock = path, clock
        # The file's lock belongs to the handle, which all threads of this process share.
        self._writing = threading.Lock()
        make_folder(path.parent)
        with storage_errors("open the events", path):
            self._handle: int | None = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)

    def note(self, kind: Kind, text: str, *, node: str = "", round: int = -1, cycle: int = -1) -> None:
        """Something happened now."""
        self.write(Event(self._clock(), kind, node, round, cycle, text))

    def write(self, event: Event) -> None:
        """Append an event. A disk that is full is said, and the fleet goes on."""
        try:
            with self._writing:
                self._append(to_json(event) + b"\n")
        except StorageError as error:
            LOG.warning("an event is not logged (%s): %s", event.text, error)

    def _append(self, line: bytes) -> None:
        if self._handle is not None:
            with storage_errors("append to", self._path), _alone(self._handle):
                self._drop_torn(self._handle)
                write_fully(self._handle, line)

    def _drop_torn(self, handle: int) -> None:
        """Cut off what a writer that failed or died left of its line; what it wrote last is then not whole."""
        size = os.fstat(handle).st_size
        if size and os.pread(handle, 1, size - 1) != b"\n":
            os.ftruncate(handle, self._path.read_bytes().rfind(b"\n") + 1)

    def close(self) -> None:
        """Let go of the file. Idempotent."""
        with self._writing:
            if self._handle is not None:
                os.close(self._handle)
                self._handle = None
