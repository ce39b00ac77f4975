"""From samples and progress to joules per operation. Pure: no clock, no device.

A counter changes once a tick (100 ms on an H100), so that a difference taken at any other moment is off by up to a
tick's energy. Windows therefore begin and end where the counter was seen to change, and operations are interpolated to
those moments. Whatever casts doubt on a window voids it: no figure is better than an invented one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from quasim.meters._base import VOIDING, ClockEvent, Recording, Sample
from quasim.meters.energy import Energy
from quasim.trial import EnergySource

Progress = Sequence[tuple[int, float]]
"""(monotonic ns, operations finished by then), in order of time; the rate between two marks is taken as constant."""

MIN_WINDOW_NS = 2_000_000_000
"""Shorter windows hold fewer than twenty ticks of 100 ms, and when each was seen is known to a sampling period only."""

MIN_WORK_NS = MIN_WINDOW_NS + 500_000_000
"""How long work should run for a window: its ends move inwards to ticks, and its last launch takes a while too."""

BRIEF_WORK_NS = 1_300_000_000
"""Of many figures that stand beside each other, as in a recorded space: ten ticks of 100 ms, and wider intervals."""


def window_of_work_ns(work_ns: int) -> int:
    """The least window that counts when work ran for ``work_ns``; never above ``MIN_WINDOW_NS``."""
    return min(MIN_WINDOW_NS, work_ns * 4 // 5)


STALE_TICKS = 5
STALE_FLOOR_NS = 500_000_000
"""A counter that does not change for this long, and for five of its ticks, is stuck; less is the scheduler's doing."""

CROSS_CHECK_LIMIT = 0.25
"""Counter and integrated power further apart than this cannot both be right. On an H100 they agree to a few percent."""

MOST = 2.0**53
"""Joules or watts: from here on neighbouring numbers cannot be told apart, and no device counts so far."""

LEAP = 4.0
"""No steady load draws so many times its median power for a tick: the counter leapt. A read that comes late makes twice
at most, for it dates the ticks that it missed to the middle of its delay."""

