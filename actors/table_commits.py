"""Commits sealed segments to the telemetry table in a thread of its own, a few seconds after they were stored."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from storage.table import TelemetryTable

LOG = logging.getLogger(__name__)

EVERY_S = 3.0
"""Segments that arrive within this go into one commit."""

RETRY_S = 15.0


class TableCommits:
    """Keeps the table of a run close behind its store. Whatever befalls the table is said, and tried again.

    Args:
        telemetry: folder of the store; path: of the table.
        every_s: least time between two commits; retry_s: after one that failed.
    """

    def __init__(self, telemetry: Path, path: Path, every_s: float = EVERY_S, retry_s: float = RETRY_S) -> None:
        self._telemetry, self._path, self._every_s, self._retry_s = telemetry, path, every_s, retry_s
        self._turn = threading.Lock()
        self._news, self._ended = threading.Event(), threading.Event()
        self._news.set()  # a restart may find segments that were not committed
        self._thread = threading.Thread(target=self._run, name="table-commits", daemon=True)
        self._thread.start()

    def stored(self) -> None:
        """There is a new segment."""
        self._news.set()

    def settle(self) -> bool:
        """Commit now, in the calling thread; whether all that is stored is in the table."""
        with self._turn:
            try:
                # Opened each time, a few milliseconds: that looks for damage, and lets others in between.
                with TelemetryTable(self._path) as table:
                    table.commit(self._telemetry)
            except Exception as error:  # batches are stored and acknowledged whatever the table does
                LOG.warning("the telemetry table lags behind: %s", error)
                return False
        return True

    def close(self) -> None:
        """Commit a last time. Idempotent."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._news.set()
        self._thread.join()
        self.settle()

    def _run(self) -> None:
        while self._news.wait() and not self._ended.wait(self._every_s):
            self._news.clear()
            if not self.settle():
                self._news.set()
                self._ended.wait(self._retry_s)
