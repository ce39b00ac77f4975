from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from quasim.errors import StorageError
from storage import table as tables
from storage.batches import encode, owner_batch
from storage.ownership import InUseError
from storage.schemas import BatchKey
from storage.segments import SegmentStore
from storage.table import TelemetryTable
from storage.table_reader import TableSnapshot, ask, open_table, snapshot
from storage.table_schema import SCHEMA
from tests.storage.samples import IDS, batch_bytes, evaluations, key, metered_trial, trial

ROWS = 3
ORDER = [(name, "ascending") for name in ("node_id", "incarnation", "sequence", "row")]


def store(folder: Path, *keys: BatchKey) -> Path:
    """A segment for each key, of three rows each."""
    with SegmentStore(folder / "telemetry") as opened:
        for one in keys:
            opened.append([batch_bytes(one)])
    return folder / "telemetry"


def commit(folder: Path) -> int:
    with TelemetryTable(folder / "table") as table:
        return table.commit(folder / "telemetry")


def rows(folder: Path) -> pa.Table:
    return ask(open_table(folder / "table"), "SELECT * FROM telemetry").read_all().sort_by(ORDER)


def stored(folder: Path) -> pa.Table:
    with SegmentStore(folder / "telemetry") as opened:
        return opened.dataset().to_table().cast(SCHEMA).sort_by(ORDER)


def now(folder: Path) -> TableSnapshot:
    return snapshot(open_table(folder / "table"))


def test_a_table_holds_what_the_segments_hold(tmp_path: Path) -> None:
    made = encode(owner_batch(key(9), "cuda-sm_90", evaluations(metered_trial(), trial(time_ns=None)), IDS.id))
    store(tmp_path, key(0), key(1))
    with SegmentStore(tmp_path / "telemetry") as opened:
        opened.append([made])
    assert commit(tmp_path) == 2 * ROWS + 2
    assert rows(tmp_path).equals(stored(tmp_path))
    assert now(tmp_path).through == 2


def test_columns_are_those_of_the_schema_and_nothing_else(tmp_path: Path) -> None:
    store(tmp_path, key(0))
    commit(tmp_path)
    table = open_table(tmp_path / "table")
    assert pa.schema(table.schema().to_arrow()).equals(SCHEMA)
    assert [tuple(table.protocol())[:2]] == [(1, 2)]  # what every lakehouse tool can read


def test_committing_again_adds_nothing(tmp_path: Path) -> None:
    store(tmp_path, key(0), key(1))
    assert [commit(tmp_path), commit(tmp_path)] == [2 * ROWS, 0]
    store(tmp_path, key(2))
    assert commit(tmp_path) == ROWS
    assert rows(tmp_path).num_rows == 3 * ROWS


def test_a_merged_segment_that_is_partly_in_the_table_adds_the_rest(tmp_path: Path) -> None:
    store(tmp_path, key(0), key(1, node="b"))
    commit(tmp_path)
    store(tmp_path, key(2), key(0, node="b"))
    with SegmentStore(tmp_path / "telemetry") as opened:
        assert opened.compact() == 3
    assert commit(tmp_path) == 2 * ROWS
    assert rows(tmp_path).equals(stored(tmp_path))
    assert now(tmp_path).through == 3


def test_a_merged_segment_that_is_wholly_in_the_table_adds_nothing(tmp_path: Path) -> None:
    store(tmp_path, key(0), key(1))
    commit(tmp_path)
    with SegmentStore(tmp_path / "telemetry") as opened:
        opened.compact()
    assert commit(tmp_path) == 0


@settings(max_examples=12, deadline=None)
@given(st.lists(st.sampled_from(["append", "compact", "commit", "tidy"]), max_size=9))
def test_whatever_the_order_every_row_is_there_once(tmp_path_factory: pytest.TempPathFactory, steps: list[str]) -> None:
    folder = tmp_path_factory.mktemp("run")
    with TelemetryTable(folder / "table", tidy_at=2) as table, SegmentStore(folder / "telemetry") as opened:
        for number, step in enumerate(steps):
            if step == "append":
                opened.append([batch_bytes(key(number)), batch_bytes(key(number, node="b"))])
            elif step == "compact":
                opened.compact()
            elif step == "commit":
                table.commit(folder / "telemetry")
            else:
                table.tidy()
        table.commit(folder / "telemetry")
    assert rows(folder).equals(stored(folder))


