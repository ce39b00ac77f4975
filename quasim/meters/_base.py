"""What every meter speaks: samples, what a device can tell, and the clock events that spoil a window."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from quasim.trial import EnergySource


class ClockEvent(str, Enum):
    """Why a device's clocks are where they are (NVML's clock event reasons; other vendors are mapped onto them)."""

    GPU_IDLE = "gpu_idle"
    APPLICATION_CLOCKS = "application_clocks"
    SW_POWER_CAP = "sw_power_cap"
    HW_SLOWDOWN = "hw_slowdown"
    SYNC_BOOST = "sync_boost"
    SW_THERMAL = "sw_thermal"
    HW_THERMAL = "hw_thermal"
    POWER_BRAKE = "power_brake"
    DISPLAY_CLOCKS = "display_clocks"
    UNKNOWN = "unknown"


VOIDING = frozenset((ClockEvent.HW_SLOWDOWN, ClockEvent.SW_THERMAL, ClockEvent.HW_THERMAL, ClockEvent.POWER_BRAKE))
"""Events after which a window tells more of cooling or supply than of the kernel, so that it counts for nothing.

The software power cap is not among them: a kernel that draws what the board allows runs under it all the time, and what
it costs there is the truth. An idle device, application clocks, sync boost and display clocks are states or settings
that hold for a whole window. A bit that has no name yet is reported as ``UNKNOWN`` and does not void: a new driver must
not end all metering.
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one read of a meter gave. Readings stand as the device gave them, wrong ones too: windows judge them.

    Attributes:
        ts_ns: monotonic time, halfway through the read.
        read_ns: how long the read took.
        energy_j: joules on the device's counter, from an arbitrary origin; None where it has no counter.
        power_w: instantaneous power; None where the device does not tell.
        average_power_w: power as the device smooths it (NVIDIA: over 1 s); shown, never integrated.
        temperature_c: of the chip; None where the device does not tell.
        clock_mhz: of the multiprocessors; None where the device does not tell.
        clock_events: those active at the time of the read.
    """

    ts_ns: int
    read_ns: int
    energy_j: float | None = None
    power_w: float | None = None
    average_power_w: float | None = None
    temperature_c: float | None = None
    clock_mhz: float | None = None
    clock_events: frozenset[ClockEvent] = frozenset()


@dataclass(frozen=True, slots=True)
class Fault:
    """A read that failed: when, and the error's text."""

    ts_ns: int
    what: str


@dataclass(frozen=True, slots=True)
class Recording:
    """Samples in order of time, and the reads that failed among them."""

    samples: tuple[Sample, ...]
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class PowerLimits:
    """Limits of the board in watts; None where the device does not tell. Read, never set.

    Attributes:
        enforced_w: the one in force.
        lowest_w, highest_w: what an administrator could choose.
    """

    enforced_w: float | None
    lowest_w: float | None
    highest_w: float | None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a device tells, probed field by field: "" where it does, and else why it does not."""

    energy: str
    power: str
    average_power: str
    temperature: str
    clock: str
    clock_events: str
    power_limits: str

    @classmethod
    def none(cls, why: str) -> Capabilities:
        """Nothing can be read, for one reason."""
        return cls(why, why, why, why, why, why, why)

    @property
    def source(self) -> EnergySource:
        """Where an energy figure would come from: the counter if there is one, else instantaneous power."""
        if not self.energy:
            return EnergySource.COUNTER
        return EnergySource.UNMETERED if self.power else EnergySource.INTEGRATED


class Meter(Protocol):
    """Reads the energy of one device, and changes nothing on it."""

    @property
    def name(self) -> str:
        """Such as ``nvml``."""

    @property
    def device(self) -> str:
        """Model and UUID of what is metered."""

    @property
    def source(self) -> EnergySource:
        """Where an energy figure would come from; ``unmetered`` where there is none to be had."""

    @property
    def capabilities(self) -> Capabilities:
        """What the device tells, as probed when the meter was opened."""

    @property
    def power_limits(self) -> PowerLimits:
        """The board's limits, as they are now."""

    def sample(self) -> Sample:
        """Read once.

        Raises:
            MeterError: a reading that the device gave before has failed; the type says why.
        """

    def close(self) -> None:
        """Let go of the vendor's library. A closed meter must not be read."""
