"""Simulated GPUs that draw, heat, leak and slow down: first-order heat, a power controller, late and coarse sensors."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import msgspec

from quasim.energy._base import Caps
from quasim.energy.actuators import Setting

STEP_S = 0.1
"""Leakage and the device's own slowdown follow the temperature this closely; heat itself is integrated exactly."""

HYSTERESIS_K = 3.0
"""A device that slowed itself down goes on doing so until it is this much cooler."""

SLOWED = 0.5
"""Share of the top clock that a device falls back to when it is too hot; H100s report a division by two."""


class Physics(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a simulated GPU is. The defaults are the plant of the bars: made up around an H100's limits, not measured.

    Attributes:
        resistance_k_per_w, tau_s: of the way from the chip to the air: ``τ dT/dt = ambient + R·P − T``.
        ambient_c: of the air that comes in.
        idle_w: drawn at ``reference_c`` when nothing runs.
        busy_w: drawn at ``reference_c`` and the top clock by a load of 1.
        leakage_w_per_k: drawn more for each kelvin above ``reference_c``.
        knee: share of the top clock below which the voltage no longer falls: dynamic power is f·V², V = max(knee, f).
        lag_s: time constant of the temperature sensor; 0: none.
        step_c: what the sensor rounds to; 0: nothing.
        delay_s: from a written cap to its effect.
        power_min_w, power_max_w, power_default_w, clock_min_mhz, clock_max_mhz, slowdown_c: as in ``Caps``.

    Raises:
        ValueError: no such device.
    """

    resistance_k_per_w: float = 0.08
    tau_s: float = 24.0
    ambient_c: float = 30.0
    idle_w: float = 70.0
    busy_w: float = 690.0
    reference_c: float = 60.0
    leakage_w_per_k: float = 0.6
    knee: float = 0.6
    lag_s: float = 2.0
    step_c: float = 1.0
    delay_s: float = 1.0
    power_min_w: float = 200.0
    power_max_w: float = 700.0
    power_default_w: float = 700.0
    clock_min_mhz: float = 345.0
    clock_max_mhz: float = 1980.0
    slowdown_c: float = 87.0

    def __post_init__(self) -> None:
        if self.leakage_w_per_k * self.resistance_k_per_w >= 1:
            raise ValueError(f"leakage of {self.leakage_w_per_k} W/K heats faster than the device cools: it runs away")
        if min(self.resistance_k_per_w, self.tau_s, self.settled_idle_w, self.busy_w - self.idle_w) <= 0:
            raise ValueError(f"no device: {self}")
        if min(self.leakage_w_per_k, self.lag_s, self.step_c, self.delay_s) < 0 or not 0 < self.knee < 1:
            raise ValueError(f"no device: {self}")
        self.caps  # noqa: B018  its limits must be in order, too

    @property
    def caps(self) -> Caps:
        """What the device says of its limits."""
        return Caps(
            power_min_w=self.power_min_w,
            power_max_w=self.power_max_w,
            power_default_w=self.power_default_w,
            clock_min_mhz=self.clock_min_mhz,
            clock_max_mhz=self.clock_max_mhz,
            slowdown_c=self.slowdown_c,
        )

    @property
    def settled_idle_w(self) -> float:
        """What it draws at last when nothing runs: leakage and temperature in balance."""
        heated_k = self.ambient_c + self.resistance_k_per_w * self.idle_w - self.reference_c
        return self.idle_w + self.leakage_w_per_k * heated_k / (1 - self.leakage_w_per_k * self.resistance_k_per_w)

    def leakage_w(self, temperature_c: float) -> float:
        """What is drawn more (or less) than at the reference."""
        return self.leakage_w_per_k * (temperature_c - self.reference_c)

    def clock_share(self, budget_w: float, dynamic_w: float) -> float:
        """The highest share of the top clock whose dynamic power stays within a budget: the inverse of f·V²."""
        share = max(0.0, budget_w) / dynamic_w if dynamic_w > 0 else 1.0
        share = share / self.knee**2 if share < self.knee**3 else share ** (1 / 3) if share < 1 else 1.0
        return max(self.clock_min_mhz / self.clock_max_mhz, share)


class SimulatedGpu:
    """One device in a time of its own: whoever holds it says how late it is. Equal calls, equal numbers.

    Attributes:
        temperature_c, power_w, clock_mhz: true, as they are now; sensors tell ``reading_c``.
        work_s: done so far, in seconds of full load at the top clock.
        energy_j: drawn so far.
        throttled_s: how long the device slowed itself down for heat.
    """

    def __init__(self, physics: Physics, start_ns: int = 0, start_c: float | None = None) -> None:
        self.physics = physics
        self.inlet_c = physics.ambient_c
        self.now_ns = start_ns
        self.temperature_c = self._settled_c(physics.settled_idle_w) if start_c is None else start_c
        self._sensed_c = self.temperature_c
        self.work_s = self.energy_j = self.throttled_s = 0.0
        self.throttled = False
        self._load = 0.0
        self._busy_w = physics.busy_w
        self._setting = Setting(physics.power_default_w, None)
        self._coming: deque[tuple[int, Setting]] = deque()
        self.clock_mhz, self.power_w = self._drawn()

    @property
    def setting(self) -> Setting:
        """Caps in force."""
        return self._setting

    @property
    def reading_c(self) -> float:
        """What the sensor says: late, and rounded to its step."""
        step = self.physics.step_c
        return round(self._sensed_c / step) * step if step else self._sensed_c

    def load(self, share: float, busy_w: float | None = None) -> None:
        """What runs from now on.

        Args:
            share: of the time, 0 to 1.
            busy_w: power of this work at the top clock; None: as in ``Physics``.
        """
        if not 0 <= share <= 1:
            raise ValueError(f"a load is a share of time: {share}")
        self._load = share
        self._busy_w = self.physics.busy_w if busy_w is None else busy_w

    def command(self, setting: Setting) -> None:
        """Write caps, which hold after the device's delay; None: the default, and the top clock."""
        self._coming.append((self.now_ns + round(self.physics.delay_s * 1e9), setting))

    def advance(self, now_ns: int) -> None:
        """Let time pass.

        Raises:
            ValueError: time would go back.
        """
        if now_ns < self.now_ns:
            raise ValueError(f"time goes back from {self.now_ns} to {now_ns} ns")
        while self.now_ns < now_ns:
            until_ns = min(now_ns, self.now_ns + round(STEP_S * 1e9))
            if self._coming and self._coming[0][0] <= self.now_ns:
                self._setting = self._coming.popleft()[1]
                continue
            if self._coming:
                until_ns = min(until_ns, self._coming[0][0])
            self._step((until_ns - self.now_ns) / 1e9)
            self.now_ns = until_ns

    def _step(self, dt_s: float) -> None:
        """Exact for constant power; the sensor sees the temperature at the step's end."""
        physics = self.physics
        self.throttled = self.temperature_c >= physics.slowdown_c - (HYSTERESIS_K if self.throttled else 0.0)
        self.clock_mhz, self.power_w = self._drawn()
        end_c = self._settled_c(self.power_w)
        self.temperature_c = end_c + (self.temperature_c - end_c) * math.exp(-dt_s / physics.tau_s)
        gain = 1 - math.exp(-dt_s / physics.lag_s) if physics.lag_s else 1.0
        self._sensed_c += gain * (self.temperature_c - self._sensed_c)
        self.energy_j += self.power_w * dt_s
        self.work_s += self._load * self.clock_mhz / physics.clock_max_mhz * dt_s
        self.throttled_s += dt_s if self.throttled else 0.0

    def _settled_c(self, power_w: float) -> float:
        return self.inlet_c + self.physics.resistance_k_per_w * power_w

    def _drawn(self) -> tuple[float, float]:
        """Clock and power that the device's own controller settles on under its caps."""
        physics, setting = self.physics, self._setting
        still_w = physics.idle_w + physics.leakage_w(self.temperature_c)
        dynamic_w = self._load * (self._busy_w - physics.idle_w)
        cap_w = physics.power_default_w if setting.power_cap_w is None else setting.power_cap_w
        share = physics.clock_share(cap_w - still_w, dynamic_w)
        if setting.clock_cap_mhz is not None:
            share = min(share, setting.clock_cap_mhz / physics.clock_max_mhz)
        if self.throttled:
            share = min(share, SLOWED)
        return share * physics.clock_max_mhz, still_w + dynamic_w * share * max(physics.knee, share) ** 2


class Plant:
    """Several GPUs in one box: each breathes air that the others have warmed.

    Args:
        recirculation_k_per_w: how much a watt of one warms the air of every other.
    """

    def __init__(self, physics: Sequence[Physics], recirculation_k_per_w: float = 0.0, start_ns: int = 0) -> None:
        self.gpus = tuple(SimulatedGpu(one, start_ns) for one in physics)
        self._recirculation_k_per_w = recirculation_k_per_w

    def advance(self, now_ns: int) -> None:
        """Let time pass for all of them; the air follows their power once a step."""
        step_ns = round(STEP_S * 1e9)
        while (start_ns := self.gpus[0].now_ns) < now_ns:
            drawn_w = sum(gpu.power_w for gpu in self.gpus)
            for gpu in self.gpus:
                gpu.inlet_c = gpu.physics.ambient_c + self._recirculation_k_per_w * (drawn_w - gpu.power_w)
                gpu.advance(min(now_ns, start_ns + step_ns))
