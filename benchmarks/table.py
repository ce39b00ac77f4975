"""The telemetry table at 5 million SYNTHETIC rows: first answers, memory, commits a second, reopening after many."""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks.harness import Bar, Row, main, say
from quasim.trial import EnergySource, ErrorAgainst, Status
from storage.files import make_folder
from storage.schemas import ENUMERATIONS, OWNER_V2, BatchKey, Stage, choices
from storage.segment_file import Span, Stored, seal
from storage.table import TelemetryTable
from storage.table_queries import TableView
from storage.table_reader import ask, open_table, snapshot
from storage.table_schema import NAME

ROWS = 5_000_000
NODES = 100
KERNELS = ("matmul", "softmax", "stencil2d", "statevector")
GENOMES = 4096
BATCH_ROWS = 1000
BATCHES = 100
"""Of a segment: as large as compaction of the store makes them."""

CYCLES = 50
"""That a run of ``ROWS`` takes."""

COMMITS = 1000
SMALL_BATCHES, SMALL_ROWS = 10, 20
"""Of a segment that comes in while a fleet runs."""

SQL = (
    f"SELECT count(*) FROM {NAME}",
    f"SELECT kernel, status, count(*) FROM {NAME} GROUP BY ALL",
    f"SELECT genome_id, time_median_ns FROM {NAME} ORDER BY 2 LIMIT 100",
)

ASKED = {
    "first": "all answers of a dashboard, first time",
    "again": "the same after one more commit, median",
    "longest": "the same after one more commit, longest",
    "earlier": "the same up to half of the cycles",
}

AGAIN = 7
"""Commits after which is asked again: a single figure of tens of milliseconds tells what else ran just then."""

DEVICE = "SYNTHETIC"
"""In the device family of every row: nobody may take these for measurements."""


def _id(text: str) -> bytes:
    return hashlib.sha256(f"SYNTHETIC {text}".encode()).digest()[:16]


def synthetic_segment(folder: Path, number: int, batches: int, rows: int) -> None:
    """Seal a segment of rows that keep everything the schema promises. No device ever measured them.

    Times fall over a run as those of a search do, one row in eight failed, and half the nodes have a meter.
    """
    random = np.random.default_rng(number)
    keys = [_key(number * batches + batch) for batch in range(batches)]
    made = [_batch(random, key, rows) for key in keys]
    stored = [Stored(key, rows, hashlib.sha256(str(key).encode()).hexdigest()) for key in keys]
    seal(folder, Span(number, number), made, stored)


