"""What is kept of each file of the telemetry table: sums, records and a sample, from one pass over its rows.

Each part is such that those of many files give that of all their rows, in any order. Counts and sums do; the records of
a minimum are among the records of its parts; and the rows with the least hashes are a fair sample of whatever they are
the least of ("bottom-k": Cohen and Kaplan, Summarizing data using bottom-k sketches, PODC 2007).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from storage.table_schema import SCHEMA

BEST_SHARE = 10
"""Of so many points one is among the fastest, one among the most frugal, and one among the most exact."""

_CHOICES = ["node_id", "problem_id", "kernel", "target", "device_family", "stage", "status", "energy_source"]
_COUNTED = ["node_id", "problem_id", "kernel", "target", "device_family", "status"]
_BEST = ["problem_id", "kernel", "evaluation", "cycle", "node_id", "genome_id", "time_median_ns"]
_POINT = [*_BEST, "stage", "energy_source", "energy_j", "error_frobenius"]
_MEASURES = ("time_median_ns", "energy_j", "error_frobenius")
_READ = [*dict.fromkeys([*_CHOICES, *_POINT, "incarnation", "sequence", "row"])]


@dataclass(frozen=True, slots=True)
class Digest:
    """What is known of some files; each row of each part says of which in ``file``.

    Attributes:
        counts: rows of each node, problem, kernel, target, device_family and status.
        best: where the best time of a problem fell, over the nodes' evaluation numbers.
        energy: trials (ok), metered, least_j and total_j of each kernel and energy_source.
        points: a sample of the trials that were ok, with the ``hash`` that they were chosen by.
    """

    counts: pa.Table
    best: pa.Table
    energy: pa.Table
    points: pa.Table

    def of_files(self, names: Collection[str]) -> Digest:
        """Without what was known of other files."""
        there = pa.array(list(names), pa.string())
        return Digest(*(part.filter(pc.is_in(part["file"], value_set=there)) for part in self.parts()))

    def plus(self, other: Digest) -> Digest:
        """What is known of the files of both."""
        pairs = zip(self.parts(), other.parts(), strict=True)
        return Digest(*(pa.concat_tables(pair).combine_chunks() for pair in pairs))

    def tightened(self, points: int) -> Digest:
        """Without records that were beaten, and with at most about so many points."""
        return Digest(self.counts, records(self.best), self.energy, chosen(self.points, points))

    def parts(self) -> tuple[pa.Table, ...]:
        """All tables, in the order of the attributes."""
        return self.counts, self.best, self.energy, self.points


def digest_file(path: Path, name: str, points: int, until_cycle: int | None = None) -> Digest:
    """What a Parquet file of the table says.

    Args:
        name: of the file in the table's log.
        points: most that are kept of it.
        until_cycle: rows of later cycles are passed over; None: all count.
    """
    # Dictionaries as the file has them: a column of a few texts costs a byte or four a row.
    with pq.ParquetFile(path, read_dictionary=_CHOICES) as file:
        groups = (file.read_row_group(number, _READ, use_threads=False) for number in range(file.num_row_groups))
        found = [digest(rows, name, points, until_cycle) for rows in groups]
    return reduce(Digest.plus, found, EMPTY).tightened(points)


def digest(rows: pa.Table, file: str, points: int, until_cycle: int | None = None) -> Digest:
    """What some rows of a file say; see ``digest_file``."""
    if until_cycle is not None:
        rows = rows.filter(pc.less_equal(rows["cycle"], until_cycle))
    parts = _counts(rows), records(rows.select(_BEST)), _energy(rows), chosen(_points(rows), points)
    names = pa.array([file], pa.string())
    return Digest(*(part.append_column("file", names.take(_zeros(part.num_rows))) for part in map(_plain, parts)))


def _zeros(count: int) -> pa.Array:
    return pa.array(np.zeros(count, np.int64))


def _plain(table: pa.Table) -> pa.Table:
    """Texts instead of dictionaries, which differ from batch to batch."""
    kinds = (field.type.value_type if pa.types.is_dictionary(field.type) else field.type for field in table.schema)
    return table.cast(pa.schema([pa.field(name, kind) for name, kind in zip(table.column_names, kinds, strict=True)]))


def _counts(rows: pa.Table) -> pa.Table:
    return rows.group_by(_COUNTED, use_threads=False).aggregate([([], "count_all")]).rename_columns([*_COUNTED, "rows"])


def _energy(rows: pa.Table) -> pa.Table:
    by = ["kernel", "energy_source", "status"]
    wanted = [([], "count_all"), ("energy_j", "count"), ("energy_j", "min"), ("energy_j", "sum")]
    found = rows.group_by(by, use_threads=False).aggregate(wanted)
    found = found.rename_columns([*by, "trials", "metered", "least_j", "total_j"])
    return found.filter(pc.equal(found["status"], "ok")).drop_columns(["status"])


def _points(rows: pa.Table) -> pa.Table:
    return rows.select(_POINT).append_column("hash", pa.array(_hashes(rows)))


def _hashes(rows: pa.Table) -> npt.NDArray[np.uint64]:
    """A number for each row that looks random and depends on its key alone (the finaliser of SplitMix64)."""
    node = rows["node_id"].combine_chunks()
    heads = np.array([int.from_bytes(value[:8], "little") for value in node.dictionary.to_pylist()], np.uint64)
    mixed = heads[node.indices.to_numpy()] if len(node) else np.zeros(0, np.uint64)
    for name in ("incarnation", "sequence", "row"):
        mixed = (mixed + rows[name].to_numpy().astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed = mixed ^ (mixed >> np.uint64(31))
    return mixed


def records(rows: pa.Table) -> pa.Table:
    """Those rows that are faster than any of their problem with a smaller or equal evaluation number.

    Rows without a time, which were not ok, are passed over.
    """
    evaluation, time_ns = rows["evaluation"].to_numpy(), rows["time_median_ns"].to_numpy()
    kept = [group[_falls(evaluation[group], time_ns[group])] for group in _timed_groups(rows)]
    return rows.take(pa.array(np.concatenate([*kept, np.zeros(0, np.int64)])))


def _falls(evaluation: npt.NDArray[np.int64], time_ns: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Where a running minimum over the evaluations falls; of equal evaluations the fastest counts."""
    order = np.argsort(evaluation, kind="stable")
    least = np.minimum.accumulate(time_ns[order])
    steps = order[np.diff(least, prepend=np.inf) < 0]
    last = np.diff(evaluation[steps], append=-1) != 0
    fallen: npt.NDArray[np.int64] = steps[last]
    return fallen


