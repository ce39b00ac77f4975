from __future__ import annotations

import secrets
from collections.abc import Iterator

import numpy as np
import pytest

from aggregation.discrete_gaussian import MAX_SIGMA, _below, discrete_gaussian
from quasim.errors import DataError
from quasim.space import Floats

COUNT = 60_000


def chances(sigma: int, reach: int) -> Floats:
    """Exact probabilities of −reach … reach."""
    x = np.arange(-reach, reach + 1)
    weights = np.exp(-(x**2) / (2 * sigma**2))
    total: Floats = weights / np.exp(-(np.arange(-60 * sigma, 60 * sigma + 1) ** 2) / (2 * sigma**2)).sum()
    return total


@pytest.mark.parametrize("sigma", [1, 2, 3, 7])
def test_samples_have_the_probabilities_of_the_discrete_gaussian(sigma: int) -> None:
    samples = discrete_gaussian(sigma, COUNT, np.random.default_rng(sigma).bytes)
    reach = 3 * sigma
    expected = chances(sigma, reach) * COUNT
    seen = np.bincount(samples[np.abs(samples) <= reach] + reach, minlength=2 * reach + 1)
    deviation = ((seen - expected) ** 2 / expected).sum()
    # χ² with 2·reach + 1 degrees of freedom: mean that, variance twice that; four deviations above it is one in 10^4.
    freedom = 2 * reach + 1
    assert deviation < freedom + 4 * np.sqrt(2 * freedom)
    assert np.abs(samples).max() > reach


@pytest.mark.parametrize("sigma", [1, 50, 12_345, MAX_SIGMA])
def test_moments_are_right_at_every_scale(sigma: int) -> None:
    samples = discrete_gaussian(sigma, COUNT, np.random.default_rng(9).bytes) / sigma
    assert abs(samples.mean()) < 5 / np.sqrt(COUNT)
    assert abs((samples**2).mean() - 1) < 5 * np.sqrt(2 / COUNT)
    assert abs((samples**4).mean() - 3) < 5 * np.sqrt(96 / COUNT)


def test_equal_entropy_gives_equal_samples() -> None:
    first, again = (discrete_gaussian(5, 1000, np.random.default_rng(4).bytes) for _ in range(2))
    other = discrete_gaussian(5, 1000, np.random.default_rng(5).bytes)
    assert (first == again).all()
    assert (first != other).any()


def test_entropy_of_the_system_will_do_and_nothing_is_a_number() -> None:
    assert discrete_gaussian(3, 10, secrets.token_bytes).shape == (10,)
    assert discrete_gaussian(3, 0, secrets.token_bytes).shape == (0,)


@pytest.mark.parametrize("sigma", [0, -1, MAX_SIGMA + 1])
def test_a_sigma_that_would_not_be_exact_is_refused(sigma: int) -> None:
    with pytest.raises(DataError, match="sigma"):
        discrete_gaussian(sigma, 1, secrets.token_bytes)


def words(*values: int) -> Iterator[bytes]:
    return (value.to_bytes(8, "little") for value in values)


def test_words_that_would_favour_small_integers_are_drawn_again() -> None:
    # 2^64 = 3·k + 1: the last word has no full row of three to be in.
    source = words(2**64 - 1, 5)
    assert _below(np.array([3], dtype=np.uint64), lambda _: next(source)).tolist() == [2]
    source = words(2**64 - 2)
    assert _below(np.array([3], dtype=np.uint64), lambda _: next(source)).tolist() == [(2**64 - 2) % 3]
    source = words(2**64 - 1)
    assert _below(np.array([4], dtype=np.uint64), lambda _: next(source)).tolist() == [3]
