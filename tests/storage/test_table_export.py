from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quasim.errors import StorageError
from storage.table_export import Format, export

ROWS = [
    {"id": bytes(range(16)), "kernel": 'mat"mul,', "cycle": 1, "energy_j": 0.25},
    {"id": bytes(16), "kernel": "softmax", "cycle": 2, "energy_j": None},
]
SCHEMA = pa.schema([("id", pa.binary()), ("kernel", pa.string()), ("cycle", pa.int64()), ("energy_j", pa.float64())])
IN_WORDS = [{**row, "id": row["id"].hex()} for row in ROWS]  # type: ignore[attr-defined]


def reader(rows: list[dict[str, object]] = ROWS) -> pa.RecordBatchReader:
    return pa.Table.from_pylist(rows, SCHEMA).to_reader(max_chunksize=1)


def from_csv(path: Path) -> list[dict[str, object]]:
    with path.open(newline="") as file:
        found = list(csv.DictReader(file))
    return [{**r, "cycle": int(r["cycle"]), "energy_j": float(r["energy_j"]) if r["energy_j"] else None} for r in found]


def from_arrow(path: Path) -> list[dict[str, object]]:
    with pa.OSFile(str(path)) as source, pa.ipc.open_file(source) as file:
        rows: list[dict[str, object]] = file.read_all().to_pylist()
    return rows


READERS: dict[Format, tuple[Callable[[Path], list[dict[str, object]]], list[dict[str, object]]]] = {
    Format.PARQUET: (lambda path: pq.read_table(path).to_pylist(), ROWS),
    Format.ARROW: (from_arrow, ROWS),
    Format.CSV: (from_csv, IN_WORDS),
    Format.JSON_LINES: (lambda path: [json.loads(line) for line in path.read_text().splitlines()], IN_WORDS),
}


@pytest.mark.parametrize("form", Format)
def test_rows_come_back_from_every_format(tmp_path: Path, form: Format) -> None:
    out = tmp_path / "rows"
    read, expected = READERS[form]
    assert export(reader(), out, form) == 2
    assert read(out) == expected
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("form", Format)
def test_no_rows_are_a_file_too(tmp_path: Path, form: Format) -> None:
    assert export(reader([]), tmp_path / "rows", form) == 0
    assert READERS[form][0](tmp_path / "rows") == []


def failing() -> Iterator[pa.RecordBatch]:
    yield pa.RecordBatch.from_pylist(ROWS, SCHEMA)
    raise OSError("the disk is gone")


@pytest.mark.parametrize("form", Format)
def test_what_fails_half_way_leaves_what_was_there(tmp_path: Path, form: Format) -> None:
    out = tmp_path / "rows"
    out.write_text("before")
    with pytest.raises(StorageError, match="cannot export to"):
        export(pa.RecordBatchReader.from_batches(SCHEMA, failing()), out, form)
    assert out.read_text() == "before"
    assert list(tmp_path.iterdir()) == [out]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="nowhere"):
        export(reader(), tmp_path / "nowhere" / "rows", Format.CSV)
