"""Several objectives: the front over time, energy and error, its hypervolume, and what a point would add to that.

One trial dominates another where, in every objective that the other knows, it is known to be no worse: the upper end of
its 95 % interval is at or below the other's lower end, in one of them below it. So intervals that overlap decide
nothing; joules that nobody metered neither dominate nor help against being dominated; and dominance is transitive,
so that every trial off the front is dominated by one on it. ``quasim.energy.objective.ranked``
chooses on it by one number.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from quasim.space import Floats
from quasim.trial import Trial

OBJECTIVES = ("time", "energy", "error")
"""Columns of whatever has one per objective: ns, joules, and the relative Frobenius error."""

BLOCK = 256
"""Trials held against all others at a time: bounds memory."""


def measured(trials: Sequence[Trial]) -> tuple[Floats, Floats, Floats]:
    """Value, lower and upper end of the 95 % interval of each objective, each of shape (trials, 3); NaN: not known.

    An interval that was not measured is as narrow as its value.
    """
    rows = [_measured(trial) for trial in trials]
    values = np.array(rows, dtype=np.float64).reshape(len(rows), 3, 3)
    return values[:, :, 0], values[:, :, 1], values[:, :, 2]


def _measured(trial: Trial) -> list[tuple[float | None, float | None, float | None]]:
    timing, joules, error = trial.timing, trial.energy_j, trial.error_frobenius
    low_j = joules if trial.energy_low_j is None else trial.energy_low_j
    high_j = joules if trial.energy_high_j is None else trial.energy_high_j
    times = (None, None, None) if timing is None else (timing.median_ns, timing.low_ns, timing.high_ns)
    return [times, (joules, low_j, high_j), (error, error, error)]


def dominated(low: Floats, high: Floats) -> npt.NDArray[np.bool_]:
    """Which of the points are dominated by another, shape (n,).

    Args:
        low, high: ends of the intervals, shape (n, objectives); NaN: not known.
    """
    lost = np.zeros(len(low), dtype=bool)
    unknown = np.isnan(low)
    for at in range(0, len(low), BLOCK):
        top = high[at : at + BLOCK, None]
        no_worse = ((top <= low) | unknown).all(axis=2)
        lost |= (no_worse & (top < low).any(axis=2)).any(axis=0)
    return lost


def front(trials: Sequence[Trial]) -> tuple[Trial, ...]:
    """The ok trials that none dominates, fastest first."""
    worked = [trial for trial in trials if trial.timing is not None]
    _, low, high = measured(worked)
    kept = [trial for trial, lost in zip(worked, dominated(low, high), strict=True) if not lost]
    return tuple(sorted(kept, key=lambda trial: trial.time_ns))


def hypervolume(points: Floats, reference: Floats) -> float:
    """Volume between points (n, 3), all to be minimised, and a reference that bounds it above; exact.

    Slabs along the last axis, each the area of a staircase (as Fonseca et al. 2006 for three objectives, without the
    balanced tree: n² log n). Points that do not beat the reference in every objective, or are not known in one, add
    nothing.
    """
    points = points[(points < reference).all(axis=1)]
    points = points[np.argsort(points[:, 2], kind="stable")]
    tops = np.append(points[1:, 2], reference[2])
    slabs = tops - points[:, 2]
    return float(sum(slab * _area(points[: at + 1, :2], reference[:2]) for at, slab in enumerate(slabs) if slab > 0))


def gains(points: Floats, known: Floats, reference: Floats) -> Floats:
    """Volume that each point alone would add to what known ones dominate below a reference; exact.

    Slabs along the last axis, in each of them strips below the staircase of the known points that reach into it.

    Args:
        points: shape (n, 3), all to be minimised.
        known: shape (m, 3).
        reference: shape (3,).

    Returns:
        Shape (n,); 0 of a point that a known one dominates.
    """
    known = known[(known < reference).all(axis=1)]
    known = known[~dominated(known, known)]
    known = known[np.argsort(known[:, 2], kind="stable")]
    gained = np.zeros(len(points))
    open_to = (points < reference).all(axis=1) & ~(known[:, None] <= points).all(axis=2).any(axis=0)
    points = points[open_to]
    bottoms, tops = np.insert(known[:, 2], 0, -np.inf), np.append(known[:, 2], reference[2])
    for at, (bottom, top) in enumerate(zip(bottoms, tops, strict=True)):
        if top > bottom:
            heights = np.maximum(top - np.maximum(bottom, points[:, 2]), 0.0)
            gained[open_to] += heights * _open_areas(points, known[:at], reference)
    return gained


def _open_areas(points: Floats, known: Floats, reference: Floats) -> Floats:
    """Of the first two columns: area above each point (n, 3) and below the reference that no known one dominates."""
    known = known[np.argsort(known[:, 0], kind="stable")]
    starts, ends = np.insert(known[:, 0], 0, -np.inf), np.append(known[:, 0], reference[0])
    ceilings = np.minimum.accumulate(np.insert(known[:, 1], 0, reference[1]))
    areas = np.zeros(len(points))
    for start, end, ceiling in zip(starts, ends, ceilings, strict=True):
        widths = np.maximum(end - np.maximum(start, points[:, 0]), 0.0)
        areas += widths * np.maximum(ceiling - points[:, 1], 0.0)
    return areas


def _area(points: Floats, reference: Floats) -> float:
    """Area between points (n, 2) and a reference above them all."""
    points = points[np.argsort(points[:, 0], kind="stable")]
    floor = np.minimum.accumulate(points[:, 1])
    widths = np.append(points[1:, 0], reference[0]) - points[:, 0]
    return float(widths @ (reference[1] - floor))
