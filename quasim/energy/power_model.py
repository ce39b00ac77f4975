"""Power against clock of one kernel, fitted from a few runs, and the caps at which an operation costs least."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from quasim.energy._base import Caps
from quasim.errors import DataError

Array = NDArray[np.float64]

LEAST_CLOCKS = 4
"""Four unknowns: static power, dynamic power, the knee, and how steep the voltage is above it."""

PLATEAU = 0.99
"""A run that draws this share of the highest power was held by it, and tells nothing of the curve."""

STEEPEST = 1.5
"""Highest rise of voltage from knee to top clock that is tried, relative to the voltage below the knee."""

GRID, ZOOMS = 33, 3
"""Knees and steepnesses tried at once, and how often the search closes in on the best: to 1 ‰ of the range."""

NEAR = 0.01
"""A clock within this share of one that was measured tells nothing new."""

BRACKET = 0.12
"""The proposed clock is believed once runs lie about this share below and above it, too."""


class ClockRun(msgspec.Struct, frozen=True):
    """What a kernel drew and how long it took at one clock, whichever hand brought the clock about.

    Attributes:
        clock_mhz: as observed while it ran.
        power_w: mean.
        seconds: of one operation.

    Raises:
        ValueError: a figure that is not positive and finite.
    """

    clock_mhz: float
    power_w: float
    seconds: float

    def __post_init__(self) -> None:
        if not all(0 < figure < math.inf for figure in (self.clock_mhz, self.power_w, self.seconds)):
            raise ValueError(f"not a run: {self}")


class PowerModel(msgspec.Struct, frozen=True):
    """``P(f) = min(top, still + a·f·V(f)²)`` with ``V = 1`` up to the knee and ``1 + b·(f − knee)`` above it.

    The power–frequency model of Schoonhoven et al., "Going green: optimizing GPUs for energy efficiency through
    model-steered auto-tuning" (PMBS at SC22). Time is ``fixed + cycles/f``: what waits for memory does not scale.

    Attributes:
        still_w: drawn at no clock at all; leakage, memory and fans.
        dynamic_w_per_mhz: a.
        knee_mhz: up to here the voltage stays at its lowest.
        rise_per_mhz: b.
        top_w: the board's limit.
        fixed_s: of one operation, whatever the clock.
        megacycles: of one operation, for what scales with the clock.
        error: root mean square of the fit's residuals, relative to the power.
    """

    still_w: float
    dynamic_w_per_mhz: float
    knee_mhz: float
    rise_per_mhz: float
    top_w: float
    fixed_s: float
    megacycles: float
    error: float

    def power_w(self, clock_mhz: float) -> float:
        """Watts at a clock."""
        voltage = 1 + self.rise_per_mhz * max(0.0, clock_mhz - self.knee_mhz)
        return min(self.top_w, self.still_w + self.dynamic_w_per_mhz * clock_mhz * voltage**2)

    def seconds(self, clock_mhz: float) -> float:
        """Of one operation at a clock."""
        return self.fixed_s + self.megacycles / clock_mhz

    def joules(self, clock_mhz: float) -> float:
        """Of one operation at a clock; the model's, not measured."""
        return self.power_w(clock_mhz) * self.seconds(clock_mhz)


class Proposal(msgspec.Struct, frozen=True):
    """Caps for one kernel, as the model sees them; all figures are derived, none was measured.

    Attributes:
        clock_cap_mhz: the clock at which an operation costs least.
        power_cap_w: what is drawn there, within the device's limits: the same by the other hand.
        saves: share of an operation's joules saved against the highest clock.
        slows: share by which an operation takes longer than at the highest clock.
    """

    clock_cap_mhz: float
    power_cap_w: float
    saves: float
    slows: float


def fit(runs: Sequence[ClockRun], top_w: float) -> PowerModel:
    """The model nearest to some runs: a search over knee and steepness, least squares for the rest.

    Raises:
        DataError: fewer than four clocks below the power limit, or power does not rise with the clock.
    """
    free = [run for run in runs if run.power_w < PLATEAU * top_w]
    if len({run.clock_mhz for run in free}) < LEAST_CLOCKS:
        raise DataError(f"{len(free)} runs below {top_w} W", f"measure at {LEAST_CLOCKS} different clocks or more")
    clocks, power = (np.array(column) for column in zip(*((r.clock_mhz, r.power_w) for r in free), strict=True))
    top_mhz = float(clocks.max())
    share = clocks / top_mhz
    low, high = np.array([share.min(), 0.0]), np.array([1.0, STEEPEST])
    for _ in range(ZOOMS):
        knee, rise, still, dynamic, error = _nearest(share, power, low, high)
        middle, reach = np.array([knee, rise]), (high - low) / 8
        low, high = np.maximum(middle - reach, [share.min(), 0.0]), np.minimum(middle + reach, [1.0, STEEPEST])
    fixed_s, megacycles = _scaling(runs)
    return PowerModel(still, dynamic / top_mhz, knee * top_mhz, rise / top_mhz, top_w, fixed_s, megacycles, error)


