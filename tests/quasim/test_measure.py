from __future__ import annotations

from math import comb

import numpy as np
import pytest

from quasim.measure import fastest, interval_ranks, median_interval, paired_ratio, timing
from quasim.trial import Genome, Problem, Status, Timing, Trial


def _coverage(count: int, rank: int) -> float:
    return 1.0 - 2.0 * sum(comb(count, r) for r in range(rank + 1)) / float(2**count)


@pytest.mark.parametrize(("count", "rank"), [(6, 0), (8, 0), (9, 1), (10, 1), (20, 5), (25, 7), (100, 39)])
def test_ranks_are_those_of_published_tables(count: int, rank: int) -> None:
    assert interval_ranks(count) == (rank, count - 1 - rank)


@pytest.mark.parametrize("count", [6, 7, 12, 33, 101])
def test_interval_is_the_narrowest_that_covers_95_percent(count: int) -> None:
    rank, _ = interval_ranks(count)
    assert _coverage(count, rank) >= 0.95
    assert _coverage(count, rank + 1) < 0.95


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_samples_give_their_extremes(count: int) -> None:
    assert interval_ranks(count) == (0, count - 1)


def test_thousands_of_samples_do_not_underflow() -> None:
    low, high = interval_ranks(5000)
    assert low + high == 4999
    # Normal approximation: n/2 − 1.96·√n/2, which is 2430.7 here.
    assert abs(low - 2430) <= 1


def test_interval_covers_the_true_median_of_skewed_samples_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    draws = rng.exponential(size=(2000, 15))
    hits = sum(low <= np.log(2) <= high for _, low, high in map(median_interval, draws.tolist()))
    assert 0.94 <= hits / 2000 <= 0.99  # 15 samples: 96.5 % exactly


def test_no_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="samples"):
        median_interval([])


def test_one_window_counts_its_samples_and_several_their_medians() -> None:
    assert timing([[5, 1, 3]]) == Timing(3.0, 1.0, 5.0, 3)
    assert timing([[1, 2, 9], [4, 4, 4], [6, 6, 100]]) == Timing(4.0, 2.0, 6.0, 9)


def test_paired_ratio_cancels_what_disturbs_both() -> None:
    slow, fast = [[200], [400], [100]], [[100], [200], [50]]
    ratio = paired_ratio(slow, fast)
    assert (ratio.median, ratio.low, ratio.high, ratio.rounds) == (2.0, 2.0, 2.0, 3)


def test_windows_that_do_not_pair_are_refused() -> None:
    with pytest.raises(ValueError, match="paired"):
        paired_ratio([[1]], [[1], [2]])


def _trial(tile: int, time_ns: float | None) -> Trial:
    status = Status.CRASHED if time_ns is None else Status.OK
    timed = None if time_ns is None else Timing(time_ns, time_ns, time_ns, 1)
    return Trial(problem=Problem.of("p"), target="t", genome=Genome({"tile": tile}), status=status, timing=timed)


def test_fastest_ignores_failures_and_keeps_the_earlier_of_equals() -> None:
    trials = [_trial(1, None), _trial(2, 5.0), _trial(3, 5.0), _trial(4, 7.0)]
    assert fastest(trials) is trials[1]
    assert fastest([_trial(1, None)]) is None
