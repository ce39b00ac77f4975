"""The meter of NVIDIA GPUs: reads NVML, and calls none of its setters."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from types import ModuleType

from quasim.meters._base import Capabilities, ClockEvent, PowerLimits, Sample
from quasim.meters.errors import (
    BusyError,
    MeterError,
    MigError,
    NoDeviceError,
    NotSupportedError,
    PermissionDeniedError,
    UnknownCodeError,
)
from quasim.meters.nvml_library import Nvml
from quasim.meters.visible import visible_device
from quasim.trial import EnergySource

VISIBLE = "CUDA_VISIBLE_DEVICES"

FIELDS = {"energy": 83, "power": 186, "average_power": 185}
"""NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION (mJ since the driver was loaded), …_POWER_INSTANT and …_POWER_AVERAGE (mW)."""

GPU_TEMPERATURE, SM_CLOCK = 0, 1

EVENT_BITS = {
    0x01: ClockEvent.GPU_IDLE,
    0x02: ClockEvent.APPLICATION_CLOCKS,
    0x04: ClockEvent.SW_POWER_CAP,
    0x08: ClockEvent.HW_SLOWDOWN,
    0x10: ClockEvent.SYNC_BOOST,
    0x20: ClockEvent.SW_THERMAL,
    0x40: ClockEvent.HW_THERMAL,
    0x80: ClockEvent.POWER_BRAKE,
    0x100: ClockEvent.DISPLAY_CLOCKS,
}
"""nvmlClocksEventReason…"""

ABSENT = (NotSupportedError, PermissionDeniedError, BusyError, UnknownCodeError)
"""Errors that mean one reading less when the meter is opened; any other means that there is no meter."""


def clock_events(bits: int) -> frozenset[ClockEvent]:
    """The events that NVML's bit mask names; bits without a name are ``UNKNOWN``."""
    named = {event for bit, event in EVENT_BITS.items() if bits & bit}
    return frozenset(named | {ClockEvent.UNKNOWN} if bits & ~sum(EVENT_BITS) else named)


