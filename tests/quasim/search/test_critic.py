from __future__ import annotations

import numpy as np
import pytest

from quasim.search.critic import LIKENESS, MEMORY, NOISE, PRIOR_SLOPE, Critic
from quasim.space import Kind, Parameter, SearchSpace

SPACE = SearchSpace((Parameter("a", tuple(range(5))), Parameter("k", ("x", "y", "z"), Kind.CATEGORICAL)))
ALL = np.arange(SPACE.size)


def distance(one: int, other: int) -> float:
    (a, k), (b, j) = SPACE.rows[one], SPACE.rows[other]
    return float(0.5 * (a != b) + abs(a - b) / 4 + (k != j))


def test_knows_nothing_at_first() -> None:
    mean, deviation = Critic(SPACE).judge(ALL)
    assert mean.tolist() == [0.0] * SPACE.size
    assert deviation.tolist() == [1.0] * SPACE.size


def test_is_the_gaussian_process_of_its_documented_kernel() -> None:
    told, advantages = np.array([0, 7, 14]), np.array([1.0, -1.0, 0.5])
    critic = Critic(SPACE)
    critic.fit(told, advantages)
    kernel = LIKENESS ** np.array([[distance(i, j) for j in range(SPACE.size)] for i in range(SPACE.size)])
    inverse = np.linalg.inv(kernel[np.ix_(told, told)] + NOISE * np.eye(3))
    mean, deviation = critic.judge(ALL)
    assert mean == pytest.approx(kernel[:, told] @ inverse @ advantages)
    assert deviation**2 == pytest.approx(1 - np.einsum("ij,jk,ik->i", kernel[:, told], inverse, kernel[:, told]))


def test_is_surer_and_nearer_the_truth_where_it_was_told() -> None:
    critic = Critic(SPACE)
    critic.fit(np.array([0, 14]), np.array([2.0, -2.0]))
    mean, deviation = critic.judge(ALL)
    assert mean.argmax() == 0
    assert mean.argmin() == 14
    assert deviation[[0, 14]].max() < np.delete(deviation, [0, 14]).min()


def test_believes_a_prior_until_it_was_wrong() -> None:
    critic = Critic(SPACE)
    scores = np.linspace(-1, 0, SPACE.size)
    critic.expect(scores, np.ones(SPACE.size))
    critic.fit(ALL[:0], np.zeros(0))
    believed, _ = critic.judge(ALL)
    assert believed[-1] - believed[0] == pytest.approx(PRIOR_SLOPE)
    critic.fit(ALL, np.linspace(1, -1, SPACE.size))
    corrected, _ = critic.judge(ALL)
    assert corrected[0] > corrected[-1]


def test_cells_nobody_knows_count_as_average() -> None:
    critic = Critic(SPACE)
    weight = (ALL < 2).astype(float)
    critic.expect(np.where(ALL == 0, 0.0, -1.0) * weight, weight)
    mean, _ = critic.judge(ALL)
    assert mean[0] > mean[5] == 0.0 > mean[1]


def test_oldest_trials_are_dropped_beyond_its_memory() -> None:
    space = SearchSpace((Parameter("a", tuple(range(MEMORY + 10))),))
    whole, latest = Critic(space), Critic(space)
    cells, advantages = np.arange(space.size), np.sin(np.arange(space.size))
    whole.fit(cells, advantages)
    latest.fit(cells[10:], advantages[10:])
    assert whole.judge(cells)[0] == pytest.approx(latest.judge(cells)[0])
