"""Statistics of repeated timings. Pure: samples in, ``Timing`` and ``Ratio`` out.

Times of a launch are skewed and have outliers, so everything here is medians and order statistics, free of any
assumption about the distribution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import msgspec
import numpy as np

from quasim.trial import Timing, Trial

CONFIDENCE = 0.95

Windows = Sequence[Sequence[int]]
"""Samples in ns, window by window: those of one window were taken back to back."""


class Ratio(msgspec.Struct, frozen=True):
    """How many times as long one variant takes as another, from paired windows.

    Attributes:
        median: median over the rounds of the ratio of the two window medians.
        low, high: 95 % confidence interval of that median (the extremes, with fewer than 6 rounds).
        rounds: how many pairs of windows stand behind it.
    """

    median: float
    low: float
    high: float
    rounds: int


@lru_cache(maxsize=4096)
def interval_ranks(count: int) -> tuple[int, int]:
    """Ranks (from 0, inclusive) of the order statistics of ``count`` samples that enclose the median with 95 %.

    The number of samples below the median is binomial(count, ½), so that [x_(r), x_(n−1−r)] misses it with probability
    2·P(B ≤ r) (Hahn & Meeker 1991, 5.2). No pair reaches 95 % below 6 samples; the extremes are given then.
    """
    if count < 1:
        raise ValueError("an interval needs samples")
    below, rank = 0.0, 0
    allowed = (1 - CONFIDENCE) / 2
    # In logarithms: 2**-count underflows above 1074 samples.
    for r in range((count - 1) // 2 + 1):
        below += math.exp(_log_choose(count, r) - count * math.log(2))
        if below > allowed:
            break
        rank = r
    return rank, count - 1 - rank


def _log_choose(n: int, r: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(r + 1) - math.lgamma(n - r + 1)


def median_interval(samples: Sequence[float]) -> tuple[float, float, float]:
    """(median, low, high): the median and its 95 % confidence interval.

    Raises:
        ValueError: there are no samples.
    """
    ordered = np.sort(np.asarray(samples, dtype=np.float64))
    low, high = interval_ranks(len(ordered))
    return float(np.median(ordered)), float(ordered[low]), float(ordered[high])


def timing(windows: Windows) -> Timing:
    """The timing of one variant.

    Samples of one window share what disturbed it, so with several windows it is their medians that count as
    independent samples; a single window must do with its own.

    Raises:
        ValueError: there are no samples.
    """
    medians = window_medians(windows)
    median, low, high = median_interval(medians if len(medians) > 1 else [float(s) for w in windows for s in w])
    return Timing(median, low, high, sum(len(window) for window in windows))


def window_medians(windows: Windows) -> list[float]:
    """Median of each window that has samples, in ns."""
    return [float(np.median(window)) for window in windows if len(window)]


def paired_ratio(over: Windows, under: Windows) -> Ratio:
    """Time of ``over`` in units of ``under``; window i of both was taken in the same round.

    Raises:
        ValueError: the numbers of windows differ or are 0.
    """
    if len(over) != len(under):
        raise ValueError(f"{len(over)} windows cannot be paired with {len(under)}")
    ratios = [a / b for a, b in zip(window_medians(over), window_medians(under), strict=True)]
    median, low, high = median_interval(ratios)
    return Ratio(median, low, high, len(ratios))


def fastest(trials: Sequence[Trial]) -> Trial | None:
    """The ok trial with the least median time, the earlier one of equals; None where none is ok."""
    timed = [trial for trial in trials if trial.timing is not None]
    return min(timed, key=lambda trial: trial.time_ns) if timed else None
