"""Secret keys on disk: made at first start, the same for every process, readable by their owner alone."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

from quasim.errors import TrustError
from storage.files import create_atomic, make_folder, storage_errors


def site_folder(environ: Mapping[str, str]) -> Path:
    """Where a site keeps its keys: ``$QUASIM_HOME``, or ``~/.quasim``."""
    return Path(environ.get("QUASIM_HOME") or "~/.quasim").expanduser()


def load_or_create_key(path: Path, size: int = 32) -> bytes:
    """The ``size`` random bytes of a key file; made on first use, in a folder of mode 0700 when that is missing too.

    Processes that start at once agree on one key: the file appears whole, and only the first one counts.

    Raises:
        TrustError: others may read the file, or it is not of this size.
        StorageError: it can be neither read nor made.
    """
    if not path.exists():
        make_folder(path.parent, mode=0o700)
        create_atomic(path, secrets.token_bytes(size), mode=0o600)
    with storage_errors("read the key", path), path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        key = file.read(size + 1)
    if mode & 0o077:
        raise TrustError(f"key {path} is open to others (mode {mode:04o})", f"chmod 600 {path}, or make a new one")
    if len(key) != size:
        raise TrustError(f"key {path} is not {size} bytes long", "restore it from a backup, or delete it for a new one")
    return key
