from __future__ import annotations

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.search import bars, cold, measure, row, summaries
from benchmarks.search_spaces import CAP, Recorded, Run, geometric_mean, recordings, search
from quasim.errors import ConfigError
from quasim.search import strategy
from tests.conftest import ROOT


def made(*slowdowns: float) -> Run:
    return Run(np.array(slowdowns), np.array([2.0] * len(slowdowns)))


def test_evaluations_count_from_one_failed_ones_too_and_end_at_the_cap() -> None:
    found = made(np.inf, 1.2, 1.04, 1.0)
    assert [found.within(goal) for goal in (0.3, 0.05, 0.01)] == [2, 3, 4]
    assert made(np.inf, 1.2).within(0.1) == CAP
    assert made(*[1.5] * CAP, 1.0).within(0.1) == CAP


def test_quality_is_optimum_by_best_and_0_while_nothing_worked() -> None:
    found = made(np.inf, 2.0, 4.0, 1.25)
    assert [found.quality(count) for count in (1, 2, 3, 4, 200)] == [0, 0.5, 0.5, 0.8, 0.8]


def test_rows_give_medians_of_evaluations_and_means_of_quality() -> None:
    figures = row("cold", "random", "k__a", [made(1.05), made(2.0, 1.05), made(2.0, 2.0, 2.0, 1.05)])
    assert figures["within 10%"] == 2
    assert figures["within 1%"] == CAP
    assert figures["f@1"] == pytest.approx((1 / 1.05 + 0.5 + 0.5) / 3)
    assert figures["ask ms"] == 2.0


def test_summaries_are_geometric_means_of_each_kernel_and_of_all() -> None:
    spaces = {"k__a": 2, "k__b": 8, "l__a": 32}
    rows = [row("cold", "random", name, [made(*[2.0] * (at - 1), 1.0)]) for name, at in spaces.items()]
    found = {str(r["space"]): r["within 1%"] for r in summaries(rows)}
    assert found == pytest.approx({"k (mean)": 4, "l (mean)": 32, "all spaces (mean)": 8})
    assert geometric_mean([0.0, 2.0]) == 0


def test_bars_hold_the_geometric_means() -> None:
    [*_, overall] = summaries([row("cold", "portfolio", "k__a", [made(1.0)])])
    assert all(bar.ok for bar in bars("cold", overall))
    [*_, overall] = summaries([row("cold", "portfolio", "k__a", [made(2.0)])])
    assert [bar.ok for bar in bars("cold", overall)] == [False] * 8 + [True]


def test_search_asks_one_at_a_time_until_the_end_of_the_space(recorded_space: Path) -> None:
    recorded = Recorded.read(recorded_space)
    found = search(recorded, strategy("random", recorded.space, 1), count=10**6)
    assert len(found.slowdowns) == len(found.ask_ms) == recorded.space.size
    assert found.slowdowns.min() == 1.0


def test_runs_repeat_by_seed_and_differ_between_seeds(recorded_space: Path) -> None:
    one, other = cold(recorded_space, "random", 2), cold(recorded_space, "random", 2)
    assert [run.slowdowns.tolist() for run in one] == [run.slowdowns.tolist() for run in other]
    assert one[0].slowdowns.tolist() != one[1].slowdowns.tolist()


def test_several_processes_find_the_same(recorded_space: Path, slower_space: Path) -> None:
    spaces = ["--spaces", str(recorded_space), str(slower_space), "--strategy", "random", "--seeds", "1", "--json"]
    documents = [
        subprocess.run(
            [sys.executable, "-m", "benchmarks.search", *spaces, "--jobs", jobs],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=False,
        ).stdout
        for jobs in ("1", "2")
    ]
    one, several = (json.loads(document)["rows"] for document in documents)
    assert [_timeless(row) for row in one] == [_timeless(row) for row in several]
    assert len(one) == 5


def _timeless(row: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in row.items() if not name.endswith("ask ms")}


def test_measure_has_a_row_a_space_and_the_means(recorded_space: Path) -> None:
    given = Namespace(spaces=[recorded_space], mode="cold", seeds=1, strategy="random", peer=None, jobs=1)
    rows, _ = measure(given)
    assert len(rows) == 3
    assert rows[-1]["space"] == "all spaces (mean)"


def test_recordings_are_files_and_those_of_folders(tmp_path: Path) -> None:
    (tmp_path / "a.json").touch()
    (tmp_path / "b.json.gz").touch()
    assert [path.name for path in recordings([tmp_path, tmp_path / "a.json"])] == ["a.json", "b.json.gz", "a.json"]
    with pytest.raises(ConfigError, match="no recordings"):
        recordings([tmp_path / "missing"])