class NvmlMeter:
    """One NVIDIA GPU.

    Args:
        device: an index among the GPUs that ``CUDA_VISIBLE_DEVICES`` shows, or a UUID or the beginning of one.
        library: ``pynvml`` of the distribution ``nvidia-ml-py``; default: imported now.
        environ: where ``CUDA_VISIBLE_DEVICES`` is looked up.
        clock: monotonic ns, the one that progress is marked by.

    Attributes:
        uuid: the GPU's, whatever it was chosen by.

    Raises:
        MeterError: there is no meter for this device; the type says why.
    """

    name = "nvml"

    def __init__(
        self,
        device: str = "0",
        library: ModuleType | None = None,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._nvml = Nvml(library)
        self._clock = clock
        wanted = visible_device(device, environ.get(VISIBLE), VISIBLE)
        self._nvml.call("nvmlInit", "NVML")
        try:
            self._handle = self._find(wanted)
            self._refuse_mig(wanted)
            self.uuid = str(self._nvml.call("nvmlDeviceGetUUID", "UUID", self._handle))
            self.device = f"{self._nvml.call('nvmlDeviceGetName', 'name', self._handle)} {self.uuid}"
            self.capabilities = self._probe()
        except MeterError:
            self.close()
            raise

    @property
    def source(self) -> EnergySource:
        """The counter, or else the integral of instantaneous power."""
        return self.capabilities.source

    @property
    def power_limits(self) -> PowerLimits:
        """The board's limits, as they are now."""
        return PowerLimits(None, None, None) if self.capabilities.power_limits else self._power_limits()

    def sample(self) -> Sample:
        """Read once whatever could be read when the meter was opened.

        Raises:
            MeterError: one of those readings failed.
        """
        can = self.capabilities
        start_ns = self._clock()
        values = self._values()
        read_ns = self._clock()
        return Sample(
            # Energy and power come with the first call; what follows it takes milliseconds of its own.
            ts_ns=(start_ns + read_ns) // 2,
            energy_j=values.get("energy"),
            power_w=values.get("power"),
            average_power_w=values.get("average_power"),
            temperature_c=None if can.temperature else self._temperature(),
            clock_mhz=None if can.clock else self._clock_mhz(),
            clock_events=frozenset() if can.clock_events else self._events(),
            read_ns=self._clock() - start_ns,
        )

    @property
    def handle(self) -> object:
        """NVML's own, opaque: for what else is asked of this GPU while the meter is open."""
        return self._handle

    def close(self) -> None:
        """Give NVML back; it counts its users."""
        self._nvml.call("nvmlShutdown", "NVML")

    def _find(self, wanted: str) -> object:
        """The handle of an index among all GPUs, or of the one GPU whose UUID begins so.

        Raises:
            NoDeviceError: none does, or several do.
            MigError: a slice of a GPU was named.
        """
        if wanted.startswith("MIG-"):
            raise _mig(wanted)
        if wanted.isdecimal():
            return self._nvml.call("nvmlDeviceGetHandleByIndex", f"GPU {wanted}", int(wanted))
        prefix = wanted if wanted.startswith("GPU-") else f"GPU-{wanted}"
        found = [handle for uuid, handle in self._uuids() if uuid.startswith(prefix)]
        if len(found) != 1:
            raise NoDeviceError(f"{len(found)} GPUs have a UUID that begins {prefix}", "see nvidia-smi -L")
        return found[0]

    def _uuids(self) -> list[tuple[str, object]]:
        """(UUID, handle) of the GPUs that answer."""
        answering = []
        for index in range(self._nvml.number("nvmlDeviceGetCount", "number of GPUs")):
            try:
                handle = self._nvml.call("nvmlDeviceGetHandleByIndex", f"GPU {index}", index)
                answering.append((str(self._nvml.call("nvmlDeviceGetUUID", "UUID", handle)), handle))
            except MeterError:
                # Another's GPU may be lost or forbidden; if it was the one wanted, it will be missed by its UUID.
                continue
        return answering

    def _refuse_mig(self, wanted: str) -> None:
        try:
            current, _ = self._nvml.pair("nvmlDeviceGetMigMode", "MIG mode", self._handle)
        except NotSupportedError:
            return
        if current:
            raise _mig(wanted)

    def _probe(self) -> Capabilities:
        """Try every reading once.

        Raises:
            MeterError: the GPU does not answer at all.
        """
        fields = self._nvml.fields(self._handle, FIELDS)
        return Capabilities(
            **{name: _absence(fields[name]) for name in FIELDS},
            temperature=_tried(self._temperature),
            clock=_tried(self._clock_mhz),
            clock_events=_tried(self._events),
            power_limits=_tried(self._power_limits),
        )

    def _values(self) -> dict[str, float]:
        """Joules and watts of the fields that could be read at opening."""
        readable = {name: number for name, number in FIELDS.items() if not getattr(self.capabilities, name)}
        values = {}
        for name, reading in self._nvml.fields(self._handle, readable).items():
            if isinstance(reading, MeterError):
                raise reading
            values[name] = reading / 1e3
        return values

    def _temperature(self) -> int:
        return self._nvml.number("nvmlDeviceGetTemperature", "temperature", self._handle, GPU_TEMPERATURE)

    def _clock_mhz(self) -> int:
        return self._nvml.number("nvmlDeviceGetClockInfo", "clock", self._handle, SM_CLOCK)

    def _events(self) -> frozenset[ClockEvent]:
        return clock_events(self._nvml.number("nvmlDeviceGetCurrentClocksEventReasons", "clock events", self._handle))

    def _power_limits(self) -> PowerLimits:
        enforced = self._nvml.number("nvmlDeviceGetEnforcedPowerLimit", "power limit", self._handle)
        lowest, highest = self._nvml.pair(
            "nvmlDeviceGetPowerManagementLimitConstraints", "range of power limits", self._handle
        )
        return PowerLimits(enforced / 1e3, lowest / 1e3, highest / 1e3)


def _absence(reading: float | MeterError) -> str:
    """Why a reading is absent; "" where it is there.

    Raises:
        MeterError: the error speaks of the whole GPU.
    """
    if not isinstance(reading, MeterError):
        return ""
    if not isinstance(reading, ABSENT):
        raise reading
    return reading.what


def _tried(read: Callable[[], object]) -> str:
    try:
        read()
    except ABSENT as error:
        return error.what
    return ""


def _mig(wanted: str) -> MigError:
    return MigError(
        f"{wanted} is cut up by MIG, and NVML counts the energy of the whole GPU",
        "run on a GPU without MIG, or go unmetered",
    )
