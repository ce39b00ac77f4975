"""Questions to stored telemetry, of one store or of several deployments at once.

Ids are equal across deployments that share a site key; rows of other sites stand apart, as they must.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyarrow.fs import LocalFileSystem

from quasim.errors import StorageError
from storage.files import storage_errors
from storage.schemas import OWNER_V2
from storage.segment_file import live, spans

_CONFIGURATION = ["kernel", "problem_id", "genome_id"]


def open_dataset(folders: Sequence[Path], schema: pa.Schema = OWNER_V2) -> ds.Dataset:
    """The rows of several stores, each once, whether or not a process is appending to them now.

    Raises:
        StorageError: a folder cannot be read.
    """
    paths: list[str] = []
    for folder in folders:
        with storage_errors("read the store", folder):
            paths += [str((folder / span.file_name).absolute()) for span in live(spans(folder))]
    return ds.FileSystemDataset.from_paths(
        paths, schema=schema, format=ds.IpcFileFormat(), filesystem=LocalFileSystem()
    )


def count_by_status(dataset: ds.Dataset) -> dict[str, int]:
    """How many rows ended in which status; statuses that never occurred are left out."""
    counts = _table(dataset, ["status"])["status"].value_counts().to_pylist()
    return {str(entry["values"]): int(entry["counts"]) for entry in counts}


def by_configuration(dataset: ds.Dataset) -> pa.Table:
    """One row for each configuration of each problem, over all deployments of the dataset.

    Columns: kernel, problem_id and genome_id (hexadecimal), trials, ok, nodes (how many tried it), mean_ns, median_ns
    and min_ns of the trials' median times (null when none was ok), best (whether its median is the least of its
    problem). Sorted by kernel and problem, then fastest first.
    """
    rows = _table(dataset, [*_CONFIGURATION, "node_id", "time_median_ns"])
    rows = rows.sort_by([(name, "ascending") for name in (*_CONFIGURATION, "time_median_ns")])
    grouped = rows.group_by(_CONFIGURATION, use_threads=False).aggregate(
        [
            ("time_median_ns", "count", pc.CountOptions(mode="all")),
            ("time_median_ns", "count"),
            ("node_id", "count_distinct"),
            ("time_median_ns", "mean"),
            ("time_median_ns", "min"),
        ]
    )
    columns = [grouped.column(i).combine_chunks() for i in range(grouped.num_columns)]
    kernel, problem, genome, trials, ok, nodes, mean, least = columns
    median = _medians(rows["time_median_ns"], trials.to_numpy(), ok.to_numpy())
    table = pa.table(
        {
            "kernel": kernel,
            "problem_id": _hex(problem),
            "genome_id": _hex(genome),
            "trials": trials,
            "ok": ok,
            "nodes": nodes,
            "mean_ns": mean,
            "median_ns": median,
            "min_ns": least,
        }
    ).sort_by([(name, "ascending") for name in ("kernel", "problem_id", "median_ns", "genome_id")])
    return table.append_column("best", _firsts(table))


def _table(dataset: ds.Dataset, columns: list[str]) -> pa.Table:
    try:
        return dataset.to_table(columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise StorageError(
            f"stored telemetry cannot be read ({error})", "open the store once to set it aside"
        ) from error


def _medians(times: pa.ChunkedArray, trials: npt.NDArray[np.int64], ok: npt.NDArray[np.int64]) -> pa.Array:
    """Median of each group of ``times``, whose groups follow one another, each ascending with its nulls last."""
    values = times.to_numpy()
    start = np.cumsum(trials) - trials
    some = ok > 0
    low = np.where(some, start + (ok - 1) // 2, 0)
    high = np.where(some, start + ok // 2, 0)
    middle = (values[low] + values[high]) / 2 if len(values) else values
    return pa.array(middle, mask=~some)


def _hex(ids: pa.Array) -> pa.Array:
    return pa.array([value.hex() for value in ids.to_pylist()], pa.string())


def _firsts(table: pa.Table) -> pa.Array:
    """Whether a row is the first of its problem and has a time."""
    problem = np.array(table["problem_id"].to_pylist(), dtype=object)
    new = np.ones(len(problem), dtype=bool)
    new[1:] = problem[1:] != problem[:-1]
    return pa.array(new & ~table["median_ns"].is_null().to_numpy())
