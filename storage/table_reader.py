"""Read access to the telemetry table, beside its writer: open it, ask it in SQL, and say what it holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder
from deltalake.exceptions import TableNotFoundError

from quasim.errors import DataError, StorageError
from storage.files import storage_errors
from storage.table_schema import APP, NAME

_QUESTIONS = ("select", "with", "describe")


class TableSnapshot(msgspec.Struct, frozen=True):
    """What a table holds.

    Attributes:
        version: of the table; each commit and each merge makes a new one.
        through: number of the newest segment in it; −1: none yet.
    """

    version: int
    through: int
    rows: int
    files: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class TableFile:
    """One Parquet file of a table.

    Attributes:
        name: relative to the table's folder.
        first_cycle: of its rows.
    """

    name: str
    size_bytes: int
    rows: int
    first_cycle: int


def open_table(path: Path) -> DeltaTable:
    """The table as it is now; later commits are not seen through it.

    Raises:
        StorageError: there is none, or it cannot be read.
    """
    try:
        with table_errors("open", path):
            return DeltaTable(path)
    except TableNotFoundError as error:
        raise StorageError(
            f"no telemetry table in {path}", "wait for the first commit, or name the run's table"
        ) from error


def snapshot(table: DeltaTable) -> TableSnapshot:
    """What an opened table holds, from its log alone."""
    there = files(table)
    rows, size = sum(file.rows for file in there), sum(file.size_bytes for file in there)
    return TableSnapshot(table.version(), through(table), rows, len(there), size)


def through(table: DeltaTable) -> int:
    """Number of the newest segment in an opened table; −1: none yet."""
    found = table.transaction_version(APP)
    return -1 if found is None else found


def files(table: DeltaTable) -> list[TableFile]:
    """The files of an opened table, as its log has them."""
    added = pa.table(table.get_add_actions(flatten=True))
    columns = (added[name].to_pylist() for name in ("path", "size_bytes", "num_records", "min.cycle"))
    return [TableFile(*row) for row in zip(*columns, strict=True)]


def ask(table: DeltaTable, sql: str) -> pa.RecordBatchReader:
    """The rows that a query gives, read as they are asked for. The table is called ``telemetry`` in it.

    Raises:
        DataError: not one SELECT, WITH or DESCRIBE, or not one that the table can answer; also while rows are read.
    """
    if not sql.strip().lower().startswith(_QUESTIONS):
        # COPY and CREATE EXTERNAL TABLE reach any file of the user's; a question has no need of them.
        raise DataError(f"{sql.strip()[:60]!r} is not a question", "begin with SELECT, WITH or DESCRIBE")
    try:
        found = QueryBuilder().register(NAME, table).execute(sql)
    except Exception as error:  # the engine raises bare exceptions for what it cannot plan
        raise _unanswered(error) from error
    return _plain(pa.RecordBatchReader.from_stream(found))


def _plain(found: pa.RecordBatchReader) -> pa.RecordBatchReader:
    """Texts and bytes as all of Arrow's tools know them, instead of the engine's views."""
    views = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}
    schema = pa.schema([field.with_type(views.get(field.type, field.type)) for field in found.schema])
    return pa.RecordBatchReader.from_batches(schema, _batches(found, schema))


def _batches(found: pa.RecordBatchReader, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    try:
        for batch in found:
            yield batch.cast(schema)
    except pa.ArrowException as error:  # a division by zero shows only now, as does a file that is gone
        raise _unanswered(error) from error


def _unanswered(error: Exception) -> DataError:
    return DataError(f"the query cannot be answered ({_short(error)})", "see `DESCRIBE telemetry`")


@contextmanager
def table_errors(action: str, path: Path) -> Iterator[None]:
    """Turn what the engine raises into a ``StorageError`` that names the table; a missing one stays itself."""
    try:
        with storage_errors(f"{action} the table", path):
            yield
    except (StorageError, DataError, TableNotFoundError):
        raise
    except Exception as error:  # the engine raises bare exceptions for files that it cannot read
        do = "check the disk; a table that is deleted is made again from the segments"
        raise StorageError(f"cannot {action} the table {path} ({_short(error)})", do) from error


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
