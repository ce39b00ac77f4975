from __future__ import annotations

import numpy as np
import pytest

from cluster.dashboard.importance import explained

RANDOM = np.random.default_rng(7)


def test_a_parameter_that_decides_explains_all_and_one_of_no_influence_nothing() -> None:
    values = RANDOM.integers(4, size=4000)
    assert explained(1.5 * values.astype(np.float64), values) == pytest.approx(1.0)
    share = explained(RANDOM.normal(size=4000), values)
    assert share is not None
    assert share < 0.01


def test_the_share_is_that_of_the_variance() -> None:
    values = RANDOM.integers(2, size=100_000)
    share = explained(values * 2.0 + RANDOM.normal(size=100_000), values)
    assert share == pytest.approx(0.5, abs=0.01)


def test_many_values_without_influence_are_not_mistaken_for_it() -> None:
    values = RANDOM.permutation(np.repeat(np.arange(100), 2))
    shares = [explained(RANDOM.normal(size=200), values) or 0.0 for _ in range(50)]
    assert np.mean(shares) < 0.1


def test_what_cannot_be_told_is_none() -> None:
    same, each = np.zeros(5, np.int64), np.arange(5)
    times = np.arange(5.0)
    assert explained(times, same) is None
    assert explained(times, each) is None
    assert explained(np.ones(5), np.array([0, 0, 1, 1, 1])) is None
    assert explained(np.zeros(0), np.zeros(0, np.int64)) is None
