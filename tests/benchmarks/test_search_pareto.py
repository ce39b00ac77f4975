from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from benchmarks.search_pareto import logs, rows_of, volume
from quasim.space import Parameter, SearchSpace
from quasim.targets.replay import write_t4
from quasim.trial import EnergySource, Genome, Problem, Status, Timing, Trial

PROBLEM = Problem.of("bowl", n=1)
SPACE = SearchSpace((Parameter("a", (1, 2, 4, 8)), Parameter("b", (1, 2, 3))))


def tried(genome: Genome) -> Trial:
    """Fast and wrong with a large a, frugal with a large b; only half of the trials were metered."""
    a, b = genome.integer("a"), genome.integer("b")
    trial = Trial(
        problem=PROBLEM,
        target="bowl",
        genome=genome,
        status=Status.OK,
        timing=Timing(1000.0 * b / a, 1000.0 * b / a, 1000.0 * b / a, 5),
        error_frobenius=1e-8 * a,
        error_componentwise=1e-8 * a,
    )
    if a < 4:
        return trial
    return msgspec.structs.replace(trial, energy_j=1.0 / b, energy_source=EnergySource.COUNTER)


TRIALS = [tried(SPACE.genome_at(cell)) for cell in range(SPACE.size)]


def test_a_search_of_everything_finds_the_whole_front(tmp_path: Path) -> None:
    path = tmp_path / "bowl.t4.json.gz"
    write_t4(path, "bowl", PROBLEM, TRIALS, SPACE)
    rows = rows_of(path, ["pareto", "random"], seeds=2)
    assert [(row["objectives"], row["recorded"]) for row in rows[:2]] == [
        ("time, error", 12),
        ("time, energy, error", 6),
    ]
    assert [row["share"] for row in rows] == pytest.approx([1.0] * 4)


def test_volume_is_that_of_the_box_below_the_worst() -> None:
    best, worst = np.zeros(2), np.array([2.0, 4.0])
    assert volume(np.array([[0.0, 0.0]]), best, worst) == pytest.approx(1.0, rel=1e-6)
    assert volume(np.array([[1.0, 1.0]]), best, worst) == pytest.approx(0.5 * 0.75, rel=1e-6)
    assert volume(np.array([[1.0, 0.0], [0.0, 2.0]]), best, worst) == pytest.approx(0.75, rel=1e-6)


def test_trials_that_do_not_know_all_objectives_are_left_out() -> None:
    assert logs(TRIALS, (0, 1, 2)).shape == (6, 3)
    assert logs(TRIALS, (0, 2)).shape == (12, 2)
