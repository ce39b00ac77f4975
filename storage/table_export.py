"""Takes telemetry elsewhere: the rows of a query as one file that other tools read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import BinaryIO

import msgspec
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq

from storage.files import TEMP_SUFFIX, storage_errors, sync_folder


class Format(str, Enum):
    """What a file of rows is written as."""

    PARQUET = "parquet"
    CSV = "csv"
    ARROW = "arrow"
    JSON_LINES = "jsonl"


Write = Callable[[pa.RecordBatch], None]


def export(rows: pa.RecordBatchReader, out: Path, form: Format) -> int:
    """Write all rows to a file, which appears whole or not at all; how many there were.

    Ids stay 16 bytes in Parquet and Arrow; in CSV and JSON lines, which have no bytes, they are hexadecimal.

    Raises:
        StorageError: it cannot be written, or the table cannot be read any more.
    """
    count = 0
    with storage_errors("export to", out), _aside(out) as file, _WRITERS[form](file, rows.schema) as write:
        for batch in rows:
            write(batch)
            count += batch.num_rows
    return count


@contextmanager
def _aside(out: Path) -> Iterator[BinaryIO]:
    """A file beside ``out`` that takes its place once it is complete and synced."""
    aside = out.with_name(f".{out.name}.{os.getpid()}{TEMP_SUFFIX}")
    try:
        with aside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(out)
        sync_folder(out.parent)
    finally:
        with suppress(FileNotFoundError):
            aside.unlink()


@contextmanager
def _parquet(file: BinaryIO, schema: pa.Schema) -> Iterator[Write]:
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        yield writer.write_batch


@contextmanager
def _arrow(file: BinaryIO, schema: pa.Schema) -> Iterator[Write]:
    with pa.ipc.new_file(file, schema) as writer:
        yield writer.write_batch


@contextmanager
def _csv(file: BinaryIO, schema: pa.Schema) -> Iterator[Write]:
    with csv.CSVWriter(file, _in_words(schema.empty_table()).schema) as writer:
        yield lambda batch: writer.write_table(_in_words(pa.Table.from_batches([batch])))


@contextmanager
def _json_lines(file: BinaryIO, schema: pa.Schema) -> Iterator[Write]:
    encode = msgspec.json.Encoder().encode_lines

    def write(batch: pa.RecordBatch) -> None:
        file.write(encode(_in_words(pa.Table.from_batches([batch])).to_pylist()))

    yield write


def _in_words(rows: pa.Table) -> pa.Table:
    """Bytes as hexadecimal text."""
    for number, field in enumerate(rows.schema):
        if pa.types.is_binary(field.type):
            texts = [None if value is None else value.hex() for value in rows[field.name].to_pylist()]
            rows = rows.set_column(number, field.name, pa.array(texts, pa.string()))
    return rows


_WRITERS = {Format.PARQUET: _parquet, Format.CSV: _csv, Format.ARROW: _arrow, Format.JSON_LINES: _json_lines}
