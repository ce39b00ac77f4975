from __future__ import annotations

import asyncio
import logging
import shutil
import time
from pathlib import Path

import msgspec
import pytest

from actors.aggregator import Aggregator
from actors.table_commits import TableCommits
from quasim.errors import StorageError
from storage.segments import Ack, SegmentStore
from storage.table import TelemetryTable
from storage.table_reader import open_table, snapshot
from tests.actors.test_aggregator import spec
from tests.storage.samples import batch_bytes, key

ROWS = 3
NEVER_S = 3600.0


def rows(table: Path) -> int:
    try:
        return snapshot(open_table(table)).rows
    except StorageError:
        return 0


def wait_for_rows(table: Path, count: int) -> None:
    """A thread has it; how soon depends on the machine."""
    deadline = time.monotonic() + 20
    while rows(table) < count and time.monotonic() < deadline:
        time.sleep(0.02)
    assert rows(table) == count


@pytest.fixture
def telemetry(tmp_path: Path) -> Path:
    with SegmentStore(tmp_path / "telemetry") as store:
        store.append([batch_bytes(key(0))])
    return tmp_path / "telemetry"


def test_what_a_restart_finds_and_what_comes_later_is_committed_without_being_asked_for(telemetry: Path) -> None:
    table = telemetry.with_name("table")
    commits = TableCommits(telemetry, table, every_s=0.01)
    wait_for_rows(table, ROWS)
    with SegmentStore(telemetry) as store:
        store.append([batch_bytes(key(1))])
    commits.stored()
    wait_for_rows(table, 2 * ROWS)
    commits.close()


def test_closing_commits_what_is_left(telemetry: Path) -> None:
    commits = TableCommits(telemetry, telemetry.with_name("table"), every_s=NEVER_S)
    for _ in range(2):
        commits.close()
    with TelemetryTable(telemetry.with_name("table")) as table:
        assert table.snapshot().rows == ROWS


def test_a_table_in_use_elsewhere_is_said_and_tried_again(telemetry: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = telemetry.with_name("table")
    with TelemetryTable(table), caplog.at_level(logging.WARNING):
        commits = TableCommits(telemetry, table, every_s=0.01, retry_s=0.01)
        assert not commits.settle()
    assert "lags behind" in caplog.text
    wait_for_rows(table, ROWS)
    commits.close()


@pytest.mark.parametrize("lost", ["log", "table"])
def test_a_table_that_breaks_or_is_deleted_meanwhile_is_made_again(telemetry: Path, lost: str) -> None:
    table = telemetry.with_name("table")
    commits = TableCommits(telemetry, table, every_s=NEVER_S)
    assert commits.settle()
    shutil.rmtree(table / "_delta_log" if lost == "log" else table)
    with SegmentStore(telemetry) as store:
        store.append([batch_bytes(key(1))])
    assert commits.settle()
    commits.close()
    assert rows(table) == 2 * ROWS


def test_a_broken_table_stops_no_acknowledgement(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "table").write_text("not a folder")
    made = Aggregator(msgspec.structs.replace(spec(tmp_path), table=tmp_path / "table"))
    assert asyncio.run(made.submit(batch_bytes(key(0)))) == Ack(key(0), ROWS)
    with caplog.at_level(logging.WARNING):
        assert not asyncio.run(made.tabulate())
    assert "lags behind" in caplog.text
    made.close()


def test_an_aggregator_keeps_a_table_that_is_complete_when_asked(tmp_path: Path) -> None:
    asked = msgspec.structs.replace(spec(tmp_path), table=tmp_path / "table")
    made = Aggregator(asked)
    asyncio.run(made.submit(batch_bytes(key(0))))
    assert asyncio.run(made.tabulate())
    assert rows(tmp_path / "table") == ROWS
    made.close()
    again = Aggregator(asked)
    asyncio.run(again.submit(batch_bytes(key(1))))
    again.close()
    assert rows(tmp_path / "table") == 2 * ROWS


def test_an_aggregator_without_a_table_makes_none(tmp_path: Path) -> None:
    made = Aggregator(spec(tmp_path))
    assert asyncio.run(made.tabulate())
    made.close()
    assert not (tmp_path / "table").exists()
