"""What holds whatever a law says: the fail-safe on lost samples, and the latched guard against heat."""

from __future__ import annotations

import math

import msgspec

from quasim.energy._base import Observation
from quasim.energy.tuning import Tuning

MISSES = 3
"""So many bad samples in a row, and nothing is known any more; one or two are a driver that was busy."""

RECOVERED = 3
"""So many good samples in a row end the fail-safe."""

LOWEST_C, HIGHEST_C = -60.0, 150.0
"""No chip answers outside of these: a reading that is not between them is a fault of its sensor."""

SPIKE = 3.0
"""Boards draw more than their limit for moments; no sample is so many times above the highest."""

RELIEF = 0.75
"""Share of the heat now in the device that a latched guard allows: at 45 K above the air it cools by 11 K in the end,
which ends an excess within seconds and does not throw the device far below its set point, as the lowest cap would."""

NEAR_SLOWDOWN_K = 2.0
"""So close to where the device slows itself down, the guard asks for the lowest cap."""

WAIT_NS = 30_000_000_000
MAX_WAIT_NS = 960_000_000_000
"""A device that slowed itself down is believed again after this long; after the latter if it keeps doing so."""


class FailSafe(msgspec.Struct):
    """Counts samples that are missing or frozen, and remembers that there were too many.

    Frozen: time does not move on, or all readings repeat to the last digit. A power in whole watts repeats on healthy
    devices, too (some tell no finer), so that it is no sign.

    Attributes:
        misses: bad samples in a row.
        goods: good ones in a row.
        why: ``missing`` or ``frozen`` of the last bad sample.
        holds: the fail-safe is latched.
        last: the last sample that could be true.
    """

    misses: int = 0
    goods: int = 0
    why: str = ""
    holds: bool = False
    last: Observation | None = None

    def see(self, seen: Observation | None, temperature_needed: bool, most_w: float) -> Observation | None:
        """The sample if it is good, else None.

        Args:
            seen: the sample; None where it is missing.
            temperature_needed: a sample without one is as good as missing.
            most_w: the device's highest power.
        """
        why = self._fault(seen, temperature_needed, most_w)
        self.last = self.last if why == "missing" else seen
        self.misses, self.goods = (self.misses + 1, 0) if why else (0, self.goods + 1)
        self.why = why or self.why
        self.holds = self.misses >= MISSES or (self.holds and self.goods < RECOVERED)
        return None if why else seen

    def _fault(self, seen: Observation | None, temperature_needed: bool, most_w: float) -> str:
        if seen is None or not _plausible(seen, temperature_needed, most_w):
            return "missing"
        if self.last is None:
            return ""
        return "frozen" if seen.ts_ns <= self.last.ts_ns or _repeats(seen, self.last) else ""


def _plausible(seen: Observation, temperature_needed: bool, most_w: float) -> bool:
    sound = not temperature_needed if seen.temperature_c is None else LOWEST_C <= seen.temperature_c <= HIGHEST_C
    return sound and (seen.power_w is None or 0 <= seen.power_w <= SPIKE * most_w)


def _repeats(seen: Observation, last: Observation) -> bool:
    if seen.power_w is None or seen.power_w == round(seen.power_w):
        return False
    return (seen.power_w, seen.temperature_c, seen.clock_mhz) == (last.power_w, last.temperature_c, last.clock_mhz)


class HeatGuard(msgspec.Struct):
    """Latches when the device is too hot or slows itself down; lets go only once it is cooler than its set point.

    A guard that let go as soon as the excess was gone would hand over to a law that had learned nothing from it: in a
    study, such a guard at +3 K made a limit cycle of 17 K. A device that slows itself down while it is cool has a
    reason that we do not see (its supply, a neighbour): then the guard waits, and twice as long each time that it
    comes back.

    Attributes:
        latched: ``temperature``, ``throttled`` or "".
        limit_w: what may be drawn while it is latched.
        wait_ns: how long the device must not have slowed itself down before the guard lets go.
        slowed_ns: when it last did; None: never.
    """

    latched: str = ""
    limit_w: float = math.inf
    wait_ns: int = WAIT_NS
    slowed_ns: int | None = None

    def see(
        self, seen: Observation, set_point_c: float, tuning: Tuning, slowdown_c: float | None, heat_w: float
    ) -> None:
        """Take a good sample with a temperature.

        Args:
            seen: the sample.
            set_point_c: that is kept.
            tuning: how far from it the guard latches and lets go.
            slowdown_c: where the device slows itself down; None: unknown.
            heat_w: constant power that would make the device as hot as it is.
        """
        temperature_c = seen.temperature_c
        assert temperature_c is not None
        if seen.throttled:
            self._latch_slowed(seen.ts_ns, heat_w)
        elif not self.latched and temperature_c >= set_point_c + tuning.guard_k:
            self.latched, self.limit_w = "temperature", RELIEF * heat_w
        elif temperature_c <= set_point_c - tuning.release_k and self._waited(seen.ts_ns):
            self.latched, self.limit_w = "", math.inf
        if slowdown_c is not None and temperature_c >= slowdown_c - NEAR_SLOWDOWN_K:
            self.latched, self.limit_w = self.latched or "temperature", 0.0

    def _latch_slowed(self, ts_ns: int, heat_w: float) -> None:
        if self.latched != "throttled":
            again = self.slowed_ns is not None and ts_ns - self.slowed_ns < 3 * self.wait_ns
            self.wait_ns = min(2 * self.wait_ns, MAX_WAIT_NS) if again else WAIT_NS
            self.latched, self.limit_w = "throttled", min(self.limit_w, RELIEF * heat_w)
        self.slowed_ns = ts_ns

    def _waited(self, ts_ns: int) -> bool:
        return self.latched != "throttled" or self.slowed_ns is None or ts_ns - self.slowed_ns >= self.wait_ns
