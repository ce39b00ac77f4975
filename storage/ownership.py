"""One process at a time owns a folder: a lock that the kernel gives back when its holder dies."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from quasim.errors import StorageError
from storage.files import storage_errors

HANDOVER_S = 20.0
"""How long a restarted process waits for a predecessor that is being killed: Ray notices a lost driver late."""

_STEP_S = 0.1


class InUseError(StorageError):
    """Another process owns the folder; it may be about to end."""


class Ownership:
    """The right to write into a folder, until ``close`` or the end of the process.

    Args:
        wait_s: how long to wait for the present owner to end.

    Raises:
        InUseError: another process owns the folder.
        StorageError: the folder cannot be used.
    """

    def __init__(self, folder: Path, wait_s: float = 0.0) -> None:
        with storage_errors("lock", folder):
            self._handle: int | None = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        deadline = time.monotonic() + wait_s
        while not self._try():
            if time.monotonic() >= deadline:
                self.close()
                raise InUseError(f"the folder {folder} is in use by another process", "stop that one first")
            time.sleep(_STEP_S)

    def _try(self) -> bool:
        assert self._handle is not None
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Give the folder back. Idempotent."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
