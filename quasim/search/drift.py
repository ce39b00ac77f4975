"""Whether a device changed, from earlier and newly measured timings of the same genomes. Pure.

A genome *moved* when it went from ok to failed or back, or when the two medians differ by more than ``THRESHOLD`` and
their 95 % intervals do not overlap. The device changed when

1. more than half of the genomes moved, or
2. the incumbent (the fastest before) moved and lost its rank: it fails now, or another of them is faster now by more
   than the threshold, again with disjoint intervals.

One genome that was lucky once, or one noisy window, is neither.
"""

from __future__ import annotations

from collections.abc import Sequence

from quasim.errors import ConfigError
from quasim.measure import fastest
from quasim.trial import Timing, Trial

THRESHOLD = 0.10
"""Least relative difference of two medians that counts: run-to-run noise of a CPU or GPU stays below it."""


def changed(before: Sequence[Trial], after: Sequence[Trial], threshold: float = THRESHOLD) -> bool:
    """Whether the device changed between two measurements of the same genomes, in the same order.

    Args:
        before, after: the earlier and the new trial of each genome; none at all says that nothing changed.
        threshold: relative difference of medians that counts.

    Raises:
        ConfigError: the trials are not of the same genomes, or the threshold is not above 0.
    """
    if [trial.genome for trial in before] != [trial.genome for trial in after]:
        raise ConfigError("the trials to compare are of different genomes", "give one pair for each genome")
    if threshold <= 0:
        raise ConfigError(f"drift threshold {threshold} is not above 0", "give a relative difference such as 0.1")
    moved = [_moved(old, new, threshold) for old, new in zip(before, after, strict=True)]
    return 2 * sum(moved) > len(moved) or _dethroned(before, after, moved, threshold)


def _moved(old: Trial, new: Trial, threshold: float) -> bool:
    if old.timing is None or new.timing is None:
        return (old.timing is None) != (new.timing is None)
    return _faster(old.timing, new.timing, threshold) or _faster(new.timing, old.timing, threshold)


def _faster(one: Timing, other: Timing, threshold: float) -> bool:
    return one.median_ns * (1 + threshold) < other.median_ns and one.high_ns < other.low_ns


def _dethroned(before: Sequence[Trial], after: Sequence[Trial], moved: Sequence[bool], threshold: float) -> bool:
    incumbent = fastest(before)
    if incumbent is None:
        return False
    at = [trial.genome for trial in before].index(incumbent.genome)
    if not moved[at]:
        return False
    now = after[at].timing
    return now is None or any(t.timing is not None and _faster(t.timing, now, threshold) for t in after)
