from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from quasim.errors import DataError, StorageError
from storage.table_reader import ask, open_table, snapshot
from tests.storage.samples import key
from tests.storage.test_table import ROWS, commit, store


@pytest.fixture
def table(tmp_path: Path) -> Path:
    store(tmp_path, key(0), key(1))
    commit(tmp_path)
    return tmp_path / "table"


def test_questions_are_answered_in_plain_arrow_types(table: Path) -> None:
    found = ask(open_table(table), "SELECT kernel, count(*) AS n, max(node_id) AS node FROM telemetry GROUP BY kernel")
    assert found.schema.types == [pa.string(), pa.int64(), pa.binary()]
    assert found.read_all().to_pylist() == [{"kernel": "matmul", "n": 2 * ROWS, "node": bytes.fromhex(key(0).node)}]


@pytest.mark.parametrize(
    "sql", ["COPY telemetry TO '{}'", "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '{}'", "DROP TABLE telemetry", ""]
)
def test_only_questions_are_asked(table: Path, tmp_path: Path, sql: str) -> None:
    target = tmp_path / "out.csv"
    with pytest.raises(DataError, match="is not a question"):
        ask(open_table(table), sql.format(target))
    assert not target.exists()


@pytest.mark.parametrize("sql", ["SELECT nothing FROM telemetry", "SELECT FROM WHERE", "SELECT 1; SELECT 2"])
def test_a_question_that_cannot_be_answered_says_why_in_one_line(table: Path, sql: str) -> None:
    with pytest.raises(DataError, match="cannot be answered") as caught:
        ask(open_table(table), sql)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("sql", ["SELECT 1 / 0 FROM telemetry", "SELECT CAST(kernel AS INT) FROM telemetry"])
def test_so_does_one_that_fails_while_its_rows_are_read(table: Path, sql: str) -> None:
    with pytest.raises(DataError, match="cannot be answered"):
        ask(open_table(table), sql).read_all()


@pytest.mark.parametrize(
    "sql", ["SELECT * FROM '{}'", "WITH x AS (SELECT 1) INSERT INTO telemetry SELECT * FROM telemetry"]
)
def test_no_file_of_the_user_is_read_and_no_row_is_written(table: Path, tmp_path: Path, sql: str) -> None:
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="cannot be answered"):
        ask(open_table(table), sql.format(other)).read_all()
    assert snapshot(open_table(table)).version == 1


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"no telemetry table in .*nowhere"):
        open_table(tmp_path / "nowhere")


def test_a_damaged_table_is_a_storage_error(table: Path) -> None:
    max((table / "_delta_log").glob("*.json")).write_bytes(b"\0" * 100)
    with pytest.raises(StorageError, match="cannot open the table"):
        open_table(table)


def test_a_snapshot_comes_from_the_log(table: Path) -> None:
    [file] = table.glob("*.parquet")
    found = snapshot(open_table(table))
    assert (found.version, found.through, found.rows, found.files) == (1, 1, 2 * ROWS, 1)
    assert found.size_bytes == file.stat().st_size
