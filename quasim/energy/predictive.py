"""The one-step predictive law: the power after which the model stands where the aimed-at approach would."""

from __future__ import annotations

import math

from quasim.energy.law import Situation
from quasim.energy.tuning import Tuning

STEP_S = 1.0
"""What is looked ahead beyond the delay: at most one write a second can act."""


class Predictive:
    """Lets the error shrink with the time constant ``settle_s``, whatever the device's own.

    At the end of the delay the chip will be at T, holding the heat of φ watts (``air + R·φ = T``). One step later it is
    at ``T + (1 − exp(−Δ/τ))·R·(P − φ)`` under power P, and should be at ``T + (1 − exp(−Δ/settle))·(set point − T)``;
    P follows. There is no integrator to wind up: what the model gets wrong goes to its air temperature, which is
    fitted to every sample under the power that was really drawn.
    """

    name = "predictive"

    def __init__(self, tuning: Tuning) -> None:
        self._tuning = tuning

    def power_w(self, now: Situation) -> float:
        """Watts that keep the set point; see the class."""
        model, tuning = now.model, self._tuning
        ahead_c = model.ahead_c(now.power_w, tuning.delay_s)
        holding_w = (ahead_c - model.air_c) / model.resistance_k_per_w
        speed = (1 - math.exp(-STEP_S / tuning.settle_s)) / (1 - math.exp(-STEP_S / model.tau_s))
        return holding_w + tuning.gain * speed * (now.set_point_c - ahead_c) / model.resistance_k_per_w

    def state(self) -> float | None:
        """None: all memory is the model's."""
        return None

    def restore(self, state: float | None) -> None:
        """Nothing to restore."""
