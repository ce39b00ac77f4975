"""Joules that a node spends on tuning, by problem: differences of its meter's counter, that miss nothing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import msgspec

from quasim.meters import Meter, MeterError, NoMeter, idle_power_w, open_meter
from quasim.targets import Target
from quasim.trial import EnergySource, Problem
from quasim.worker.protocol import Gpu
from quasim.worker.station import Station


@runtime_checkable
class OnGpu(Protocol):
    """A target that measures on a GPU, whose meter is found by its UUID."""

    @property
    def gpu(self) -> Gpu:
        """The device."""
        ...

    @property
    def station(self) -> Station:
        """Where the target runs what it compiled."""
        ...


class Spent(msgspec.Struct, frozen=True):
    """What a node's device drew during one cycle, from its first measurement to its last.

    Attributes:
        device: model and UUID of what was metered; empty where nothing was.
        joules: gross, by the device's own counter; None where not metered, ``detail`` says why.
        above_idle_j: the same less what the idle device draws in that time; None where its idle power is not known,
            or exceeds what was drawn.
        by_problem: the parts of ``joules``; empty where not metered.
        detail: why there is no figure; empty where there is one.
        source: of the joules; ``model``: of a simulated device, nothing was measured.
    """

    device: str = ""
    joules: float | None = None
    above_idle_j: float | None = None
    by_problem: tuple[tuple[Problem, float], ...] = ()
    detail: str = "no meter was read"
    source: EnergySource = EnergySource.UNMETERED

    def __post_init__(self) -> None:
        if (self.joules is None) != bool(self.detail):
            raise ValueError(f"either joules or why there are none: {self}")
        if (self.joules is None) != (self.source is EnergySource.UNMETERED):
            raise ValueError(f"joules have a source, and nothing else has: {self}")


class Tally:
    """Reads the counter when a cycle starts and after each measurement, so that what lies between two reads belongs to
    one problem, and nothing is counted twice or left out.

    A counter moves in ticks (100 ms on an H100): each problem's share is off by up to a tick's energy at either end.
    """

    def __init__(self, meter: Meter, idle_power_w: float | None, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._meter = meter
        self._idle_power_w = idle_power_w
        self._clock = clock
        self._joules: dict[Problem, float] = {}
        self._fault = ""
        self._start_ns = self._end_ns = clock()
        self._last_j = self._read()

    def lap(self, problem: Problem) -> None:
        """What was drawn since the last read was spent on this problem."""
        before, self._last_j = self._last_j, self._read()
        self._end_ns = self._clock()
        drawn = self._last_j - before
        if drawn < 0:
            self._fault = self._fault or f"the counter went back by {-drawn:.9g} J: reset or wrapped"
        if not math.isfinite(drawn):
            self._fault = self._fault or f"the counter read {self._last_j}"
        self._joules[problem] = self._joules.get(problem, 0.0) + drawn

    def spent(self) -> Spent:
        """All laps together."""
        if self._fault:
            return Spent(detail=self._fault)
        joules = sum(self._joules.values())
        if joules == 0:
            return Spent(detail=f"the counter did not change in {(self._end_ns - self._start_ns) / 1e9:.3g} s")
        by_problem = tuple(self._joules.items())
        return Spent(self._meter.device, joules, self._above_idle(joules), by_problem, "", self._meter.source)

    def _above_idle(self, joules: float) -> float | None:
        if self._idle_power_w is None:
            return None
        above = joules - self._idle_power_w * (self._end_ns - self._start_ns) / 1e9
        return above if above > 0 else None

    def _read(self) -> float:
        """Joules on the counter; 0 where it has none, which voids the cycle."""
        try:
            energy_j = self._meter.sample().energy_j
        except MeterError as error:
            self._fault = self._fault or str(error)
            return 0.0
        if energy_j is None:
            self._fault = self._fault or self._meter.capabilities.energy or "the counter gave no reading"
            return 0.0
        return energy_j


class NodeMeter:
    """The meter of a node's device, open as long as the node.

    Attributes:
        idle_power_w: what the device draws when nothing runs; None where that is not known.
        clock: ns; a simulated device's runs with its work.
    """

    def __init__(
        self, meter: Meter, idle_power_w: float | None = None, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._meter = meter
        self.clock = clock
        self.idle_power_w = idle_power_w

    @classmethod
    def of(cls, target: Target, *, alone: bool) -> NodeMeter:
        """The meter of an opened target.

        Args:
            alone: nobody else uses the device now, so that its idle power can be read, which takes some seconds.
        """
        if not isinstance(target, OnGpu):
            return cls(NoMeter(target.name, f"the {target.name} target has no meter"))
        meter = open_meter(target.gpu.uuid)
        if not alone or meter.source is EnergySource.UNMETERED:
            return cls(meter)
        target.station.settle()
        return cls(meter, idle_power_w(meter))

    def tally(self) -> Tally:
        """A tally that starts now."""
        return Tally(self._meter, self.idle_power_w, self.clock)

    def close(self) -> None:
        """Let go of the meter."""
        self._meter.close()
