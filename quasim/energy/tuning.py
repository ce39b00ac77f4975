"""How cautious a regulator is: the few constants of control, with the reason for each."""

from __future__ import annotations

import math

import msgspec


class Tuning(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Constants of control. With the defaults the predictive law meets every bar of ``benchmarks/regulator.py``.

    Attributes:
        settle_s: time constant that the closed loop aims at. Simulated with four times the gain behind 2 s of delay
            and 2 s of sensor lag: 0.2 K of ripple at 8 s, 2 K at 5 s, 3 K at 3 s.
        delay_s: from a write to its effect on power, as assumed.
        gain: multiplies the law's answer to an error; 1 but in stability scans.
        slew_w_per_s: the cap moves no faster under a law, either way.
        ramp_w_per_s: the cap rises no faster after a guard or the fail-safe held.
        deadband_w: smaller moves of the cap are not written.
        guard_k: so far above the set point the guard latches.
        release_k: so far below the set point it lets go.

    Raises:
        ValueError: a constant that is not positive, or a slew that the deadband would swallow.
    """

    settle_s: float = 10.0
    delay_s: float = 1.0
    gain: float = 1.0
    slew_w_per_s: float = 100.0
    ramp_w_per_s: float = 20.0
    deadband_w: float = 15.0
    guard_k: float = 3.0
    release_k: float = 1.0

    def __post_init__(self) -> None:
        if not all(0 < figure < math.inf for figure in msgspec.structs.astuple(self)):
            raise ValueError(f"constants of control are positive: {self}")
        if self.deadband_w > min(self.slew_w_per_s, self.ramp_w_per_s):
            raise ValueError(f"a deadband of {self.deadband_w} W is wider than what one write may move: {self}")
