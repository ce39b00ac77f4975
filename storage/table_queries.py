"""What a dashboard asks the telemetry table: small answers over millions of rows, kept up to date file by file.

A table only ever grows, and merging its files changes no row. So each file is looked into once, what it says is kept
beside its name, and an answer is the sum over the files that are there now.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from storage.table_digest import EMPTY, digest_file
from storage.table_reader import TableSnapshot, files, open_table, snapshot, table_errors

SAMPLE = 5000
"""Points that a chart can draw and a person can tell apart."""

_IDS = ("node_id", "problem_id", "genome_id")


class TableView:
    """The answers of one table; ``refresh`` before asking. Nothing of the table is kept open.

    In all answers ids are hexadecimal, and rows are sorted by their first columns.

    Args:
        until_cycle: leave out what came after that cycle, to replay a run; None: everything.
        limit: most points of the sample.
    """

    def __init__(self, path: Path, until_cycle: int | None = None, limit: int = SAMPLE) -> None:
        self._path, self._until, self._limit = path, until_cycle, limit
        self._state = EMPTY
        self._known: set[str] = set()
        self._snapshot: TableSnapshot | None = None

    def refresh(self) -> bool:
        """Look into what is new; whether anything was.

        Raises:
            StorageError: there is no table, or it cannot be read. What was known stays.
        """
        table = open_table(self._path)
        if self._snapshot is not None and table.version() == self._snapshot.version:
            return False
        there = {file.name for file in files(table) if self._until is None or file.first_cycle <= self._until}
        state = self._state.of_files(there)
        for name in sorted(there - self._known):
            with table_errors("read", self._path):
                found = digest_file(self._path / name, name, self._limit, self._until)
            state = state.plus(found).tightened(self._limit)
        self._state, self._known, self._snapshot = state, there, snapshot(table)
        return True

    @property
    def table(self) -> TableSnapshot | None:
        """What the whole table held at the last refresh; None before the first."""
        return self._snapshot

    def counts(self) -> pa.Table:
        """Columns: node_id, problem_id, kernel, target, device_family, status, rows."""
        return _sums(self._state.counts, {"rows": "sum"})

    def best_so_far(self) -> pa.Table:
        """Where the best time of each problem fell, over how many evaluations a node had made.

        Columns: problem_id, evaluation (a node's number, from 0), kernel, cycle, node_id, genome_id, time_median_ns,
        which falls strictly within each problem.
        """
        return _shown(self._state.best, ["problem_id", "evaluation"])

    def points(self) -> pa.Table:
        """A sample of the trials that were ok: as many of each problem, among them its best by time, joules and error.

        At most ``limit``. Columns: problem_id, time_median_ns, evaluation, kernel, cycle, node_id, genome_id, stage,
        energy_source, energy_j (null: unmetered), error_frobenius (null: not computed).
        """
        return _shown(self._state.points.drop_columns(["hash"]), ["problem_id", "time_median_ns"])[: self._limit]

    def energy(self) -> pa.Table:
        """Gross joules of one launch. Columns: kernel, energy_source, trials (that were ok), metered, least_j, mean_j.

        The joules are null where none was metered.
        """
        found = _sums(self._state.energy, {"trials": "sum", "metered": "sum", "least_j": "min", "total_j": "sum"})
        mean_j = pc.divide(found["total_j"], pc.cast(found["metered"], pa.float64()))
        return found.drop_columns(["total_j"]).append_column("mean_j", mean_j)


def _sums(parts: pa.Table, how: dict[str, str]) -> pa.Table:
    """What the parts of all files come to."""
    by = [name for name in parts.column_names if name not in how and name != "file"]
    found = parts.group_by(by, use_threads=False).aggregate(list(how.items()))
    return _shown(found.rename_columns([*by, *how]), by)


def _shown(found: pa.Table, by: list[str]) -> pa.Table:
    """Sorted, ``by`` first, with ids in hexadecimal."""
    names = [*by, *(name for name in found.column_names if name not in by and name != "file")]
    columns = {name: _hex(found[name]) if name in _IDS else found[name] for name in names}
    return pa.table(columns).sort_by([(name, "ascending") for name in by])


def _hex(ids: pa.ChunkedArray) -> pa.Array:
    return pa.array([value.hex() for value in ids.to_pylist()], pa.string())
