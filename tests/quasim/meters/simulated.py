"""A power curve with known energy, and what a meter would have read of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from quasim.meters import Progress, Recording, Sample

MS = 1_000_000
START_NS = 5_000_000_000
ORIGIN_J = 1_000_000.0


@dataclass(frozen=True)
class Curve:
    """Power that swings about a mean, drifts, and is noisy from tick to tick.

    Attributes:
        mean_w, swing_w: mean and amplitude of a sine of ``swing_hz``.
        drift_w_s: change of the mean a second.
        noise_w: standard deviation of each tick's mean power.
        tick_ns: how often the counter is written.
        period_ns: how often it is sampled.
        jitter: most that a sample comes late, as a part of the period.
        rate: operations a second.
    """

    mean_w: float = 400.0
    swing_w: float = 0.0
    swing_hz: float = 1.0
    drift_w_s: float = 0.0
    noise_w: float = 0.0
    tick_ns: int = 100 * MS
    period_ns: int = 20 * MS
    jitter: float = 0.5
    rate: float = 1000.0
    seconds: float = 3.0
    seed: int = 0
    noise: np.ndarray[tuple[int], np.dtype[np.float64]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ticks = int(self.seconds * 1e9 / self.tick_ns) + 2
        rng = np.random.default_rng(self.seed)
        object.__setattr__(self, "noise", rng.normal(0, self.noise_w * self.tick_ns / 1e9, ticks))

    def energy_j(self, t_s: float) -> float:
        """Joules drawn in the first ``t_s`` seconds; the noise counts at each tick's end."""
        turn = 2 * np.pi * self.swing_hz
        swing = self.swing_w * (1 - np.cos(turn * t_s)) / turn
        ticked = int(t_s * 1e9 / self.tick_ns + 1e-9)
        return float(self.mean_w * t_s + self.drift_w_s * t_s**2 / 2 + swing + self.noise[:ticked].sum())

    def power_w(self, t_s: float) -> float:
        return float(self.mean_w + self.drift_w_s * t_s + self.swing_w * np.sin(2 * np.pi * self.swing_hz * t_s))

    def recording(self) -> Recording:
        """What sampling the counter gives: the value written at the last tick, in whole millijoules."""
        rng = np.random.default_rng(self.seed + 1)
        count = int(self.seconds * 1e9 / self.period_ns)
        late = rng.uniform(0, self.jitter * self.period_ns, count)
        ts = [int(i * self.period_ns + delay) for i, delay in enumerate(late)]
        return Recording(tuple(self._sample(t) for t in ts))

    def _sample(self, t_ns: int) -> Sample:
        ticked_s = t_ns // self.tick_ns * self.tick_ns / 1e9
        joules = round(ORIGIN_J + self.energy_j(ticked_s), 3)
        return Sample(START_NS + t_ns, 3 * MS, energy_j=joules, power_w=self.power_w(t_ns / 1e9), temperature_c=50)

    def progress(self) -> Progress:
        """Operations finished, marked every 10 ms."""
        steps = int(self.seconds * 100)
        return [(START_NS + i * 10 * MS, self.rate * i / 100) for i in range(steps + 1)]

    def j_per_op(self) -> float:
        """The truth over the whole curve."""
        return self.energy_j(self.seconds) / (self.rate * self.seconds)


def changed(recording: Recording, at: int, **readings: object) -> Recording:
    """The recording with one sample's readings replaced."""
    samples = list(recording.samples)
    samples[at] = replace(samples[at], **readings)  # type: ignore[arg-type]
    return replace(recording, samples=tuple(samples))


def offset(recording: Recording, start: int, joules: float) -> Recording:
    """The recording with the counter shifted from sample ``start`` on."""
    moved = [
        s if i < start or s.energy_j is None else replace(s, energy_j=s.energy_j + joules)
        for i, s in enumerate(recording.samples)
    ]
    return replace(recording, samples=tuple(moved))
