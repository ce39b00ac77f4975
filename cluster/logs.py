"""How the command line and the jobs log: for people, or as JSON lines; of a service, into files that rotate."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Mapping
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TextIO

from actors.log_lines import SWITCH, JsonLines, as_json, install, log_json
from quasim.errors import ConfigError
from storage.files import make_folder, storage_errors

LOG = logging.getLogger("quasim")

FILE_BYTES = 16 << 20
FILES_KEPT = 5
"""Before the newest: about 100 MB for a service, weeks of a quiet node."""

FORMS = ("json", "text")


def set_up(environ: Mapping[str, str], *, run: str = "") -> None:
    """Log JSON lines to standard error where the environment says so.

    Raises:
        ConfigError: QUASIM_LOG names no form.
    """
    form = environ.get(SWITCH, "text")
    if form not in FORMS:
        raise ConfigError(f"{SWITCH}={form!r} is no form of a log", f"use one of {', '.join(FORMS)}")
    log_json(environ, run=run)


def log_to(file: Path, environ: Mapping[str, str], *, run: str = "", node: str = "") -> None:
    """Log JSON lines into a file that rotates, for as long as the process lives.

    Raises:
        StorageError: the file cannot be written.
    """
    make_folder(file.parent)
    with storage_errors("write the log", file):
        handler = RotatingFileHandler(file, maxBytes=FILE_BYTES, backupCount=FILES_KEPT, encoding="utf-8")
    handler.setFormatter(JsonLines(environ, run=run, node=node))
    install(handler)


class _Lines(io.TextIOBase):
    """Takes text for people, and logs it line by line."""

    def write(self, text: str) -> int:
        for line in filter(None, map(str.rstrip, text.splitlines())):
            LOG.info(line)
        return len(text)


def remarks() -> TextIO:
    """Where remarks go: standard error, or the log where logs are JSON."""
    return _Lines() if as_json(os.environ) else sys.stderr  # type: ignore[return-value]  # it is written to, no more


def say(text: str) -> None:
    """Say a line at once."""
    print(text, file=remarks(), flush=True)


def fail(text: str) -> None:
    """Say on standard error why a command ends, in one line or one JSON document."""
    if as_json(os.environ):
        LOG.error(text)
    else:
        sys.stderr.write(f"error: {' '.join(text.splitlines())}\n")
