"""Traces of a search as files: ``quasim tune --trace DIR``."""

from __future__ import annotations

from pathlib import Path

from cluster.cli.output import log
from quasim.codec import to_json
from quasim.errors import ConfigError
from quasim.search import Strategy
from quasim.search.trace import Traced
from storage.files import storage_errors, write_atomic


def check_traceable(search: Strategy, folder: Path) -> None:
    """See to it before anything is measured that there will be a trace and a place for it.

    Raises:
        ConfigError: the strategy keeps no account.
        StorageError: the folder cannot be made.
    """
    if not isinstance(search, Traced):
        raise ConfigError(f"strategy {search.name} keeps no trace", "use ising, gradient or portfolio with --trace")
    with storage_errors("write", folder):
        folder.mkdir(parents=True, exist_ok=True)


def write_traces(search: Strategy, folder: Path) -> None:
    """Write a file for each strategy that took part, ``<name>.json``.

    Raises:
        StorageError: a file cannot be written.
    """
    if isinstance(search, Traced):
        for name, trace in search.traces().items():
            write_atomic(folder / f"{name}.json", to_json(trace))
        log().print(f"traces written to {folder}")
