"""The telemetry table: what the sealed segments hold, as a Delta table that any lakehouse tool can read.

It is derived. Segments are what an acknowledgement means; the table follows them a few seconds later, and is made again
from them whenever it is missing or damaged. That is why nothing here calls fsync.

Each commit carries an application transaction: the number of the newest segment that is in it. A commit that is
repeated after a crash therefore adds nothing twice, and a restart knows where to go on.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import DeltaError, TableNotFoundError

from quasim.errors import DataError
from storage.files import make_folder, storage_errors
from storage.ownership import Ownership
from storage.schemas import OWNER_V2
from storage.segment_file import Segment, inspect, live, read, spans
from storage.table_reader import TableSnapshot, ask, files, snapshot, table_errors, through
from storage.table_schema import APP, NAME, SCHEMA

LOG = logging.getLogger(__name__)

TIDY_AT = 100
"""Small files at which they are merged: every so many commits. A query opens each file, and thousands are slow."""

FILE_BYTES = 32 << 20
"""Files are merged up to this: some hundred thousand rows, few enough to rewrite in the background."""

GROUP_ROWS = 1 << 16
"""Rows of a Parquet row group, which a reader holds in memory as a whole."""

COMMIT_ROWS = 1 << 17
"""Most rows of a commit unless one segment has more, so that catching up needs little memory."""

RETENTION_HOURS = 1
"""Merged files stay for so long, for readers that opened the table before; no question of ours takes a minute."""

_AS_PARQUET = WriterProperties(compression="ZSTD", max_row_group_size=GROUP_ROWS)


class TelemetryTable:
    """The table of one run, written by one process at a time; anybody may read it meanwhile.

    One that cannot be opened, lacks a file, or has other columns is set aside as ``*.broken`` and begun anew.

    Args:
        tidy_at: small files at which they are merged.
        retention_hours: how long merged files stay for those who still read them.

    Raises:
        InUseError: another process writes it.
        StorageError: the folder cannot be used.
    """

    def __init__(self, path: Path, *, tidy_at: int = TIDY_AT, retention_hours: int = RETENTION_HOURS) -> None:
        self._path, self._tidy_at, self._retention_hours = path, tidy_at, retention_hours
        self._owned: Ownership | None = Ownership(make_folder(path))
        try:
            self._table = self._open()
            self._small = self._count_small()
        except BaseException:
            self.close()
            raise

    def commit(self, telemetry: Path) -> int:
        """Take in the segments of a store that the table lacks, in order; how many rows that were.

        Raises:
            StorageError: the table or a segment could not be used. What was committed stays; call again.
        """
        before = through(self._table)
        rows = 0
        damaged: list[DataError] = []
        for group in _groups(_missing(telemetry, before, damaged)):
            parts = [self._fresh(segment, before, damaged) for segment in group]
            rows += self._append(pa.concat_tables(parts), group[-1].span.last)
            if self._small >= self._tidy_at:
                self.tidy()
        if damaged:  # they must not hold up the others; the store sets them aside at its next start
            LOG.error("%d segments are not in the table; the first: %s", len(damaged), damaged[0])
        return rows

    def tidy(self) -> None:
        """Merge small files, write a checkpoint, and forget what no reader can still be at.

        Raises:
            StorageError: the table cannot be written; nothing is lost.
        """
        with table_errors("tidy", self._path):
            # One task at a time: each holds a whole file in memory, and the machine has other things to do.
            self._table.optimize.compact(target_size=FILE_BYTES, max_concurrent_tasks=1, writer_properties=_AS_PARQUET)
            self._table.create_checkpoint()
            self._table.vacuum(self._retention_hours, dry_run=False, enforce_retention_duration=False)
            self._table.cleanup_metadata()
            self._small = self._count_small()

    def snapshot(self) -> TableSnapshot:
        """What the table holds now."""
        return snapshot(self._table)

    def close(self) -> None:
        """Let another process write. Idempotent."""
        if self._owned is not None:
            self._owned.close()
            self._owned = None

    def __enter__(self) -> TelemetryTable:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _open(self) -> DeltaTable:
        try:
            with storage_errors("open the table", self._path):
                table = DeltaTable(self._path)
                _check_sound(table, self._path)
                return table
        except TableNotFoundError:
            return self._create()
        except (DeltaError, DataError) as error:
            self._set_aside(error)
            return self._create()

    def _create(self) -> DeltaTable:
        kept = f"interval {self._retention_hours} hours"
        properties = {
            "delta.appendOnly": "true",
            # Bounds of hashes tell a query nothing and would be most of the log; those of cycles let it skip files.
            "delta.dataSkippingStatsColumns": "cycle",
            "delta.deletedFileRetentionDuration": kept,
            "delta.logRetentionDuration": kept,
        }
        with table_errors("make", self._path):
            return DeltaTable.create(self._path, SCHEMA, name=NAME, configuration=properties)

    def _set_aside(self, error: Exception) -> None:
        names = (self._path.with_name(f"{self._path.name}-{number}.broken") for number in range(1 << 16))
        aside = next(name for name in names if not name.exists())
        LOG.error("the table %s is made again from its segments (%s); what it was is now %s", self._path, error, aside)
        with storage_errors("set aside", self._path):
            self._path.rename(aside)
        self.close()
        self._owned = Ownership(make_folder(self._path))

    def _count_small(self) -> int:
        return sum(2 * file.size_bytes < FILE_BYTES for file in files(self._table))

    def _fresh(self, segment: Segment, before: int, damaged: list[DataError]) -> pa.Table:
        """Those rows of a segment that the table lacks; none where it is damaged, which is noted.

        A segment that was merged may hold batches that are in it already; their keys tell.
        """
        try:
            rows = pa.Table.from_batches(read(segment, OWNER_V2), OWNER_V2).cast(SCHEMA)
        except DataError as error:
            damaged.append(error)
            return SCHEMA.empty_table()
        if segment.span.first <= before:
            known = self._keys()
            keys = [(bytes.fromhex(s.key.node), s.key.incarnation, s.key.sequence) for s in segment.stored]
            rows = rows.filter(np.repeat([key not in known for key in keys], [s.rows for s in segment.stored]))
        return rows

    def _keys(self) -> set[tuple[object, ...]]:
        """Keys of all batches in the table."""
        with table_errors("read", self._path):
            found = ask(self._table, f"SELECT DISTINCT node_id, incarnation, sequence FROM {NAME}").read_all()
        return set(zip(*(column.to_pylist() for column in found.columns), strict=True))

    def _append(self, rows: pa.Table, newest: int) -> int:
        """Commit rows, which may be none, and with them that all segments up to a number are in the table."""
        with table_errors("commit to", self._path):
            done = CommitProperties(app_transactions=[Transaction(APP, newest)])
            write_deltalake(self._table, rows, mode="append", writer_properties=_AS_PARQUET, commit_properties=done)
        self._small += 1
        return int(rows.num_rows)


def _check_sound(table: DeltaTable, path: Path) -> None:
    """Find what a power failure may have taken from files that were never synced.

    Raises:
        DataError: the table has other columns, or a file of it is missing or cut short.
    """
    found = pa.schema(table.schema().to_arrow())
    if [(f.name, f.nullable) for f in found] != [(f.name, f.nullable) for f in SCHEMA]:
        raise DataError(f"table {path} has the columns of another version", "it is derived, delete it")
    for file in files(table):
        there = path / file.name
        if not there.exists() or there.stat().st_size != file.size_bytes:
            raise DataError(f"file {file.name} of table {path} is not whole", "it is derived, delete it")


def _missing(telemetry: Path, before: int, damaged: list[DataError]) -> Iterator[Segment]:
    """Segments of a store that hold numbers above ``before``, in order; damaged ones are noted."""
    with storage_errors("read the store", telemetry):
        found = [span for span in live(spans(telemetry)) if span.last > before]
    for span in found:
        try:
            yield inspect(telemetry, span, OWNER_V2)
        except DataError as error:
            damaged.append(error)


def _groups(segments: Iterator[Segment]) -> Iterator[list[Segment]]:
    """What goes into one commit each."""
    group: list[Segment] = []
    for segment in segments:
        if group and sum(part.rows for part in group) + segment.rows > COMMIT_ROWS:
            yield group
            group = []
        group.append(segment)
    if group:
        yield group
