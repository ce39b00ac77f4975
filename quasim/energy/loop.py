"""One turn of the closed loop: sample, decide, and in ``enforce`` alone set; and what a while of it came to."""

from __future__ import annotations

import math
from collections import Counter
from typing import Literal

import msgspec

from quasim.energy._base import Action, Observation, Regulator
from quasim.energy.enforcer import Enforcer
from quasim.energy.heat import Forecast, Heat, HeatWatch
from quasim.meters import VOIDING, ClockEvent, Meter, MeterError, Sample
from quasim.trial import EnergySource

Mode = Literal["advise", "enforce"]

THERMAL = frozenset((ClockEvent.SW_THERMAL, ClockEvent.HW_THERMAL, ClockEvent.HW_SLOWDOWN))
"""A device that slows itself down for heat; a power brake says nothing of heat."""


class Regulated(msgspec.Struct, frozen=True, kw_only=True):
    """What regulation saw, wanted and did in a while. Figures are None where nothing told them.

    Attributes:
        mode: ``advise``: nothing was set.
        device: what was metered; empty where nothing was.
        source: of every figure here; ``model``: a simulated device, nothing was measured.
        seconds: from the first turn to the last.
        samples, missed: reads that gave something, and reads that failed.
        mean_power_w, top_power_w, top_temperature_c: as read.
        throttled: samples in which the device slowed itself down for heat or supply.
        lowest_cap_w, last_cap_w: wanted by the regulator.
        advices: new caps that it wanted, the first included.
        writes: setters called. 0 in ``advise``.
        safe: turns in which the fail-safe held.
        lowest_duty: least share of time in which work might run; it saves no joules of a job.
        rested_s: how long work was held back.
        reasons: (reason, turns), most frequent first.
        detail: why there is no regulation, or why not by cap; "" where there is.
    """

    mode: Mode = "advise"
    device: str = ""
    source: EnergySource = EnergySource.UNMETERED
    seconds: float = 0.0
    samples: int = 0
    missed: int = 0
    mean_power_w: float | None = None
    top_power_w: float | None = None
    top_temperature_c: float | None = None
    throttled: int = 0
    lowest_cap_w: float | None = None
    last_cap_w: float | None = None
    advices: int = 0
    writes: int = 0
    safe: int = 0
    lowest_duty: float = 1.0
    rested_s: float = 0.0
    reasons: tuple[tuple[str, int], ...] = ()
    detail: str = ""

    def __post_init__(self) -> None:
        if self.mode == "advise" and (self.writes or self.rested_s or self.lowest_duty != 1):
            raise ValueError(f"advice moves nothing: {self}")


class Gauges(msgspec.Struct, frozen=True):
    """What a loop last read of its device. Looking at it asks the device nothing.

    Attributes:
        power_w, temperature_c: None where the device does not tell, or not now.
        cap_w: in force by the loop's hand; None where it sets none.
        source: of its meter.
        why: why power is not known; "" where it is.
        resting: work waits now, as the duty cycle asks.
    """

    power_w: float | None = None
    cap_w: float | None = None
    temperature_c: float | None = None
    source: EnergySource = EnergySource.UNMETERED
    why: str = "nothing was read yet"
    resting: bool = False