def _nearest(share: Array, power: Array, low: Array, high: Array) -> tuple[float, float, float, float, float]:
    """Knee, rise, still and dynamic power with the least relative residuals on a grid, and their root mean square.

    Raises:
        DataError: power does not rise with the clock.
    """
    knees, rises = (axis.reshape(-1, 1) for axis in np.meshgrid(*np.linspace(low, high, GRID).T))
    shape = share * (1 + rises * np.maximum(0.0, share - knees)) ** 2
    # Relative residuals: P/P = 1 = still·(1/P) + dynamic·(shape/P), the normal equations of two unknowns.
    one, drawn = 1 / power, shape / power
    aa, ab, bb = (one**2).sum(), (one * drawn).sum(1), (drawn**2).sum(1)
    a, b = one.sum(), drawn.sum(1)
    dynamic = (aa * b - ab * a) / (aa * bb - ab**2)
    still = (a - dynamic * ab) / aa
    negative = still < 0
    still, dynamic = np.where(negative, 0.0, still), np.where(negative, b / bb, dynamic)
    residual = ((still[:, None] * one + dynamic[:, None] * drawn - 1) ** 2).mean(1)
    if not (dynamic > 0).any():
        raise DataError("power does not rise with the clock", "measure one kernel alone, at clocks further apart")
    best = int(np.argmin(np.where(dynamic > 0, residual, np.inf)))
    parts = (knees[best, 0], rises[best, 0], still[best], dynamic[best], math.sqrt(residual[best]))
    return tuple(map(float, parts))  # type: ignore[return-value]


def _scaling(runs: Sequence[ClockRun]) -> tuple[float, float]:
    """Seconds that do not scale with the clock, and megacycles that do; neither is negative."""
    period = np.array([1 / run.clock_mhz for run in runs])
    seconds = np.array([run.seconds for run in runs])
    spread = period - period.mean()
    megacycles = float(spread @ seconds / (spread @ spread))
    if megacycles < 0:
        return float(seconds.mean()), 0.0
    if (fixed_s := float(seconds.mean() - megacycles * period.mean())) < 0:
        return 0.0, float(period @ seconds / (period @ period))
    return fixed_s, megacycles


def propose(model: PowerModel, caps: Caps, clocks_mhz: Sequence[float], slowest: float = math.inf) -> Proposal:
    """The clock at which an operation costs least.

    Args:
        model: of the kernel.
        caps: of the device.
        clocks_mhz: that the device can run at.
        slowest: how much longer than at the highest clock an operation may take, as a share.

    Raises:
        DataError: there is no clock to choose from.
    """
    if not clocks_mhz:
        raise DataError("no clocks to choose from", "give those that the device supports")
    top = max(clocks_mhz)
    allowed = [clock for clock in clocks_mhz if model.seconds(clock) <= (1 + slowest) * model.seconds(top)]
    best = min(allowed, key=model.joules)
    power_w = min(max(model.power_w(best), caps.power_min_w), caps.power_max_w)
    saves = 1 - model.joules(best) / model.joules(top)
    return Proposal(best, power_w, saves, model.seconds(best) / model.seconds(top) - 1)


def next_clock(runs: Sequence[ClockRun], caps: Caps, clocks_mhz: Sequence[float]) -> float | None:
    """Where to measure next; None once the proposed clock and its neighbours were, or nothing is left to learn from.

    First the highest clock and then whatever lies farthest from all that was measured, below the clocks that the power
    limit holds, until there are enough for a fit. After that, each is where the model of all runs so far sees the least
    joules, and on both sides of it, so that the curve becomes known around its knee and nowhere else.
    """
    held_mhz = min((run.clock_mhz for run in runs if run.power_w >= PLATEAU * caps.power_max_w), default=math.inf)
    if len({run.clock_mhz for run in runs if run.clock_mhz < held_mhz}) < LEAST_CLOCKS:
        left = [clock for clock in clocks_mhz if clock < held_mhz and not _near(runs, clock)]
        return max(left, key=lambda clock: (_distance(runs, clock), clock), default=None)
    best = propose(fit(runs, caps.power_max_w), caps, clocks_mhz).clock_cap_mhz
    around = [_closest(clocks_mhz, best * share) for share in (1.0, 1 - BRACKET, 1 + BRACKET)]
    apart = (NEAR, BRACKET / 2, BRACKET / 2)
    open_ = (clock for clock, share in zip(around, apart, strict=True) if _distance(runs, clock) > share * clock)
    return next(open_, None)


def _closest(clocks_mhz: Sequence[float], wanted_mhz: float) -> float:
    return min(clocks_mhz, key=lambda clock: abs(clock - wanted_mhz))


def _near(runs: Sequence[ClockRun], clock_mhz: float) -> bool:
    return _distance(runs, clock_mhz) <= NEAR * clock_mhz


def _distance(runs: Sequence[ClockRun], clock_mhz: float) -> float:
    return min((abs(run.clock_mhz - clock_mhz) for run in runs), default=math.inf)
