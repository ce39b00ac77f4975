"""A PI law with conditional integration: the simple alternative, which needs no fit."""

from __future__ import annotations

from quasim.energy.law import Situation
from quasim.energy.thermal import Prior
from quasim.energy.tuning import Tuning

BINDS_W = 20.0
"""A device that draws within this of its cap is held by it, so that moving the cap moves the heat."""


class ProportionalIntegral:
    """``P = Kp·e + I``, tuned by Skogestad's rules for a first-order device behind a delay.

    SIMC, Journal of Process Control 13 (2003); the sensor's lag counts as delay, and the closed loop aims at
    ``settle_s``. The integral moves only while the cap acts: not beyond a limit, not upwards while the load leaves the
    cap unused, and not downwards while the cap is not obeyed (as in advice that nobody follows).
    """

    name = "pi"

    def __init__(self, prior: Prior, tuning: Tuning) -> None:
        reach_s = tuning.settle_s + tuning.delay_s + prior.lag_s
        self._gain_w_per_k = tuning.gain * prior.tau_s / (prior.resistance_k_per_w * reach_s)
        self._reset_s = min(prior.tau_s, 4 * reach_s)
        self._integral_w: float | None = None

    def power_w(self, now: Situation) -> float:
        """Watts from the error now and the errors so far. The first call begins without a jump."""
        error_k = now.set_point_c - now.temperature_c
        if self._integral_w is None:
            self._integral_w = now.power_w
        step_w = self._gain_w_per_k * error_k * now.dt_s / self._reset_s
        if self._acts(now, self._gain_w_per_k * error_k + self._integral_w, step_w):
            self._integral_w += step_w
        return self._gain_w_per_k * error_k + self._integral_w

    def _acts(self, now: Situation, answer_w: float, step_w: float) -> bool:
        if step_w > 0:
            return answer_w < now.high_w and now.power_w > now.cap_w - BINDS_W
        return answer_w > now.low_w and now.power_w < now.cap_w + BINDS_W

    def state(self) -> float | None:
        """The integral in watts; None before the first sample."""
        return self._integral_w

    def restore(self, state: float | None) -> None:
        """Go on from an integral."""
        self._integral_w = state