MIN_BLOCKS, MAX_BLOCKS, STEPS_PER_BLOCK = 4, 10, 2
STUDENT = {3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
"""Two-sided 95 % quantiles of Student's t by degrees of freedom, one less than the number of blocks."""

Floats = NDArray[np.float64]


class _VoidError(Exception):
    """Carries the reason out of the steps below; never leaves this module."""


@dataclass(frozen=True, slots=True)
class _Curve:
    """Cumulative energy at the moments where it is known.

    Attributes:
        t_ns: moments, (n,), increasing.
        joules: energy up to each, (n,), non-decreasing.
        blur_ns: within how long an interval each moment is known, (n,).
        tick_ns: median time between changes of the counter; None without a counter.
    """

    t_ns: Floats
    joules: Floats
    blur_ns: Floats
    source: EnergySource
    tick_ns: int | None


def infer_tick_ns(samples: Sequence[Sample]) -> int | None:
    """Median time between two changes of the counter; None where it changed less than three times.

    A counter that changes faster than it is sampled shows the sampling period.
    """
    known = [(s.ts_ns, s.energy_j) for s in samples if s.energy_j is not None]
    if len(known) < 2:
        return None
    ts, joules = np.array([k[0] for k in known], np.float64), np.array([k[1] for k in known], np.float64)
    changes = ts[1:][np.diff(joules) != 0]
    return int(np.median(np.diff(changes))) if len(changes) > 2 else None


def energy(
    recording: Recording,
    progress: Progress,
    *,
    idle_power_w: float | None = None,
    min_window_ns: int = MIN_WINDOW_NS,
) -> Energy:
    """Joules per operation over the tick-aligned window inside ``progress``.

    Warm-up is the caller's: progress begins once the work runs at its steady pace.

    Args:
        recording: samples that cover the work; what lies before and after is ignored.
        progress: operations finished, by host clock; marks are taken when the device is known to be done.
        idle_power_w: measured beforehand by ``mean_power``, for the second figure.
        min_window_ns: least length between the first and the last tick.

    Raises:
        ValueError: progress does not advance in time, goes back, or has fewer than two marks.
    """
    marks = _marks(progress)
    inside = [s for s in recording.samples if marks[0, 0] <= s.ts_ns <= marks[0, -1]]
    events = tuple(sorted({event for s in inside for event in s.clock_events}))
    try:
        _refuse_faults(recording, marks)
        if spoiling := [event.value for event in events if event in VOIDING]:
            raise _VoidError(f"the device slowed itself down: {', '.join(spoiling)}")
        curve = _curve(inside, marks)
        cross_check = _checked_power(inside, curve)
        if cross_check is None and curve.source is EnergySource.COUNTER:
            _refuse_leaps(curve)
        return _figure(curve, cross_check, marks, idle_power_w, min_window_ns, events)
    except _VoidError as reason:
        return Energy(voided=str(reason), events=events)


def mean_power(recording: Recording, min_window_ns: int = MIN_WINDOW_NS) -> Energy:
    """Watts over a whole recording, as joules per second: the idle power, when nothing runs.

    Raises:
        ValueError: the recording has fewer than two samples.
    """
    if len(recording.samples) < 2:
        raise ValueError(f"power needs two samples at least, got {len(recording.samples)}")
    first, last = recording.samples[0].ts_ns, recording.samples[-1].ts_ns
    return energy(recording, [(first, 0.0), (last, (last - first) / 1e9)], min_window_ns=min_window_ns)


def _marks(progress: Progress) -> Floats:
    """Moments and operations as (2, n)."""
    if len(progress) < 2:
        raise ValueError(f"progress needs two marks at least, got {len(progress)}")
    marks: Floats = np.array(progress, dtype=np.float64).T
    if not np.isfinite(marks).all() or (np.diff(marks[0]) <= 0).any() or (np.diff(marks[1]) < 0).any():
        raise ValueError(f"progress must advance in time and never go back: {list(progress)[:4]}…")
    return marks


def _refuse_faults(recording: Recording, marks: Floats) -> None:
    for fault in recording.faults:
        if marks[0, 0] <= fault.ts_ns <= marks[0, -1]:
            raise _VoidError(f"a read failed: {fault.what}")


def _curve(inside: Sequence[Sample], marks: Floats) -> _Curve:
    """The best curve that the samples give: the counter's if there is one, else the integral of power."""
    counted = _readings(inside, "energy_j")
    if counted.shape[1]:
        return _counter_curve(counted, marks)
    powers = _readings(inside, "power_w")
    if powers.shape[1]:
        return _power_curve(powers, marks)
    raise _VoidError("the meter read neither energy nor power while the work ran")


def _readings(samples: Sequence[Sample], name: Literal["energy_j", "power_w"]) -> Floats:
    """(moment, reading) of the samples that have it, as (2, n).

    Raises:
        _VoidError: a reading is no number, negative, infinite, or absurd.
    """
    pairs = [(s.ts_ns, getattr(s, name)) for s in samples if getattr(s, name) is not None]
    for _, value in pairs:
        if not 0 <= value < MOST:
            raise _VoidError(f"{name} read {value}")
    readings: Floats = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
    return readings


def _counter_curve(counted: Floats, marks: Floats) -> _Curve:
    """The counter at the moments when it changed, each known to lie between two reads."""
    t_ns, joules = counted
    steps = np.diff(joules)
    if (steps < 0).any():
        at = int(np.argmax(steps < 0))
        raise _VoidError(f"the counter went back from {joules[at]:.9g} to {joules[at + 1]:.9g} J: reset or wrapped")
    changed = np.flatnonzero(steps > 0)
    if len(changed) < MIN_BLOCKS * STEPS_PER_BLOCK + 1:
        raise _VoidError(f"the counter changed {len(changed)} times while the work ran")
    blur_ns = np.diff(t_ns)[changed]
    ticks_ns = t_ns[changed + 1] - blur_ns / 2
    tick_ns = float(np.median(np.diff(ticks_ns)))
    _refuse_gaps(ticks_ns, marks, max(STALE_TICKS * tick_ns, STALE_FLOOR_NS), "the counter did not change")
    return _Curve(ticks_ns, joules[changed + 1], blur_ns, EnergySource.COUNTER, int(tick_ns))


def _power_curve(powers: Floats, marks: Floats) -> _Curve:
    """The integral of instantaneous power, by trapezoids between samples."""
    t_ns, watts = powers
    if len(t_ns) < MIN_BLOCKS * STEPS_PER_BLOCK + 1:
        raise _VoidError(f"power was read {len(t_ns)} times while the work ran")
    _refuse_gaps(t_ns, marks, STALE_FLOOR_NS, "power was not read")
    steps = np.diff(t_ns) / 1e9 * (watts[1:] + watts[:-1]) / 2
    joules = np.concatenate(([0.0], np.cumsum(steps)))
    return _Curve(t_ns, joules, np.zeros_like(t_ns), EnergySource.INTEGRATED, None)


def _refuse_gaps(t_ns: Floats, marks: Floats, limit_ns: float, what: str) -> None:
    gaps = np.diff(np.concatenate(([marks[0, 0]], t_ns, [marks[0, -1]])))
    if (widest := float(gaps.max())) > limit_ns:
        raise _VoidError(f"{what} for {widest / 1e9:.3g} s")


def _checked_power(inside: Sequence[Sample], curve: _Curve) -> float | None:
    """Integrated power over the counter's energy in the same window, less 1; None where one of them is missing."""
    powers = _readings(inside, "power_w")
    if curve.source is not EnergySource.COUNTER or powers.shape[1] < MIN_BLOCKS:
        return None
    t_ns, watts = powers
    within = (t_ns > curve.t_ns[0]) & (t_ns < curve.t_ns[-1])
    t_s = np.concatenate(([curve.t_ns[0]], t_ns[within], [curve.t_ns[-1]])) / 1e9
    w = np.interp(t_s, t_ns / 1e9, watts)
    joules = float(np.sum(np.diff(t_s) * (w[1:] + w[:-1]) / 2))
    difference = joules / float(curve.joules[-1] - curve.joules[0]) - 1
    if not abs(difference) <= CROSS_CHECK_LIMIT:
        raise _VoidError(f"integrated power and the counter differ by {difference:+.0%}")
    return difference


def _refuse_leaps(curve: _Curve) -> None:
    """A counter that no power reading vouches for must at least be steady."""
    steps = np.diff(curve.joules) / np.diff(curve.t_ns)
    if not steps.max() / LEAP <= np.median(steps):
        raise _VoidError(
            f"the counter leapt: {1e9 * steps.max():.4g} W for a tick, mostly {1e9 * np.median(steps):.4g}"
        )


def _figure(
    curve: _Curve,
    cross_check: float | None,
    marks: Floats,
    idle_power_w: float | None,
    min_window_ns: int,
    events: tuple[ClockEvent, ...],
) -> Energy:
    """The ratio of energy to operations over the window, with its interval."""
    window_ns = float(curve.t_ns[-1] - curve.t_ns[0])
    if window_ns < min_window_ns:
        raise _VoidError(f"a window of {window_ns / 1e9:.3g} s is shorter than {min_window_ns / 1e9:.3g} s")
    joules = curve.joules - curve.joules[0]
    done = np.interp(curve.t_ns, marks[0], marks[1])
    total, operations = float(joules[-1]), float(done[-1] - done[0])
    if not operations > 0 or not 0 < total < math.inf:
        raise _VoidError(f"{total:.3g} J over {operations:.3g} operations give no figure")
    half = _half_width(curve, joules, done)
    per_op = total / operations
    if not 0 < per_op + half < math.inf:
        raise _VoidError(f"{per_op:.3g} ± {half:.3g} J is no figure")
    above_idle = None if idle_power_w is None else (total - idle_power_w * window_ns / 1e9) / operations
    return Energy(
        j_per_op=per_op,
        low=max(0.0, per_op - half),
        high=per_op + half,
        source=curve.source,
        idle_subtracted_j_per_op=above_idle if above_idle is not None and above_idle > 0 else None,
        power_w=total / window_ns * 1e9,
        cross_check=cross_check,
        window_ns=int(window_ns),
        operations=operations,
        tick_ns=curve.tick_ns,
        events=events,
    )


def _half_width(curve: _Curve, joules: Floats, done: Floats) -> float:
    """Half the 95 % interval of the ratio, in joules per operation.

    The window is cut into blocks of ticks, and the spread of their residuals about the common ratio gives the standard
    error of a ratio estimator (Cochran 1977, 6.4); blocks, since power drifts and neighbouring ticks are alike. Added
    in quadrature is what is not known of when the first and the last tick fell (uniform within a sampling gap).
    """
    steps = len(joules) - 1
    blocks = min(MAX_BLOCKS, steps // STEPS_PER_BLOCK)
    edges = np.linspace(0, steps, blocks + 1).round().astype(np.intp)
    energies, operations = np.diff(joules[edges]), np.diff(done[edges])
    ratio = joules[-1] / (done[-1] - done[0])
    residuals = energies - ratio * operations
    spread = math.sqrt(float(residuals @ residuals) / (blocks * (blocks - 1))) / float(operations.mean())
    ends_ns = math.hypot(curve.blur_ns[0], curve.blur_ns[-1]) / math.sqrt(12)
    return STUDENT[blocks - 1] * math.hypot(spread, ratio * ends_ns / (curve.t_ns[-1] - curve.t_ns[0]))