def _key(batch: int) -> BatchKey:
    return BatchKey(_id(f"node {batch % NODES}").hex(), 0, batch // NODES)


def _batch(random: np.random.Generator, key: BatchKey, rows: int) -> pa.RecordBatch:
    """One batch of one node; the kernels take turns."""
    evaluation = np.arange(rows) + key.sequence * rows
    kernel = evaluation % len(KERNELS)
    genome = random.integers(GENOMES, size=rows)
    ok = random.random(rows) < 7 / 8
    metered = ok & (key.node < "8")
    time_ns = 1e6 * (1 + kernel) * (1 + random.gamma(2.0, 1.0, rows) * (0.1 + np.exp(-evaluation / 2e4)))
    energy_j = time_ns * 1e-9 * random.normal(400.0, 20.0, rows)
    status = np.where(ok, _code("status", Status.OK), _code("status", Status.WRONG_RESULT))
    source = np.where(
        metered, _code("energy_source", EnergySource.COUNTER), _code("energy_source", EnergySource.UNMETERED)
    )
    columns: dict[str, object] = {
        "node_id": [bytes.fromhex(key.node)] * rows,
        "incarnation": np.full(rows, key.incarnation),
        "sequence": np.full(rows, key.sequence),
        "row": np.arange(rows, dtype=np.int32),
        "problem_id": [_id(KERNELS[k]) for k in kernel],
        "genome_id": [_id(f"genome {g}") for g in genome],
        "kernel": [KERNELS[k] for k in kernel],
        "target": ["triton"] * rows,
        "device_family": [DEVICE] * rows,
        "cycle": evaluation * NODES * CYCLES // ROWS,
        "evaluation": evaluation // len(KERNELS),
        "stage": _dictionary("stage", np.full(rows, _code("stage", Stage.SEARCH))),
        "status": _dictionary("status", status),
        "energy_source": _dictionary("energy_source", source),
        "error_against": _dictionary("error_against", np.full(rows, _code("error_against", ErrorAgainst.FLOAT64))),
        "time_median_ns": pa.array(time_ns, mask=~ok),
        "time_low_ns": pa.array(time_ns * 0.98, mask=~ok),
        "time_high_ns": pa.array(time_ns * 1.03, mask=~ok),
        "samples": pa.array(np.full(rows, 31), mask=~ok),
        "error_frobenius": pa.array(10 ** random.normal(-6.5, 0.5, rows), mask=~ok),
        "error_componentwise": pa.array(10 ** random.normal(-6.0, 0.5, rows), mask=~ok),
        "energy_j": pa.array(energy_j, mask=~metered),
        "energy_low_j": pa.array(energy_j * 0.97, mask=~metered),
        "energy_high_j": pa.array(energy_j * 1.03, mask=~metered),
        "compile_ns": random.integers(10**8, 3 * 10**9, rows),
        "check_ns": random.integers(10**6, 10**7, rows),
        "measure_ns": random.integers(10**7, 10**8, rows),
    }
    arrays = [_array(columns.get(field.name, [None] * rows), field.type) for field in OWNER_V2]
    return pa.RecordBatch.from_arrays(arrays, schema=OWNER_V2)


def _array(column: object, kind: pa.DataType) -> pa.Array:
    return column if isinstance(column, pa.Array) else pa.array(column, kind)


def _code(column: str, member: object) -> int:
    return list(ENUMERATIONS[column]).index(member)  # type: ignore[arg-type]


def _dictionary(column: str, codes: npt.NDArray[np.int64]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int8()), choices(column))