class ControlLoop:
    """Turns of a regulator on one device; whoever holds it keeps the time.

    Args:
        meter: of the device.
        enforcer: moves the hands; None: advice alone, and no setter is within reach.
        slowdown_c: where the device slows itself down; None: unknown, and so is how hot it is.
    """

    def __init__(
        self, meter: Meter, regulator: Regulator, enforcer: Enforcer | None = None, slowdown_c: float | None = None
    ) -> None:
        self.regulator = regulator
        self._slowdown_c = slowdown_c
        self._watch = HeatWatch()
        self._seen: tuple[int, Forecast, bool] | None = None
        self._meter = meter
        self._enforcer = enforcer
        self._last_cap_w: float | None = None
        self._gauges = Gauges(source=meter.source)
        self._begin()

    def _begin(self) -> None:
        self._advices = 0
        self._stamps: list[int] = []
        self._samples: list[Sample] = []
        self._caps: list[float] = []
        self._reasons: Counter[str] = Counter()
        self._safe = 0
        self._lowest_duty = 1.0
        self._rested_s = 0.0
        self._writes = self._enforcer.writes if self._enforcer else 0

    def step(self, now_ns: int) -> Action:
        """Sample, decide, set."""
        sample = self._sample()
        seen = None if sample is None else observed(sample)
        action = self.regulator.step(seen, now_ns)
        self._note(sample, action, now_ns)
        self._look_ahead(sample, action, now_ns)
        if self._enforcer is not None:
            self._enforcer.follow(action, None if seen is None else seen.power_w, now_ns)
            self._lowest_duty = min(self._lowest_duty, self._enforcer.share)
        self._gauges = self._read_off(seen)
        return action

    def _read_off(self, seen: Observation | None) -> Gauges:
        cap_w = self._last_cap_w if self._enforcer is not None and self._enforcer.capping else None
        if seen is None:
            return Gauges(cap_w=cap_w, source=self._meter.source, why="the last read of the device failed")
        why = "" if seen.power_w is not None else "the device does not tell its power"
        return Gauges(seen.power_w, cap_w, seen.temperature_c, self._meter.source, why)

    def gauges(self) -> Gauges:
        """As of the last turn; whole at any moment, for whoever looks on from another thread."""
        return self._gauges

    def _look_ahead(self, sample: Sample | None, action: Action, now_ns: int) -> None:
        """Keep the forecast of a sample that came; without one the last grows old."""
        if sample is None:
            return
        forecast = self._forecast()
        self._watch.see(forecast, now_ns)
        held = self._enforcer is not None and "temperature" in action.reasons
        throttled = bool(sample.clock_events & THERMAL)
        self._seen = None if forecast is None else (now_ns, forecast, held or throttled)

    def _forecast(self) -> Forecast | None:
        believed = self.regulator.snapshot()
        if self._slowdown_c is None or believed.temperature_c is None or believed.forecast_c is None:
            return None
        resistance, tau_s = believed.resistance_k_per_w, believed.tau_s
        return Forecast.through(believed.temperature_c, believed.forecast_c, tau_s, resistance, self._slowdown_c)

    def heat(self, now_ns: int) -> Heat | None:
        """How hot the device is and will be; None where that is not known."""
        if self._seen is None:
            return None
        seen_ns, forecast, throttling = self._seen
        return Heat((now_ns - seen_ns) / 1e9, forecast, self._watch.hot_samples, throttling)

    def pause_s(self, busy_s: float) -> float:
        """How long work has to rest after running for so long, which is then taken as done; 0 in ``advise``."""
        pause_s = self._enforcer.pause_s(busy_s) if self._enforcer else 0.0
        self._rested_s += pause_s
        return pause_s

    def regulated(self) -> Regulated:
        """What was since the last call; counting starts anew."""
        power = [watts for s in self._samples if (watts := _number(s.power_w)) is not None]
        heat = [celsius for s in self._samples if (celsius := _number(s.temperature_c)) is not None]
        result = Regulated(
            mode="enforce" if self._enforcer else "advise",
            device=self._meter.device,
            source=self._meter.source,
            seconds=(self._stamps[-1] - self._stamps[0]) / 1e9 if self._stamps else 0.0,
            samples=len(self._samples),
            missed=len(self._stamps) - len(self._samples),
            mean_power_w=sum(power) / len(power) if power else None,
            top_power_w=max(power, default=None),
            top_temperature_c=max(heat, default=None),
            throttled=sum(bool(s.clock_events & VOIDING) for s in self._samples),
            lowest_cap_w=min(self._caps, default=None),
            last_cap_w=self._caps[-1] if self._caps else None,
            advices=self._advices,
            writes=(self._enforcer.writes - self._writes) if self._enforcer else 0,
            safe=self._safe,
            lowest_duty=self._lowest_duty,
            rested_s=self._rested_s,
            reasons=tuple(sorted(self._reasons.items(), key=lambda item: (-item[1], item[0]))),
            detail=self._enforcer.detail if self._enforcer else "",
        )
        self._begin()
        return result

    def close(self) -> None:
        """Put back what was set, and let go of the meter."""
        if self._enforcer is not None:
            self._enforcer.close()
        self._meter.close()

    def _sample(self) -> Sample | None:
        try:
            return self._meter.sample()
        except MeterError:
            return None

    def _note(self, sample: Sample | None, action: Action, now_ns: int) -> None:
        self._stamps.append(now_ns)
        if sample is not None:
            self._samples.append(sample)
        if action.power_cap_w is not None:
            self._caps.append(action.power_cap_w)
            self._advices += action.power_cap_w != self._last_cap_w
            self._last_cap_w = action.power_cap_w
        self._reasons.update(action.reasons)
        self._safe += action.safe


def observed(sample: Sample) -> Observation:
    """A meter's sample as a regulator sees it; a reading that is no number is missing."""
    return Observation(
        ts_ns=sample.ts_ns,
        power_w=_number(sample.power_w),
        temperature_c=_number(sample.temperature_c),
        clock_mhz=_number(sample.clock_mhz),
        throttled=bool(sample.clock_events & VOIDING),
    )


def _number(reading: float | None) -> float | None:
    return reading if reading is not None and math.isfinite(reading) else None
