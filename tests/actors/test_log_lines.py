"""Log records as JSON lines."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest

from actors.log_lines import LogLine, log_json
from quasim.codec import from_json

LOG = logging.getLogger("quasim.of-the-log-test")
JSON = {"QUASIM_LOG": "json", "RAY_AUTH_TOKEN": "0123456789abcdef"}


@pytest.fixture(autouse=True)
def own_handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The root logger as it was, whatever a test installs."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", list(root.handlers))
    level = root.level
    yield
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[LogLine]:
    return [from_json(line, LogLine) for line in stream.getvalue().splitlines()]


def test_a_record_is_one_line_with_the_ids_of_the_process_and_of_the_call() -> None:
    stream = io.StringIO()
    log_json(JSON, stream, run="20260101T000000Z-seed42", node="node-0")
    LOG.info("%d rows\nare durable", 7, extra={"round": 3, "batch": "1f2e3d4c-0-17"})
    LOG.warning("late", extra={"node": "node-1"})
    first, second = lines(stream)
    assert (first.level, first.source, first.text) == ("info", LOG.name, "7 rows\nare durable")
    assert (first.run, first.node, first.round, first.batch) == (
        "20260101T000000Z-seed42",
        "node-0",
        3,
        "1f2e3d4c-0-17",
    )
    assert (second.node, second.round, second.batch) == ("node-1", None, "")
    assert first.time <= second.time
    assert first.time.endswith("+00:00")


def test_a_traceback_stays_in_its_line() -> None:
    stream = io.StringIO()
    log_json(JSON, stream)
    try:
        raise ValueError("broken")
    except ValueError:
        LOG.exception("it has ended")
    (line,) = lines(stream)
    assert line.text.startswith("it has ended\nTraceback")
    assert line.text.endswith("ValueError: broken")


def test_a_token_is_struck_out_wherever_it_comes_from() -> None:
    stream = io.StringIO()
    log_json(JSON, stream)
    token = JSON["RAY_AUTH_TOKEN"]
    try:
        raise ValueError(f"bearer {token}")
    except ValueError:
        LOG.exception("refused %s", token)
    (line,) = lines(stream)
    assert token not in stream.getvalue()
    assert line.text.startswith("refused [RAY_AUTH_TOKEN]\n")
    assert line.text.endswith("ValueError: bearer [RAY_AUTH_TOKEN]")


def test_a_later_call_takes_the_place_of_an_earlier_one() -> None:
    first, second = io.StringIO(), io.StringIO()
    log_json(JSON, first)
    log_json(JSON, second, run="later")
    LOG.info("once")
    assert first.getvalue() == ""
    assert [line.run for line in lines(second)] == ["later"]


@pytest.mark.parametrize("environ", [{}, {"QUASIM_LOG": "text"}])
def test_without_the_switch_nothing_changes(environ: dict[str, str]) -> None:
    stream = io.StringIO()
    before = list(logging.getLogger().handlers)
    log_json(environ, stream)
    LOG.info("for nobody")
    assert stream.getvalue() == ""
    assert logging.getLogger().handlers == before
