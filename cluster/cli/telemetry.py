"""`quasim telemetry`: ask the telemetry of a run in SQL, or take it elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import msgspec
import pyarrow as pa
import typer
from deltalake import DeltaTable
from rich.table import Table

from cluster.cli.output import console, log, print_json
from cluster.run_folder import RunFolder
from quasim.errors import ConfigError, DataError, StorageError
from storage.keys import load_or_create_key, site_folder
from storage.pseudonyms import IdDictionary
from storage.table import TelemetryTable
from storage.table_export import Format, export
from storage.table_reader import ask, open_table
from storage.table_schema import NAME

app = typer.Typer(help="Telemetry of a run: ask it in SQL, or take it elsewhere.", no_args_is_help=True)

Cell = str | int | float | bool | None

Run = Annotated[Path, typer.Argument(help="Folder of the run, as `quasim run` printed it.")]


class Answer(msgspec.Struct, frozen=True):
    """What `quasim telemetry query --json` prints.

    Attributes:
        rows: one value for each of the columns; ids are hexadecimal, or the names behind them.
        more: whether rows were left out.
    """

    columns: tuple[str, ...]
    rows: tuple[dict[str, Cell], ...]
    more: bool


class Exported(msgspec.Struct, frozen=True):
    """What `quasim telemetry export --json` prints."""

    file: str
    format: Format
    rows: int


@app.command("query")
def query(
    run: Run,
    sql: Annotated[str, typer.Argument(help='Such as "SELECT kernel, count(*) FROM telemetry GROUP BY kernel".')],
    limit: Annotated[int, typer.Option(min=1, help="Most rows to print.")] = 1000,
    names: Annotated[bool, typer.Option("--names", help="Names instead of hashed ids, with this site's key.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Ask the telemetry of a run in SQL; `DESCRIBE telemetry` lists its columns, docs/telemetry.md explains them."""
    known = _names() if names else {}
    answer = _answer(ask(_current(RunFolder.open(run)), sql), limit, known)
    if json:
        print_json(answer)
        return
    shown = Table(*answer.columns)
    for row in answer.rows:
        shown.add_row(*("–" if row[name] is None else str(row[name]) for name in answer.columns))
    console().print(shown)
    if answer.more:
        log().print(f"only the first {limit} rows: give --limit, or take all with `quasim telemetry export`")


@app.command("export")
def export_rows(
    run: Run,
    out: Annotated[Path, typer.Argument(help="File to write; it is replaced if it exists.")],
    form: Annotated[Format, typer.Option("--format", help="Of the file.")] = Format.PARQUET,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Write all telemetry of a run to one file."""
    table = _current(RunFolder.open(run))
    done = Exported(str(out), form, export(ask(table, f"SELECT * FROM {NAME}"), out, form))
    if json:
        print_json(done)
    else:
        console().print(f"{done.rows} rows written to {done.file}")


def _current(folder: RunFolder) -> DeltaTable:
    """The table of a run, with all that its store holds: a run that was killed, or has none yet, gets its rows here."""
    try:
        with TelemetryTable(folder.table) as table:
            table.commit(folder.telemetry)
    except StorageError as error:
        log().print(f"rows may be missing: {error}")
    return open_table(folder.table)


def _names() -> Mapping[str, str]:
    """What this site's ids mean."""
    site = site_folder(os.environ)
    key = site / "site.key"
    if not key.is_file():  # one made here would have hashed nothing
        raise ConfigError(f"this site has no {key}", "leave out --names, or ask where the run was made")
    entries = IdDictionary(site / "ids", load_or_create_key(key)).entries()
    return {hashed: text for hashed, (_, text) in entries.items()}


def _answer(found: pa.RecordBatchReader, limit: int, names: Mapping[str, str]) -> Answer:
    rows: list[dict[str, Cell]] = []
    for row in _rows(found):
        if len(rows) == limit:
            return Answer(tuple(found.schema.names), tuple(rows), more=True)
        rows.append({name: _cell(value, names) for name, value in row.items()})
    return Answer(tuple(found.schema.names), tuple(rows), more=False)


def _rows(found: pa.RecordBatchReader) -> Iterator[dict[str, object]]:
    schema = pa.schema([field.with_type(_coarse(field.type)) for field in found.schema])
    for batch in found:
        try:
            yield from batch.cast(schema, safe=False).to_pylist()
        except (ValueError, OverflowError) as error:  # a year that no calendar of Python's has
            raise DataError(f"the answer cannot be shown ({error})", "CAST what is a time AS VARCHAR") from error


def _coarse(kind: pa.DataType) -> pa.DataType:
    """Times in microseconds: the engine counts nanoseconds, which Python's own times cannot hold."""
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    if pa.types.is_time64(kind):
        return pa.time64("us")
    if pa.types.is_duration(kind):
        return pa.duration("us")
    if pa.types.is_list(kind):
        return pa.list_(_coarse(kind.value_type))
    if pa.types.is_large_list(kind):
        return pa.large_list(_coarse(kind.value_type))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_coarse(kind.value_type), kind.list_size)
    if pa.types.is_map(kind):
        return pa.map_(_coarse(kind.key_type), _coarse(kind.item_type), kind.keys_sorted)
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_coarse(field.type)) for field in kind])
    return kind


def _cell(value: object, names: Mapping[str, str]) -> Cell:
    text = value.hex() if isinstance(value, bytes) else value
    if isinstance(text, str):
        return names.get(text, text)
    return text if isinstance(text, int | float | bool | None) else str(text)
