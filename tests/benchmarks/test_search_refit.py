from __future__ import annotations

from benchmarks.search_refit import CELLS, FAILED, SPACE, refit_bar, refit_rows


def test_space_has_as_many_configurations_as_are_claimed() -> None:
    assert SPACE.size == CELLS


def test_every_kind_of_refit_has_a_row_without_and_with_failed_trials() -> None:
    rows = list(refit_rows(count=2))
    assert [row["failed trials"] for row in rows] == [0.0] * 3 + [FAILED] * 3
    for row in rows:
        fastest, median, slowest = (float(row[f"{which} CPU ms"] or 0) for which in ("fastest", "median", "slowest"))
        assert 0 < fastest <= median <= slowest


def test_bar_holds_the_median_to_fifty_milliseconds() -> None:
    row = next(refit_rows(count=1))
    assert refit_bar(row).value == row["median CPU ms"]
    assert refit_bar({**row, "median CPU ms": 50.0}).ok
    assert not refit_bar({**row, "median CPU ms": 50.1}).ok
