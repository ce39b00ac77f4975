"""Log records as JSON, one document a line, with the ids of run, node, round and batch; a process says so once."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import TextIO

import msgspec

from quasim.codec import to_json

SWITCH = "QUASIM_LOG"
"""Environment variable: ``json`` makes every process of a run log so; actors inherit it."""

SECRETS = ("RAY_AUTH_TOKEN",)
"""Environment variables whose values are struck out, should a library's message or a traceback carry them."""


class LogLine(msgspec.Struct, frozen=True):
    """One line of a log.

    Attributes:
        time: UTC, ISO 8601 with milliseconds.
        level: debug, info, warning, error or critical.
        source: module that says it.
        run: name of the run's folder; "" where it is of none.
        node: "" where it is of the driver or the aggregator.
        round: number of the round of aggregation; None where it is of none.
        batch: telemetry batch, see ``BatchKey``; "" where it is of none.
        text: for people, with the traceback where there is one.
    """

    time: str
    level: str
    source: str
    run: str
    node: str
    round: int | None
    batch: str
    text: str


class JsonLines(logging.Formatter):
    """Writes records as ``LogLine``; ``extra`` of a call may name ``node``, ``round`` and ``batch``.

    Args:
        environ: looked up for the values of ``SECRETS`` at every line, since a token may be made late.
        run, node: of this process.
    """

    def __init__(self, environ: Mapping[str, str], *, run: str = "", node: str = "") -> None:
        super().__init__()
        self._environ, self._run, self._node = environ, run, node

    def format(self, record: logging.LogRecord) -> str:
        """One line, without its end."""
        line = LogLine(
            time=datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            level=record.levelname.lower(),
            source=record.name,
            run=self._run,
            node=getattr(record, "node", self._node),
            round=getattr(record, "round", None),
            batch=getattr(record, "batch", ""),
            text=self._struck(super().format(record)),
        )
        return to_json(line).decode()

    def _struck(self, text: str) -> str:
        for name in SECRETS:
            if value := self._environ.get(name):
                text = text.replace(value, f"[{name}]")
        return text


def as_json(environ: Mapping[str, str]) -> bool:
    """Whether logs are JSON here."""
    return environ.get(SWITCH) == "json"


def log_json(environ: Mapping[str, str], stream: TextIO | None = None, *, run: str = "", node: str = "") -> None:
    """Where the environment says so, write this process's log as JSON lines; a later call takes an earlier one's place.

    Args:
        stream: None: standard error.
    """
    if as_json(environ):
        handler = logging.StreamHandler(stream)
        handler.setFormatter(JsonLines(environ, run=run, node=node))
        install(handler)


def install(handler: logging.Handler) -> None:
    """Make a handler of JSON lines the process's own from level info, one to a stream and one to a file."""
    root = logging.getLogger()
    ours = [one for one in root.handlers if isinstance(one.formatter, JsonLines)]
    for earlier in [one for one in ours if type(one) is type(handler)]:
        root.removeHandler(earlier)
        earlier.close()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
