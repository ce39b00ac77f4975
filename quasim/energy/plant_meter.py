"""Meters of what is not there: a simulated GPU, and a replay of recorded telemetry. Their joules are ``model``."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

import numpy as np

from quasim.energy.plant import SimulatedGpu
from quasim.meters import BusyError, Capabilities, ClockEvent, PowerLimits, Sample
from quasim.trial import EnergySource

NOISE_W = 1.0
"""Standard deviation of a power reading. Two reads of a real device never agree to the milliwatt, and where they do its
telemetry is frozen."""


class SimulatedMeter:
    """Reads a simulated GPU, as its sensors tell.

    Args:
        gpu: let to catch up with the clock at every read.
        clock: ns of the simulation's own time, or of the host's.
        rng: of the power sensor's noise.
    """

    name = "simulated"
    source = EnergySource.MODEL
    capabilities = Capabilities("", "", "", "", "", "", "")

    def __init__(
        self, gpu: SimulatedGpu, clock: Callable[[], int], rng: np.random.Generator, device: str = "simulated GPU"
    ) -> None:
        self.device = device
        self._rng = rng
        self._gpu = gpu
        self._clock = clock

    @property
    def power_limits(self) -> PowerLimits:
        """The cap in force, and those that could be."""
        caps = self._gpu.physics.caps
        return PowerLimits(self._gpu.setting.power_cap_w or caps.power_default_w, caps.power_min_w, caps.power_max_w)

    def sample(self) -> Sample:
        """What the sensors say now."""
        now_ns, gpu = self._clock(), self._gpu
        gpu.advance(now_ns)
        return Sample(
            ts_ns=now_ns,
            read_ns=0,
            energy_j=gpu.energy_j,
            power_w=max(0.0, round(gpu.power_w + self._rng.normal(0.0, NOISE_W), 3)),
            average_power_w=gpu.power_w,
            temperature_c=gpu.reading_c,
            clock_mhz=gpu.clock_mhz,
            clock_events=frozenset((ClockEvent.SW_THERMAL,)) if gpu.throttled else frozenset(),
        )

    def close(self) -> None:
        """Nothing is held."""


class RecordedMeter:
    """Replays samples of a device at the pace at which they were taken.

    The figures were measured once, elsewhere; as energy of what runs now they are ``model``.

    Args:
        samples: in order of time.
        clock: ns; the first look is the recording's beginning.

    Raises:
        ValueError: no samples, or out of order.
    """

    name = "recorded"
    source = EnergySource.MODEL

    def __init__(self, samples: Sequence[Sample], clock: Callable[[], int], device: str) -> None:
        stamps = [sample.ts_ns for sample in samples]
        if not stamps or stamps != sorted(stamps):
            raise ValueError("a recording has samples, in order of time")
        self.device = device
        self.power_limits = PowerLimits(None, None, None)
        self._samples, self._stamps = tuple(samples), stamps
        self._clock = clock
        self._shift_ns = stamps[0] - clock()
        told = {name: any(getattr(sample, f"{name}{unit}") is not None for sample in samples) for name, unit in _UNITS}
        why = {name: "" if there else "it was not recorded" for name, there in told.items()}
        self.capabilities = Capabilities(**why, clock_events="", power_limits="it was not recorded")

    def sample(self) -> Sample:
        """The newest that had been taken by now.

        Raises:
            BusyError: the recording has ended.
        """
        at_ns = self._clock() + self._shift_ns
        if at_ns > self._stamps[-1]:
            raise BusyError("the recording has ended", "replay it from its beginning")
        return self._samples[bisect_right(self._stamps, at_ns) - 1]

    def close(self) -> None:
        """Nothing is held."""


_UNITS = (("energy", "_j"), ("power", "_w"), ("average_power", "_w"), ("temperature", "_c"), ("clock", "_mhz"))
"""Readings of a sample, and what their names end in."""
