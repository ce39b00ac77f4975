"""A regulator in the loop with a simulated GPU, sampled once a second: what tests of laws and bars share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import msgspec
import numpy as np

from quasim.energy import Action, Observation, Regulator
from quasim.energy.actuators import Setting
from quasim.energy.plant import Physics, SimulatedGpu

SECOND_NS = 1_000_000_000
NOISE_W = 0.3
"""A power sensor that repeated itself to the last digit would be frozen."""


@dataclass
class Trace:
    """One entry a second; temperatures are the chip's true ones."""

    temperature_c: list[float] = field(default_factory=list)
    power_w: list[float] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    guards: list[str] = field(default_factory=list)
    work_s: float = 0.0

    @property
    def caps_w(self) -> list[float]:
        return [action.power_cap_w for action in self.actions if action.power_cap_w is not None]

    @property
    def steepest_w(self) -> float:
        return max(abs(b - a) for a, b in pairwise(self.caps_w))

    @property
    def writes_a_minute(self) -> int:
        written = np.array([a != b for a, b in pairwise(self.caps_w)])
        return int(np.convolve(written, np.ones(60), "valid").max())

    def over_k(self, set_point_c: float, start: int = 0) -> float:
        return max(self.temperature_c[start:]) - set_point_c

    def ripple_k(self, last: int = 100) -> float:
        return max(self.temperature_c[-last:]) - min(self.temperature_c[-last:])

    def mean_c(self, last: int = 100) -> float:
        return float(np.mean(self.temperature_c[-last:]))

    def settled_s(self, set_point_c: float, within_k: float = 1.5) -> int:
        far = np.abs(np.array(self.temperature_c) - set_point_c) > within_k
        return int(far.nonzero()[0].max(initial=-1)) + 1

    def latches(self) -> int:
        return sum(bool(after) and not before for before, after in pairwise(["", *self.guards]))


def observation(gpu: SimulatedGpu, noise: np.random.Generator) -> Observation:
    power_w = max(0.0, gpu.power_w + float(noise.normal(0.0, NOISE_W)))
    return Observation(gpu.now_ns, power_w, gpu.reading_c, gpu.clock_mhz, gpu.throttled)


def run(
    regulator: Regulator,
    physics: Physics,
    seconds: int,
    *,
    load: Callable[[int], float] = lambda second: 1.0,
    ambient_c: Callable[[int], float] | None = None,
    spoil: Callable[[int, Observation], Observation | None] = lambda second, seen: seen,
    obeyed: bool = True,
) -> Trace:
    """Close the loop for some seconds.

    Args:
        load: share of the time that work runs.
        ambient_c: of the air; None: as in ``physics``.
        spoil: what the regulator sees of a sample.
        obeyed: whether caps are written to the device.
    """
    gpu, trace, noise = SimulatedGpu(physics), Trace(), np.random.default_rng(7)
    for second in range(seconds):
        gpu.load(load(second))
        if ambient_c is not None:
            gpu.inlet_c = ambient_c(second)
        gpu.advance(second * SECOND_NS)
        action = regulator.step(spoil(second, observation(gpu, noise)), second * SECOND_NS)
        if obeyed and (not trace.actions or action.power_cap_w != trace.actions[-1].power_cap_w):
            gpu.command(Setting(action.power_cap_w, None))
        trace.actions.append(action)
        trace.temperature_c.append(gpu.temperature_c)
        trace.power_w.append(gpu.power_w)
        trace.guards.append(regulator.snapshot().guard)
    trace.work_s = gpu.work_s
    return trace


def wrong(resistance: float = 1.0, tau: float = 1.0, leakage: float = 1.0, delay_s: float = 1.0) -> Physics:
    """The plant of the bars with factors on what a regulator believes of it."""
    nominal = Physics()
    return msgspec.structs.replace(
        nominal,
        resistance_k_per_w=nominal.resistance_k_per_w * resistance,
        tau_s=nominal.tau_s * tau,
        leakage_w_per_k=nominal.leakage_w_per_k * leakage,
        delay_s=delay_s,
    )
