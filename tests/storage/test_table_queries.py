from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.table import NODES, synthetic_segment
from quasim.errors import StorageError
from storage.batches import Evaluation, encode, owner_batch
from storage.files import make_folder
from storage.segments import SegmentStore
from storage.table import TelemetryTable
from storage.table_digest import records
from storage.table_queries import TableView
from storage.table_reader import ask, open_table
from tests.storage.samples import IDS, key, trial

SEGMENTS = 3
BATCHES = NODES
ROWS = 20


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three commits of SYNTHETIC rows, one file each."""
    folder = tmp_path_factory.mktemp("run")
    grow(folder, *range(SEGMENTS))
    return folder


def grow(folder: Path, *segments: int) -> None:
    telemetry = make_folder(folder / "telemetry")
    with TelemetryTable(folder / "table") as table:
        for number in segments:
            synthetic_segment(telemetry, number, BATCHES, ROWS)
            table.commit(telemetry)


def view(folder: Path, until_cycle: int | None = None, limit: int = 5000) -> TableView:
    made = TableView(folder / "table", until_cycle, limit)
    assert made.refresh()
    return made


def asked(folder: Path, sql: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = ask(open_table(folder / "table"), sql).read_all().to_pylist()
    return found


def answers(one: TableView) -> list[pa.Table]:
    """All of them; a mean less its last digits, which depend on the order in which files are summed."""
    joules = one.energy()
    mean_j = pa.compute.round(joules["mean_j"], 9)
    joules = joules.drop_columns(["mean_j"]).append_column("mean_j", mean_j)
    return [one.counts(), one.best_so_far(), one.points(), joules]


def test_counts_are_those_of_sql(run: Path) -> None:
    ids = "encode(node_id, 'hex') AS node_id, encode(problem_id, 'hex') AS problem_id"
    by = f"{ids}, kernel, target, device_family, status"
    expected = asked(run, f"SELECT {by}, count(*) AS rows FROM telemetry GROUP BY ALL ORDER BY 1, 2, 3, 4, 5, 6")
    assert view(run).counts().to_pylist() == expected


def test_joules_are_those_of_sql(run: Path) -> None:
    expected = asked(
        run,
        "SELECT kernel, energy_source, count(*) AS trials, count(energy_j) AS metered, min(energy_j) AS least_j, "
        "avg(energy_j) AS mean_j FROM telemetry WHERE status = 'ok' GROUP BY kernel, energy_source ORDER BY 1, 2",
    )
    found = view(run).energy().to_pylist()
    assert [list(row.values())[:5] for row in found] == [list(row.values())[:5] for row in expected]
    for row, other in zip(found, expected, strict=True):
        assert row["mean_j"] == (other["mean_j"] and pytest.approx(other["mean_j"]))
    assert {row["least_j"] is None for row in found} == {True, False}


def test_best_so_far_falls_where_a_running_minimum_does(run: Path) -> None:
    found = view(run).best_so_far().to_pylist()
    times = asked(
        run,
        "SELECT encode(problem_id, 'hex') AS problem, evaluation, time_median_ns AS ns FROM telemetry "
        "WHERE status = 'ok' ORDER BY 1, 2, 3",
    )
    expected: list[tuple[object, object, object]] = []
    for row in times:
        problem, ns = row["problem"], row["ns"]
        last = expected[-1] if expected and expected[-1][0] == problem else None
        if last is None or ns < last[2]:  # type: ignore[operator]
            expected.append((problem, row["evaluation"], ns))
    assert [(r["problem_id"], r["evaluation"], r["time_median_ns"]) for r in found] == expected
    assert len(expected) > 8


def test_of_trials_with_the_same_number_the_fastest_counts() -> None:
    rows = pa.table({"problem_id": [b"a"] * 4, "evaluation": [1, 0, 0, 1], "time_median_ns": [3.0, 5.0, 4.0, 2.0]})
    assert records(rows)["time_median_ns"].to_pylist() == [4.0, 2.0]


def test_a_sample_is_bounded_and_holds_the_best_of_each_problem(run: Path) -> None:
    points = view(run, limit=400).points()
    assert 200 < points.num_rows <= 400
    assert set(points["kernel"].to_pylist()) == {"matmul", "softmax", "stencil2d", "statevector"}
    best = asked(
        run,
        "SELECT kernel, min(time_median_ns) AS ns, min(energy_j) AS j, min(error_frobenius) AS error "
        "FROM telemetry WHERE status = 'ok' GROUP BY kernel",
    )
    for row in best:
        own = points.filter(pa.compute.field("kernel") == row["kernel"])
        found = [
            min(v for v in own[n].to_pylist() if v is not None)
            for n in ("time_median_ns", "energy_j", "error_frobenius")
        ]
        assert found == [row["ns"], row["j"], row["error"]]


def test_a_sample_is_fair_to_nodes(run: Path) -> None:
    nodes = view(run, limit=2000).points()["node_id"].to_pylist()
    assert len(set(nodes)) == NODES
    shares = np.unique(nodes, return_counts=True)[1]
    assert shares.max() < 3 * shares.mean()


def test_a_small_table_is_its_own_sample(run: Path) -> None:
    [ok] = asked(run, "SELECT count(*) AS n FROM telemetry WHERE status = 'ok'")
    assert view(run, limit=10 * BATCHES * ROWS * SEGMENTS).points().num_rows == ok["n"]


def test_answers_that_were_kept_up_to_date_are_those_of_a_fresh_look(tmp_path: Path) -> None:
    grow(tmp_path, 0)
    kept = view(tmp_path, limit=300)
    for number in range(1, SEGMENTS):
        grow(tmp_path, number)
        assert kept.refresh()
        assert not kept.refresh()
    assert answers(kept) == answers(view(tmp_path, limit=300))


def test_merging_files_changes_no_answer(tmp_path: Path) -> None:
    grow(tmp_path, *range(SEGMENTS))
    kept = view(tmp_path, limit=300)
    before = answers(kept)
    with TelemetryTable(tmp_path / "table") as table:
        table.tidy()
        assert table.snapshot().files == 1
    assert kept.refresh()
    assert answers(kept) == before


def test_a_replay_sees_what_was_there_then(tmp_path: Path) -> None:
    times = {0: 90.0, 1: 70.0, 2: 80.0}
    for folder in (tmp_path / "all", tmp_path / "early"):
        with SegmentStore(folder / "telemetry") as store:
            for cycle, time_ns in times.items():
                made = [Evaluation(trial(time_ns=time_ns), cycle, cycle), Evaluation(trial(time_ns=None), cycle, cycle)]
                if cycle < 2 or folder.name == "all":
                    store.append([encode(owner_batch(key(cycle), "cpu", made, IDS.id))])
        with TelemetryTable(folder / "table", tidy_at=2) as table:  # one file, cycles within it
            table.commit(folder / "telemetry")
    then, nothing = view(tmp_path / "all", until_cycle=1), view(tmp_path / "all", until_cycle=-1)
    assert answers(then) == answers(view(tmp_path / "early")) != answers(view(tmp_path / "all"))
    assert [one.num_rows for one in answers(nothing)] == [0, 0, 0, 0]
    assert nothing.table == then.table
    assert nothing.table is not None
    assert nothing.table.rows == 6


def test_a_table_without_rows_gives_empty_answers(tmp_path: Path) -> None:
    TelemetryTable(tmp_path / "table").close()
    assert [one.num_rows for one in answers(view(tmp_path))] == [0, 0, 0, 0]


def test_a_missing_table_is_said_and_what_was_known_stays(tmp_path: Path) -> None:
    waiting = TableView(tmp_path / "table")
    with pytest.raises(StorageError, match="no telemetry table"):
        waiting.refresh()
    assert waiting.table is None
    grow(tmp_path, 0)
    assert waiting.refresh()
    rows = waiting.counts().num_rows
    (tmp_path / "table").rename(tmp_path / "away")
    with pytest.raises(StorageError):
        waiting.refresh()
    assert waiting.counts().num_rows == rows > 0
