"""What regulation speaks: limits of a device and its operator, what was seen, what should hold, the regulator."""

from __future__ import annotations

import math
from typing import Protocol

import msgspec


class Caps(msgspec.Struct, frozen=True):
    """What a device allows, as it says itself; never hard-coded.

    Attributes:
        power_min_w, power_max_w: between these an administrator may cap the power.
        power_default_w: what the board does when nobody asks for anything.
        clock_min_mhz, clock_max_mhz: between these the clock may be capped; both None where it may not, or is unknown.
        slowdown_c: where the device slows itself down (from T.Limit or its thresholds); None where it does not tell.

    Raises:
        ValueError: limits that are out of order, not positive or not finite.
    """

    power_min_w: float
    power_max_w: float
    power_default_w: float
    clock_min_mhz: float | None = None
    clock_max_mhz: float | None = None
    slowdown_c: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.power_min_w <= self.power_default_w <= self.power_max_w < math.inf:
            raise ValueError(f"not an order of power limits: {self}")
        if (self.clock_min_mhz is None) != (self.clock_max_mhz is None):
            raise ValueError(f"a clock has both limits or neither: {self}")
        low, high = self.clock_min_mhz, self.clock_max_mhz
        if low is not None and high is not None and not 0 < low <= high < math.inf:
            raise ValueError(f"not an order of clock limits: {self}")
        if self.slowdown_c is not None and not math.isfinite(self.slowdown_c):
            raise ValueError(f"not a temperature: {self.slowdown_c} °C")


class Wanted(msgspec.Struct, frozen=True):
    """The operator's limits; None where there is none.

    Raises:
        ValueError: a limit that is not finite, or no power at all.
    """

    power_w: float | None = None
    temperature_c: float | None = None

    def __post_init__(self) -> None:
        if self.power_w is not None and not 0 < self.power_w < math.inf:
            raise ValueError(f"not a power limit: {self.power_w} W")
        if self.temperature_c is not None and not math.isfinite(self.temperature_c):
            raise ValueError(f"not a temperature limit: {self.temperature_c} °C")


class Observation(msgspec.Struct, frozen=True):
    """One sample as the regulator sees it; None where the device does not tell.

    Attributes:
        ts_ns: monotonic time of the sample.
        throttled: whether the device slows itself down for heat or supply.
    """

    ts_ns: int
    power_w: float | None = None
    temperature_c: float | None = None
    clock_mhz: float | None = None
    throttled: bool | None = None


class Action(msgspec.Struct, frozen=True):
    """What should hold from now on. None stands for a hand that is not moved.

    Attributes:
        power_cap_w: watts that the device may draw.
        clock_cap_mhz: the highest clock.
        duty: share of time in which work may run, in 0 to 1.
        reasons: why, as short words (``temperature``, ``power``, ``missing``, …).
        safe: the fail-safe holds: what is asked for rests on no measurement.

    Raises:
        ValueError: a cap that is not positive and finite, or a duty outside 0 to 1.
    """

    power_cap_w: float | None = None
    clock_cap_mhz: float | None = None
    duty: float = 1.0
    reasons: tuple[str, ...] = ()
    safe: bool = False

    def __post_init__(self) -> None:
        for cap in (self.power_cap_w, self.clock_cap_mhz):
            if cap is not None and not 0 < cap < math.inf:
                raise ValueError(f"not a cap: {self}")
        if not 0 <= self.duty <= 1:
            raise ValueError(f"a duty is a share of time: {self.duty}")


class RegulatorSnapshot(msgspec.Struct, frozen=True):
    """What a regulator believes and does, for reports and for migration. None: not known yet.

    Attributes:
        action: what holds.
        law: name of the control law (``predictive``, ``pi``).
        set_point_c: the temperature that is kept; None where neither operator nor device names one.
        temperature_c: the last that was seen.
        forecast_c: of the chip, 30 s ahead, if it goes on drawing what it draws.
        rising_c_per_s: slope of the temperature now, by the model; negative when it cools.
        resistance_k_per_w, tau_s: of the thermal model, as fitted so far.
        fitted: the two rest on data, and not on where the fit starts.
        guard: the latched guard that holds (``temperature``, ``throttled``), or "".
        misses: samples in a row that were missing or frozen.
        writes: changes of the power cap so far.
    """

    action: Action
    law: str
    set_point_c: float | None
    temperature_c: float | None
    forecast_c: float | None
    rising_c_per_s: float | None
    resistance_k_per_w: float
    tau_s: float
    fitted: bool
    guard: str
    misses: int
    writes: int


class Regulator(Protocol):
    """Decides from samples what should hold. Knows no clock, device or file; it is told the time."""

    def step(self, seen: Observation | None, now_ns: int) -> Action:
        """What should hold from now on.

        Args:
            seen: the newest sample; None where it is missing.
            now_ns: monotonic time; never earlier than in the call before.
        """

    def state(self) -> bytes:
        """Everything that was learned and holds, to be given to ``restore`` after a restart."""

    def restore(self, state: bytes) -> None:
        """Go on from ``state()`` of an equal regulator.

        Raises:
            DataError: bytes that are no such state.
        """

    def snapshot(self) -> RegulatorSnapshot:
        """What is believed and what holds."""
