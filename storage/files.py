"""Folders and files that are whole or absent, whatever process or power fails in between."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from quasim.errors import StorageError

TEMP_SUFFIX = ".tmp"

_ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "free space there or choose another folder"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "make it writable for this user or choose another"),
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST), "a file stands where a folder must be: move it or choose another"),
}


@contextmanager
def storage_errors(action: str, path: Path) -> Iterator[None]:
    """Turn an ``OSError`` of the body into a ``StorageError`` that names the path and what to do."""
    try:
        yield
    except OSError as error:
        do = _ADVICE.get(error.errno or 0, "check the path and the disk")
        raise StorageError(f"cannot {action} {path} ({error.strerror or error})", do) from error


def make_folder(path: Path, *, mode: int = 0o755) -> Path:
    """Make a folder, and those above it, if missing; the new entries are durable on return.

    Raises:
        StorageError: it cannot be made, is not a folder, or this user cannot write in it.
    """
    with storage_errors("use the folder", path):
        for folder in reversed([p for p in (path, *path.parents) if not p.exists()]):
            folder.mkdir(mode, exist_ok=True)
            sync_folder(folder.parent)
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return path


def sync_folder(path: Path) -> None:
    """Make the folder's entries (creations, renames, removals) durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomic(path: Path, data: bytes | memoryview, *, mode: int = 0o644) -> None:
    """Write or replace a file; on return it is durable, and at no moment is it partly there.

    Raises:
        StorageError: the folder is missing, unwritable or full. What stood at ``path`` still does.
    """
    with storage_errors("write", path):
        _publish(path, data, mode, Path.replace)


def create_atomic(path: Path, data: bytes | memoryview, *, mode: int = 0o644) -> bool:
    """As ``write_atomic``, but never replaces: False when ``path`` exists, even if another process was just faster.

    Raises:
        StorageError: the folder is missing, unwritable or full.
    """
    if path.exists():
        return False
    with storage_errors("write", path):
        try:
            _publish(path, data, mode, os.link)
        except FileExistsError:
            return False
    return True


def _publish(path: Path, data: bytes | memoryview, mode: int, move: Callable[[Path, Path], object]) -> None:
    temp = path.with_name(f".{path.name}.{secrets.token_hex(8)}{TEMP_SUFFIX}")
    try:
        _write_durably(temp, data, mode)
        move(temp, path)
    finally:
        with suppress(FileNotFoundError):
            temp.unlink()
    sync_folder(path.parent)


def _write_durably(path: Path, data: bytes | memoryview, mode: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        write_fully(handle, data)
        os.fsync(handle)
    finally:
        os.close(handle)


def write_fully(handle: int, data: bytes | memoryview) -> None:
    """Write all of ``data`` at the handle's position; one system call may take only a part."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]


def sweep(folder: Path) -> None:
    """Remove the temporary files that a killed process left. Only the folder's one owner may do so."""
    for temp in folder.glob(f".*{TEMP_SUFFIX}"):
        temp.unlink()
