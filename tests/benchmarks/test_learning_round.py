from __future__ import annotations

import numpy as np
import pytest

from benchmarks.learning_round import PARTS, Fleet, round_bar, round_rows
from benchmarks.search_refit import CELLS, FAILED
from quasim.policy import Policy


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    return Fleet(FAILED, nodes=3)


def _policy(fleet: Fleet) -> Policy:
    assert fleet.policy is not None
    return fleet.policy


def test_nodes_that_measured_few_cells_make_a_policy_of_all(fleet: Fleet) -> None:
    (part,) = _policy(fleet).parts
    assert part.topic.cells == CELLS
    assert np.count_nonzero(part.weights) > CELLS / 2
    assert len(part.candidates) > 0
    assert part.feasibles.min() < 0.5 < part.feasibles.max()


def test_every_round_costs_time_and_follows_the_policy_before(fleet: Fleet) -> None:
    before = _policy(fleet)
    spent_s = fleet.round_s()
    assert spent_s.shape == (len(PARTS),)
    assert (spent_s > 0).all()
    assert _policy(fleet).parent == before.digest


def test_each_part_and_the_whole_have_a_row_without_and_with_failed_trials() -> None:
    rows = list(round_rows(rounds=1, nodes=2))
    assert [(row["failed trials"], row["part"]) for row in rows] == [
        (failing, part) for failing in (0.0, FAILED) for part in (*PARTS, "all")
    ]
    for whole, *parts in (rows[4::-1], rows[:4:-1]):
        assert whole["median CPU s"] == pytest.approx(sum(float(part["median CPU s"] or 0) for part in parts))


def test_bar_holds_the_median_to_one_second() -> None:
    row = next(round_rows(rounds=1, nodes=2))
    assert round_bar(row).value == row["median CPU s"]
    assert round_bar({**row, "median CPU s": 1.0}).ok
    assert not round_bar({**row, "median CPU s": 1.01}).ok
