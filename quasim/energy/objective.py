"""What a kernel is tuned for: time, joules, or a weighted mean of both, as one number that strategies can rank by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import Literal

import msgspec

from quasim.errors import ConfigError
from quasim.trial import Trial


class Objective(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is made small: ``time^(1−w) · joules^w``.

    A product of powers, so that neither the unit nor the size of either matters; w = 0.5 ranks as the energy-delay
    product does (Horowitz et al. 1994).

    Attributes:
        kind: latency: w is 0; energy: w is 1; weighted: w is ``energy_weight``.

    Raises:
        ConfigError: a weight outside 0 to 1, or one that nothing is done with.
    """

    kind: Literal["latency", "energy", "weighted"] = "latency"
    energy_weight: float | None = None

    def __post_init__(self) -> None:
        if (self.kind == "weighted") != (self.energy_weight is not None):
            raise ConfigError(
                f"objective {self.kind} with energy_weight={self.energy_weight}", "weighted takes a weight, no other"
            )
        if not 0 <= self.weight <= 1:
            raise ConfigError(f"energy_weight={self.weight} is no weight", "give 0 (time alone) to 1 (joules alone)")

    @property
    def weight(self) -> float:
        """The exponent of the joules."""
        if self.energy_weight is not None:
            return self.energy_weight
        return 1.0 if self.kind == "energy" else 0.0

    def cost_ns(self, trial: Trial, reference_w: float | None) -> float:
        """What a trial costs, in nanoseconds at ``reference_w``; infinity for a failed one.

        Joules that nobody read are not made up: such a trial ranks as if it drew the reference, which is to say by its
        time. So does every trial where there is no meter.

        Args:
            reference_w: watts that turn joules into time; the same for all that is compared. None: nothing is metered.
        """
        if trial.energy_j is None or reference_w is None or not self.weight:
            return trial.time_ns
        return math.exp(
            (1 - self.weight) * math.log(trial.time_ns) + self.weight * math.log(1e9 * trial.energy_j / reference_w)
        )


LATENCY = Objective()
"""Time alone."""


def mean_power_w(trial: Trial) -> float | None:
    """What the device drew while the variant ran; None where it was not metered."""
    return None if trial.energy_j is None else 1e9 * trial.energy_j / trial.time_ns


def ranked(trials: Sequence[Trial], objective: Objective) -> list[Trial]:
    """Trials of one problem on one device, best first; those that were not metered as if they drew the median power."""
    powers = [power for trial in trials if (power := mean_power_w(trial)) is not None]
    reference_w = median(powers) if powers else None
    return sorted(trials, key=lambda trial: (objective.cost_ns(trial, reference_w), str(trial.genome)))


def best_of(trials: Sequence[Trial], objective: Objective) -> Trial | None:
    """The best ok trial; None where none is ok."""
    return next(iter(ranked([trial for trial in trials if trial.timing is not None], objective)), None)


def gflops_per_watt(flops: int, trial: Trial | None) -> float | None:
    """Efficiency in GFLOP/s/W, which is GFLOP/J, gross; None where no meter read it."""
    return None if trial is None or trial.energy_j is None else flops / trial.energy_j / 1e9