def build(folder: Path, rows: int = ROWS) -> Path:
    """A run folder's ``telemetry/`` and ``table/`` of so many SYNTHETIC rows; the path of the table."""
    telemetry = make_folder(folder / "telemetry")
    with TelemetryTable(folder / "table") as table:
        for number in range(rows // (BATCHES * BATCH_ROWS)):
            synthetic_segment(telemetry, number, BATCHES, BATCH_ROWS)
            table.commit(telemetry)
    return folder / "table"


def ask_first(table: Path, folder: Path, segment: int) -> dict[str, float]:
    """In a process of its own: what a dashboard does when it starts, and again after a commit.

    Returns:
        Seconds of the wall clock until all answers are there, and MB of memory: with the imports, and at the peak.
    """
    imported_mb = _peak_mb()
    view = TableView(table)
    first_s = _seconds(lambda: _answers(view))
    again_s = []
    for number in range(segment, segment + AGAIN):
        _apart(_commit, table, folder, number)
        again_s.append(_seconds(lambda: _answers(view)))
    earlier_s = _seconds(lambda: _answers(TableView(table, CYCLES // 2)))
    return {
        "first": first_s,
        "again": float(np.median(again_s)),
        "longest": max(again_s),
        "earlier": earlier_s,
        "imported": imported_mb,
        "peak": _peak_mb(),
    }


def ask_sql(table: Path) -> dict[str, float]:
    """In a process of its own: seconds until the answers of queries."""
    return {text: _seconds(lambda text=text: ask(open_table(table), text).read_all()) for text in SQL}  # type: ignore[misc]


def _answers(view: TableView) -> None:
    view.refresh()
    for answer in (view.counts, view.best_so_far, view.points, view.energy):
        answer()


def _commit(table: Path, folder: Path, number: int) -> dict[str, float]:
    """One more small segment, as it comes in while a fleet runs."""
    synthetic_segment(folder / "telemetry", number, SMALL_BATCHES, SMALL_ROWS)
    return {"commit": _seconds(lambda: _settle(table, folder / "telemetry"))}


def commits(folder: Path, count: int) -> tuple[Row, float]:
    """Many small commits one after the other, merges included, then the table opened and counted by a new process.

    Returns:
        The row, and seconds to reopen.
    """
    telemetry, table = make_folder(folder / "telemetry"), folder / "table"
    for number in range(count):
        synthetic_segment(telemetry, number, SMALL_BATCHES, SMALL_ROWS)
    taken = []
    # A commit takes in all that is new, so that each must find one segment.
    waiting = make_folder(folder / "waiting")
    for number in range(count):
        name = Span(number, number).file_name
        (telemetry / name).rename(waiting / name)
        taken.append(_seconds(lambda: _settle(table, waiting)))
        (waiting / name).unlink()
    opened = _apart(_reopen, table)
    if opened["rows"] != count * SMALL_BATCHES * SMALL_ROWS:
        raise RuntimeError(f"{opened['rows']} rows of {count} commits are in the table")
    row: Row = {
        "commits": count,
        "rows each": SMALL_BATCHES * SMALL_ROWS,
        "commits/s": count / sum(taken),
        "median [s]": float(np.median(taken)),
        "longest, a merge [s]": max(taken),
        "files at the end": int(opened["files"]),
        "reopen [s]": opened["open"],
        "and count [s]": opened["count"],
    }
    return row, opened["open"] + opened["count"]


def _settle(table: Path, telemetry: Path) -> None:
    """As the aggregator does, which opens the table anew each time."""
    with TelemetryTable(table) as opened:
        opened.commit(telemetry)


def _reopen(table: Path) -> dict[str, float]:
    open_s = _seconds(lambda: open_table(table))
    count_s = _seconds(lambda: ask(open_table(table), f"SELECT count(*) FROM {NAME}").read_all())
    held = snapshot(open_table(table))
    return {"open": open_s, "count": count_s, "rows": held.rows, "files": held.files}


def _apart(call: Callable[..., dict[str, float]], *arguments: Path | int) -> dict[str, float]:
    """A call in a fresh process: what it finds is in no cache of ours, and its memory its own."""
    code = (
        "import json, sys; from pathlib import Path; from benchmarks import table; "
        "given = [int(text) if text.isdigit() else Path(text) for text in sys.argv[2:]]; "
        "print(json.dumps(getattr(table, sys.argv[1])(*given)))"
    )
    command = [sys.executable, "-c", code, call.__name__, *(str(given) for given in arguments)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], check=True, stdout=subprocess.PIPE)
    return msgspec.json.decode(done.stdout, type=dict[str, float])


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _peak_mb() -> float:
    """Most memory that this process held; unlike ``ru_maxrss`` not that of whoever started it."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 1024


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", type=int, default=ROWS, help="of the large table")
    parser.add_argument("--commits", type=int, default=COMMITS, help="small commits")


def measure(given: argparse.Namespace) -> tuple[list[Row], list[Bar]]:
    """The large table, then the many commits."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        say(f"table: building {given.rows} SYNTHETIC rows")
        table = build(folder / "large", given.rows)
        held = snapshot(open_table(table))
        say("table: asking it")
        sql = _apart(ask_sql, table)
        first = _apart(ask_first, table, folder / "large", held.through + 1)
        say(f"table: {given.commits} commits")
        small, reopen_s = commits(folder / "small", given.commits)
    rows: list[Row] = [{"table (SYNTHETIC)": held.rows, "files": held.files, "MB": held.size_bytes / 1e6}]
    rows += [{"question": text, "seconds": seconds} for text, seconds in sql.items()]
    rows += [{"question": text, "seconds": first[name]} for name, text in ASKED.items()]
    rows += [
        {"memory of who asks": "imports", "MB": first["imported"]},
        {"memory of who asks": "peak", "MB": first["peak"]},
    ]
    return [*rows, small], [
        Bar.at_most("table: all answers, kept up to date after a commit, median [s]", first["again"], 0.2),
        Bar.at_most("table: memory of who asks [MB]", first["peak"], 300),
        Bar.at_most("table: median commit [s]", float(str(small["median [s]"])), 0.1),
        Bar.at_most("table: reopen and count after the commits [s]", reopen_s, 0.25),
    ]


if __name__ == "__main__":
    main("table", __doc__ or "", measure, _options)