def chosen(points: pa.Table, limit: int) -> pa.Table:
    """At most about ``limit`` points, as many of each problem: a fair sample, and the best by each measure.

    Rows without a time, which were not ok, are passed over.
    """
    groups = _timed_groups(points)
    each = limit // max(1, len(groups))
    best = max(1, each // BEST_SHARE)
    wanted = {"hash": max(1, each - len(_MEASURES) * best), **dict.fromkeys(_MEASURES, best)}
    keep = np.zeros(points.num_rows, dtype=bool)
    for name, count in wanted.items():
        values = points[name].to_numpy()
        for group in groups:
            keep[group[_least(values[group], count)]] = True
    return points.take(pa.array(np.flatnonzero(keep)))


def _least(values: npt.NDArray[np.generic], count: int) -> npt.NDArray[np.int64]:
    """Where the ``count`` least values are; NaN never is among them."""
    known = np.flatnonzero(values == values)
    return known[np.argpartition(values[known], count)[:count]] if len(known) > count else known


def _timed_groups(rows: pa.Table) -> list[npt.NDArray[np.int64]]:
    """Where the rows with a time stand, one array for each problem that has any."""
    there = np.flatnonzero(~np.isnan(rows["time_median_ns"].to_numpy()))
    codes = _codes(rows["problem_id"])[there]
    order = np.argsort(codes, kind="stable")
    cuts = np.flatnonzero(np.diff(codes[order])) + 1
    return [part for part in np.split(there[order], cuts) if len(part)]


def _codes(texts: pa.ChunkedArray) -> npt.NDArray[np.integer]:
    """A number for each text; of two bytes where those do, since they sort in a tenth of the time."""
    whole = texts.combine_chunks()
    coded = whole if pa.types.is_dictionary(whole.type) else whole.dictionary_encode()
    kind = np.int16 if len(coded.dictionary) < 1 << 15 else np.int64
    return np.asarray(coded.indices.to_numpy(), kind)


def _encoded(field: pa.Field) -> pa.Field:
    return field.with_type(pa.dictionary(pa.int32(), field.type)) if field.name in _CHOICES else field


EMPTY = digest(pa.schema(map(_encoded, SCHEMA)).empty_table(), "", 0)
"""What is known of no file."""
