"""The device lease: one timed run at a time per physical device, among all processes of a user on a host.

Two locked files per device make a fair readers–writer lock. Whoever wants the device first passes the *turnstile*
(always exclusive), then takes the device itself (exclusive to time, shared to compile), then leaves the turnstile. Who
waits for an exclusive lease waits inside the turnstile, so no stream of shared holders can overtake it. The kernel
drops ``flock`` locks with their last file descriptor, so that any death, ``kill -9`` included, gives the device back.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from quasim.errors import QuasimError, StorageError

DEFAULT_TIMEOUT_S = 600.0
"""Longer than the longest turn of a whole fleet of agents on one host."""


class LeaseTimeoutError(QuasimError):
    """The device was not free in time."""


def runtime_folder(environment: Mapping[str, str] | None = None) -> Path:
    """The user's private folder for locks: ``$QUASIM_RUNTIME_DIR`` or ``/tmp/quasim-UID``, made with mode 0700.

    Raises:
        StorageError: it cannot be made, or belongs to someone else (who could then hold our locks).
    """
    environment = os.environ if environment is None else environment
    folder = Path(environment.get("QUASIM_RUNTIME_DIR") or f"/tmp/quasim-{os.getuid()}")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = folder.lstat()
    except OSError as error:
        raise StorageError(
            f"no runtime folder {folder}: {error}", "set QUASIM_RUNTIME_DIR to a folder of yours"
        ) from error
    if folder.is_symlink() or facts.st_uid != os.getuid() or facts.st_mode & 0o022:
        raise StorageError(
            f"runtime folder {folder} is a link, or others own or may write it",
            "set QUASIM_RUNTIME_DIR to a folder of yours",
        )
    return folder


class Lease:
    """Access to one physical device. Safe between threads: each acquisition opens files of its own."""

    def __init__(self, device: str, *, folder: Path | None = None, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        folder = runtime_folder() if folder is None else folder
        self.device = device
        self.timeout_s = timeout_s
        self._turnstile = folder / f"{device}.turnstile"
        self._lock = folder / f"{device}.lease"

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the device alone, to time on it.

        Raises:
            LeaseTimeoutError: it was not free within ``timeout_s``.
        """
        with self._held(fcntl.LOCK_EX) as fd:
            # Padded, not truncated: some file systems flush a truncated file when it is closed, which takes 4 ms.
            os.pwrite(fd, f"{os.getpid():<20}".encode(), 0)
            yield

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Keep the device from being timed on, together with other shared holders: what compiling needs on a CPU.

        Raises:
            LeaseTimeoutError: it was not free within ``timeout_s``.
        """
        with self._held(fcntl.LOCK_SH):
            yield

    @contextmanager
    def _held(self, mode: int) -> Iterator[int]:
        waiter = _Waiter(self._turnstile, self._lock, mode)
        fd = waiter.acquire(self.timeout_s)
        if fd is None:
            raise LeaseTimeoutError(
                f"device {self.device} was not free within {self.timeout_s:g} s",
                f"wait for the runs of others; process {self._holder()} was the last to time on it",
            )
        try:
            yield fd
        finally:
            _release(fd)

    def _holder(self) -> str:
        with suppress(OSError):
            return self._lock.read_text().strip() or "unknown"
        return "unknown"


class _Waiter:
    """One acquisition. A wait that must end in time blocks in a thread: ``flock`` knows no timeout, and polling would
    wake the very cores that another process is timing on."""

    def __init__(self, turnstile: Path, lock: Path, mode: int) -> None:
        self._turnstile, self._lock, self._mode = turnstile, lock, mode
        self._mutex = threading.Lock()
        self._abandoned = False
        self._fd: int | None = None

    def acquire(self, timeout_s: float) -> int | None:
        """The locked file descriptor of the device, or None when time ran out."""
        fd = self._take(fcntl.LOCK_NB)
        if fd is not None:
            return fd
        thread = threading.Thread(target=self._block, name="lease", daemon=True)
        thread.start()
        try:
            thread.join(timeout_s)
        finally:
            with self._mutex:
                self._abandoned = True
        return self._fd

    def _block(self) -> None:
        fd = self._take(0)
        with self._mutex:
            if not self._abandoned:
                self._fd = fd
                return
        if fd is not None:
            _release(fd)

    def _take(self, flags: int) -> int | None:
        turn = _open(self._turnstile)
        try:
            fcntl.flock(turn, fcntl.LOCK_EX | flags)
            fd = _open(self._lock)
            try:
                fcntl.flock(fd, self._mode | flags)
            except BaseException:
                os.close(fd)
                raise
            return fd
        except BlockingIOError:
            return None
        finally:
            _release(turn)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StorageError(f"lock file {path} cannot be opened: {error}", "check the runtime folder") from error


def _release(fd: int) -> None:
    # Unlocked by name, not by close alone: a child forked at this moment still holds a copy of the descriptor.
    fcntl.flock(fd, fcntl.LOCK_UN)
    os.close(fd)
