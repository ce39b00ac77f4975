"""Which caps are really written: within the limits, never too fast, too often or too little different."""

from __future__ import annotations

import math

import msgspec

from quasim.energy.tuning import Tuning

WRITE_NS = 1_000_000_000
"""At most one write a second. A fall to a safe cap does not wait for it: it happens once, and then the cap stays."""

PATIENCE_NS = 6_000_000_000
"""The smaller a move, the longer it waits, up to this: twelve writes a minute come to rest at most."""


class Hand(msgspec.Struct):
    """The cap as commanded, in whole watts where the limits allow.

    Attributes:
        low_w, high_w: limits of every cap.
        cap_w: in force.
        written_ns: when it was commanded.
        writes: so far, the first included.
        held_ns: when a guard or the fail-safe held it last.
        ramping: rises are slow until the cap has arrived where it is wanted.
    """

    low_w: float
    high_w: float
    cap_w: float
    written_ns: int
    writes: int = 1
    held_ns: int = 0
    ramping: bool = False

    @classmethod
    def at(cls, cap_w: float, low_w: float, high_w: float, now_ns: int) -> Hand:
        """Begin with a cap, clipped to its limits."""
        hand = cls(low_w, high_w, low_w, now_ns)
        hand.cap_w = hand.clipped(cap_w)
        return hand

    def clipped(self, power_w: float) -> float:
        """The highest cap in whole watts that is not above, within the limits."""
        return min(max(math.floor(min(power_w, self.high_w)), self.low_w), self.high_w)

    def hold(self, power_w: float, now_ns: int) -> None:
        """At or below a safe cap at once; from there upwards only by the ramp, which begins after the last hold."""
        self.ramping, self.held_ns = True, now_ns
        if (cap_w := self.clipped(power_w)) < self.cap_w:
            self._write(cap_w, now_ns)

    def move(self, power_w: float, now_ns: int, tuning: Tuning) -> None:
        """Towards what a law wants, as far as may be moved now."""
        if (age_ns := now_ns - self.written_ns) < WRITE_NS:
            return
        away_w = self.clipped(power_w) - self.cap_w
        held_s = (now_ns - max(self.written_ns, self.held_ns)) / 1e9
        self.ramping = self.ramping and (away_w >= tuning.deadband_w or self.held_ns == now_ns)
        rise_w = min(tuning.ramp_w_per_s * held_s, tuning.slew_w_per_s) if self.ramping else tuning.slew_w_per_s
        cap_w = self.clipped(self.cap_w + min(max(away_w, -tuning.slew_w_per_s), rise_w))
        patience_w = tuning.slew_w_per_s * (1 - age_ns / PATIENCE_NS)
        if abs(cap_w - self.cap_w) >= max(tuning.deadband_w, patience_w):
            self._write(cap_w, now_ns)

    def _write(self, cap_w: float, now_ns: int) -> None:
        self.cap_w, self.written_ns = cap_w, now_ns
        self.writes += 1
