"""What the pages take from the telemetry table; where it is missing or cannot be read, words that say so."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cluster.campaign import WEAKER
from quasim.errors import QuasimError
from quasim.space import Floats
from quasim.trial import EnergySource
from storage.table_queries import TableView

REPLAYS = 8
"""Earlier cycles whose answers are kept: a replay asks for each several times, and for its neighbours next."""


@dataclass(frozen=True, slots=True)
class Points:
    """A sample of measured trials; arrays and tuples of one length, NaN where a figure is not known.

    Attributes:
        source: of the joules.
    """

    time_ns: Floats
    energy_j: Floats
    source: tuple[str, ...]
    error: Floats
    cycle: npt.NDArray[np.int64]
    node: tuple[str, ...]
    genome: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProblemRows:
    """What the table says of one problem.

    Attributes:
        id: hashed, hexadecimal.
        best_evaluation, best_cycle, best_ns: where the best time fell.
    """

    id: str
    kernel: str
    by_status: dict[str, int]
    best_evaluation: tuple[int, ...]
    best_cycle: tuple[int, ...]
    best_ns: tuple[float, ...]
    points: Points


@dataclass(frozen=True, slots=True)
class KernelJoules:
    """Joules of the launches of one kernel.

    Attributes:
        trials: that were ok; metered: of these, by ``source``.
        least_j, mean_j: of the metered ones; None where none is.
    """

    kernel: str
    trials: int
    metered: int
    least_j: float | None
    mean_j: float | None
    source: str


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Answers of the table.

    Attributes:
        rows: None where it could not be read; ``notes`` say why.
    """

    rows: int | None
    problems: tuple[ProblemRows, ...]
    joules: tuple[KernelJoules, ...]
    notes: tuple[str, ...]


NOT_YET = Telemetry(None, (), (), ("the telemetry table is being read",))


class TelemetryReader:
    """Asks the table of one run; one thread at a time."""

    def __init__(self, table: Path) -> None:
        self._path = table
        self._now = TableView(table)
        self._replays: OrderedDict[int, TableView] = OrderedDict()

    def stamp(self) -> str:
        """Changes with every commit: the newest entry of the table's log; "" where there is none."""
        return max((entry.name for entry in (self._path / "_delta_log").glob("[0-9]*.json")), default="")

    def read(self, until: int | None = None) -> Telemetry:
        """What the table says, up to a cycle; what it said before where it cannot be read now."""
        view = self._now if until is None else self._of_cycle(until)
        try:
            view.refresh()
            # What the scan needed goes back to the system.
            pa.default_memory_pool().release_unused()
        except QuasimError as error:
            if view.table is None:
                return Telemetry(None, (), (), (_note(error, self._path),))
            return _telemetry(view, (f"{_note(error, self._path)}; shown is what it held before",))
        return _telemetry(view, ())

    def _of_cycle(self, until: int) -> TableView:
        view = self._replays.pop(until, None) or TableView(self._path, until)
        self._replays[until] = view
        if len(self._replays) > REPLAYS:
            self._replays.popitem(last=False)
        return view


def _note(error: QuasimError, path: Path) -> str:
    return str(error) if path.exists() else "this run has no telemetry table: search and joules of launches need it"


def _telemetry(view: TableView, notes: tuple[str, ...]) -> Telemetry:
    counts, best, points = view.counts(), view.best_so_far(), view.points()
    problems = counts.group_by(["problem_id", "kernel"], use_threads=False).aggregate([])
    return Telemetry(
        rows=pc.sum(counts["rows"]).as_py() or 0,
        problems=tuple(
            _problem(row["problem_id"], row["kernel"], counts, best, points)
            for row in problems.sort_by([("kernel", "ascending"), ("problem_id", "ascending")]).to_pylist()
        ),
        joules=_joules(view.energy().to_pylist()),
        notes=notes,
    )


def _problem(hashed: str, kernel: str, counts: pa.Table, best: pa.Table, points: pa.Table) -> ProblemRows:
    own = pc.field("problem_id") == hashed
    by_status = counts.filter(own).group_by("status", use_threads=False).aggregate([("rows", "sum")])
    fell = best.filter(own)
    return ProblemRows(
        id=hashed,
        kernel=kernel,
        by_status=dict(sorted((row["status"], row["rows_sum"]) for row in by_status.to_pylist())),
        best_evaluation=tuple(fell["evaluation"].to_pylist()),
        best_cycle=tuple(fell["cycle"].to_pylist()),
        best_ns=tuple(fell["time_median_ns"].to_pylist()),
        points=_points(points.filter(own)),
    )


def _points(found: pa.Table) -> Points:
    return Points(
        time_ns=_floats(found["time_median_ns"]),
        energy_j=_floats(found["energy_j"]),
        source=tuple(found["energy_source"].to_pylist()),
        error=_floats(found["error_frobenius"]),
        cycle=found["cycle"].to_numpy().astype(np.int64),
        node=tuple(found["node_id"].to_pylist()),
        genome=tuple(found["genome_id"].to_pylist()),
    )


def _floats(column: pa.ChunkedArray) -> Floats:
    return np.asarray(column.to_numpy(), np.float64)


def _joules(rows: Sequence[dict[str, Any]]) -> tuple[KernelJoules, ...]:
    """One for each kernel, of its best source: joules of unlike sources are never mixed."""
    found = []
    for kernel in sorted({row["kernel"] for row in rows}):
        own = [row for row in rows if row["kernel"] == kernel]
        best = min(own, key=lambda row: WEAKER.index(EnergySource(row["energy_source"])))
        trials = sum(row["trials"] for row in own)
        found.append(
            KernelJoules(kernel, trials, best["metered"], best["least_j"], best["mean_j"], best["energy_source"])
        )
    return tuple(found)
