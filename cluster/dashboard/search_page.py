"""The page of the search: best so far, time against energy against error, and which parameters matter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cluster.dashboard.importance import explained
from cluster.dashboard.names import DIGITS, WHY_UNNAMED, Names
from cluster.dashboard.telemetry import Points, ProblemRows, Telemetry
from cluster.dashboard.views import Axis, BestSoFar, Cell, Cloud, ProblemSearch, SearchView
from quasim.search.pareto import dominated
from quasim.space import Floats
from quasim.trial import Genome


def search_view(telemetry: Telemetry, names: Names, until: int | None = None) -> SearchView:
    """What a table, read up to cycle ``until``, says of each problem."""
    return SearchView(
        problems=tuple(_problem(rows, names) for rows in telemetry.problems),
        rows=telemetry.rows,
        why_unnamed=names.text("" if names.known else WHY_UNNAMED),
        until=until,
        notes=names.texts(telemetry.notes),
    )


def _problem(rows: ProblemRows, names: Names) -> ProblemSearch:
    points = rows.points
    return ProblemSearch(
        id=rows.id[:DIGITS],
        name=names.of_problem(rows.id, rows.kernel),
        kernel=rows.kernel,
        trials=sum(rows.by_status.values()),
        by_status=rows.by_status,
        best=BestSoFar(rows.best_evaluation, rows.best_cycle, rows.best_ns),
        cloud=_cloud(points, names),
        cloud_of=rows.by_status.get("ok", 0),
        axes=_axes(points, [names.genome(genome) for genome in points.genome]) if names.known else (),
    )


def _cloud(points: Points, names: Names) -> Cloud:
    return Cloud(
        time_ns=tuple(points.time_ns.tolist()),
        energy_j=_known(points.energy_j),
        source=points.source,
        error=_known(points.error),
        cycle=tuple(points.cycle.tolist()),
        node=tuple(map(names.of, points.node)),
        genome=tuple(map(names.of, points.genome)),
        # By values: intervals stay in the table.
        front=tuple((~beaten(np.column_stack([points.time_ns, points.energy_j, points.error]))).tolist()),
    )


def _known(column: Floats) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(value) else value for value in column.tolist())


def beaten(values: Floats) -> npt.NDArray[np.bool_]:
    """Which points another one dominates, as ``dominated`` says; quicker where few are not.

    Whoever is likely to be good throws out what it dominates before that is compared with anybody else. Dominance is
    transitive, so that those left over hold the front.

    Args:
        values: shape (n, objectives); NaN: not known.
    """
    rest = np.argsort(np.argsort(values, axis=0).argsort(axis=0).sum(axis=1))
    kept = []
    while len(rest):
        first, rest = rest[0], rest[1:]
        no_worse = ((values[first] <= values[rest]) | np.isnan(values[rest])).all(axis=1)
        rest = rest[~(no_worse & (values[first] < values[rest]).any(axis=1))]
        kept.append(first)
    lost = np.ones(len(values), dtype=bool)
    lost[kept] = dominated(values[kept], values[kept])
    return lost


def _axes(points: Points, genomes: Sequence[Genome | None]) -> tuple[Axis, ...]:
    """One for each parameter that any genome has, that which explains most first."""
    parameters = dict.fromkeys(name for genome in genomes if genome for name in genome)
    log_times = np.log(points.time_ns)
    found = []
    for name in parameters:
        values = tuple(genome.get(name) if genome else None for genome in genomes)
        found.append(Axis(name, values, explained(log_times, _codes(values))))
    return tuple(sorted(found, key=lambda axis: -(axis.share or 0.0)))


def _codes(values: Sequence[Cell | None]) -> npt.NDArray[np.int64]:
    """A number for each value; None is a value of its own. 1 and True are two."""
    codes = {value: code for code, value in enumerate(dict.fromkeys((type(value), value) for value in values))}
    return np.array([codes[type(value), value] for value in values], dtype=np.int64)
