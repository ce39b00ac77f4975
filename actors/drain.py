"""Wishes that a node leaves: one empty file for each, named like the node or like its machine."""

from __future__ import annotations

import re
from pathlib import Path

from quasim.errors import ConfigError
from storage.files import create_atomic, make_folder, storage_errors

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:#-]*")
"""Of nodes, of labels of Ray, and of addresses: nothing that leads out of the folder."""


def request(folder: Path, name: str) -> bool:
    """Wish that a node, or all nodes of a machine, leave; False where that was wished before.

    Raises:
        ConfigError: not a name of a node or machine.
        StorageError: it cannot be written.
    """
    return create_atomic(make_folder(folder) / _checked(name), b"")


def withdraw(folder: Path, name: str) -> bool:
    """Take a wish back; False where there was none.

    Raises:
        ConfigError: not a name of a node or machine.
        StorageError: it cannot be removed.
    """
    path = folder / _checked(name)
    with storage_errors("remove", path):
        try:
            path.unlink()
        except FileNotFoundError:
            return False
    return True


def requested(folder: Path) -> frozenset[str]:
    """Who is to leave.

    Raises:
        StorageError: the folder cannot be read.
    """
    with storage_errors("read", folder):
        return (
            frozenset(path.name for path in folder.iterdir() if not path.name.startswith("."))
            if folder.is_dir()
            else frozenset()
        )


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is not the name of a node or machine", "see `quasim fleet status`")
    return name
