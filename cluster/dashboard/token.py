"""The token that opens the dashboard: a file that its owner alone can read."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from quasim.errors import ConfigError, TrustError
from storage.files import create_atomic, make_folder, storage_errors

LEAST = 16
"""Characters: 96 bits in base64, out of reach of whoever has to guess over a network."""

MOST = 1024


def load_token(path: Path) -> str:
    """The token in a file.

    Raises:
        ConfigError: there is no such file.
        TrustError: others may read it, or what it holds can be guessed.
        StorageError: it cannot be read.
    """
    if not path.is_file():
        raise ConfigError(f"there is no token file {path}", "name another, or leave it out to have one made")
    with storage_errors("read the token", path), path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        token = file.read(MOST).decode("utf-8", "replace").strip()
    if mode & 0o077:
        raise TrustError(f"token {path} is open to others (mode {mode:04o})", f"chmod 600 {path}, or make a new one")
    if len(token) < LEAST or not token.isascii() or not token.isprintable():
        raise TrustError(f"token {path} is not {LEAST} or more plain characters", "delete it for a new one")
    return token


def load_or_create_token(path: Path) -> str:
    """The token of a site, made on first use.

    Raises:
        TrustError, StorageError: as ``load_token``, or it cannot be made.
    """
    if not path.exists():
        make_folder(path.parent, mode=0o700)
        create_atomic(path, secrets.token_urlsafe().encode() + b"\n", mode=0o600)
    return load_token(path)