def test_large_stores_are_committed_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "COMMIT_ROWS", 2 * ROWS)
    store(tmp_path, *map(key, range(5)))
    assert commit(tmp_path) == 5 * ROWS
    assert (now(tmp_path).version, now(tmp_path).files) == (3, 3)


def test_one_process_writes_and_others_read(tmp_path: Path) -> None:
    store(tmp_path, key(0))
    with TelemetryTable(tmp_path / "table") as table:
        table.commit(tmp_path / "telemetry")
        with pytest.raises(InUseError):
            TelemetryTable(tmp_path / "table")
        assert rows(tmp_path).num_rows == ROWS
    TelemetryTable(tmp_path / "table").close()


def test_small_files_are_merged_and_readers_of_before_still_read(tmp_path: Path) -> None:
    with TelemetryTable(tmp_path / "table", tidy_at=4) as table, SegmentStore(tmp_path / "telemetry") as opened:
        for number in range(3):
            opened.append([batch_bytes(key(number))])
            table.commit(tmp_path / "telemetry")
        reader = open_table(tmp_path / "table")
        opened.append([batch_bytes(key(3))])
        table.commit(tmp_path / "telemetry")
        assert table.snapshot().files == 1
        assert table.snapshot().through == 3
    assert len(ask(reader, "SELECT * FROM telemetry").read_all()) == 3 * ROWS
    assert rows(tmp_path).equals(stored(tmp_path))
    assert (tmp_path / "table" / "_delta_log" / "_last_checkpoint").exists()


def test_what_no_reader_can_be_at_any_more_is_removed(tmp_path: Path) -> None:
    with TelemetryTable(tmp_path / "table", tidy_at=3, retention_hours=0) as table:
        for number in range(3):
            store(tmp_path, key(number))
            table.commit(tmp_path / "telemetry")
        held = table.snapshot()
    assert held.files == len(list((tmp_path / "table").glob("*.parquet"))) == 1
    assert rows(tmp_path).num_rows == 3 * ROWS


def test_a_reopened_table_remembers_its_small_files(tmp_path: Path) -> None:
    for number in range(3):
        store(tmp_path, key(number))
        with TelemetryTable(tmp_path / "table", tidy_at=3) as table:
            table.commit(tmp_path / "telemetry")
    assert now(tmp_path).files == 1


def damage_data(table: Path) -> None:
    next(iter(table.glob("*.parquet"))).write_bytes(b"")


def lose_data(table: Path) -> None:
    next(iter(table.glob("*.parquet"))).unlink()


def damage_log(table: Path) -> None:
    max((table / "_delta_log").glob("*.json")).write_bytes(b"\0" * 100)


def lose_log(table: Path) -> None:
    (table / "_delta_log" / "00000000000000000000.json").unlink()


def other_columns(table: Path) -> None:
    shutil.rmtree(table / "_delta_log")
    DeltaTable.create(table, pa.schema([("nothing", pa.int64())]))


@pytest.mark.parametrize("harm", [damage_data, lose_data, damage_log, lose_log, other_columns])
def test_a_damaged_table_is_set_aside_and_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, harm: Callable[[Path], None]
) -> None:
    store(tmp_path, key(0))
    commit(tmp_path)
    store(tmp_path, key(1))
    commit(tmp_path)
    harm(tmp_path / "table")
    with caplog.at_level(logging.ERROR):
        assert commit(tmp_path) == 2 * ROWS
    assert rows(tmp_path).equals(stored(tmp_path))
    assert [path.name for path in tmp_path.glob("*.broken")] == ["table-0.broken"]
    assert "made again" in caplog.text


def test_a_damaged_segment_is_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    telemetry = store(tmp_path, *map(key, range(3)))
    (telemetry / "000000000001-000000000001.arrow").write_bytes(b"nothing")
    with caplog.at_level(logging.ERROR):
        assert commit(tmp_path) == 2 * ROWS
    assert "1 segments are not in the table; the first: segment" in caplog.text
    assert now(tmp_path).through == 2


def test_a_store_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="telemetry"):
        commit(tmp_path)


def test_a_file_in_the_place_of_the_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "table").write_bytes(b"")
    with pytest.raises(StorageError, match="table"):
        TelemetryTable(tmp_path / "table")
