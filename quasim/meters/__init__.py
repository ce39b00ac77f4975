"""Meters: what a device draws, read without ever setting anything. Importing this needs no vendor's library."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping

from quasim.errors import UnknownNameError
from quasim.meters._base import (
    VOIDING,
    Capabilities,
    ClockEvent,
    Fault,
    Meter,
    PowerLimits,
    Recording,
    Sample,
)
from quasim.meters.amdsmi import AmdsmiMeter
from quasim.meters.energy import Energy
from quasim.meters.errors import (
    BusyError,
    CounterResetError,
    DriverMissingError,
    GpuLostError,
    MeterError,
    MigError,
    NoDeviceError,
    NotSupportedError,
    PermissionDeniedError,
    UnknownCodeError,
)
from quasim.meters.idle import idle_power_w
from quasim.meters.none import NoMeter
from quasim.meters.nvml import NvmlMeter
from quasim.meters.rapl import RaplMeter
from quasim.meters.sampler import Sampler
from quasim.meters.window import (
    BRIEF_WORK_NS,
    MIN_WORK_NS,
    Progress,
    energy,
    infer_tick_ns,
    mean_power,
    window_of_work_ns,
)
from quasim.trial import EnergySource

__all__ = [
    "BRIEF_WORK_NS",
    "MIN_WORK_NS",
    "VOIDING",
    "AmdsmiMeter",
    "BusyError",
    "Capabilities",
    "ClockEvent",
    "CounterResetError",
    "DriverMissingError",
    "Energy",
    "Fault",
    "GpuLostError",
    "Meter",
    "MeterError",
    "MigError",
    "NoDeviceError",
    "NoMeter",
    "NotSupportedError",
    "NvmlMeter",
    "PermissionDeniedError",
    "PowerLimits",
    "Progress",
    "RaplMeter",
    "Recording",
    "Sample",
    "Sampler",
    "UnknownCodeError",
    "energy",
    "idle_power_w",
    "infer_tick_ns",
    "mean_power",
    "meters",
    "open_meter",
    "window_of_work_ns",
]
CPU = "cpu"

_Open = Callable[[str, Mapping[str, str], Callable[[], int]], Meter]

_METERS: dict[str, _Open] = {
    "amdsmi": lambda device, environ, clock: AmdsmiMeter(device, environ=environ, clock=clock),
    "none": lambda device, environ, clock: NoMeter(device, "no meter was asked for", clock),
    "nvml": lambda device, environ, clock: NvmlMeter(device, environ=environ, clock=clock),
    "rapl": lambda device, environ, clock: RaplMeter(clock=clock),
}


def meters() -> tuple[str, ...]:
    """Names of all meters, sorted."""
    return tuple(sorted(_METERS))


def open_meter(
    device: str = "0",
    name: str = "auto",
    environ: Mapping[str, str] = os.environ,
    clock: Callable[[], int] = time.monotonic_ns,
) -> Meter:
    """The meter of a device; close it after use.

    Args:
        device: ``cpu``, or a GPU: its index among the visible ones, or its UUID (surest: the same for every library).
        name: of a meter, or ``auto``: the first that reads energy or power there, else ``none`` with the reasons.
        environ: where the variables that hide GPUs are looked up.
        clock: monotonic ns, the one that progress is marked by.

    Raises:
        UnknownNameError: there is no such meter.
        MeterError: the meter that was named cannot be had; the type says why. ``auto`` never raises it.
    """
    if name == "auto":
        return _first_of(("rapl",) if device == CPU else ("nvml", "amdsmi"), device, environ, clock)
    if name not in _METERS:
        raise UnknownNameError(f"unknown meter {name!r}", f"choose auto or one of {', '.join(meters())}")
    return _METERS[name](device, environ, clock)


def _first_of(names: tuple[str, ...], device: str, environ: Mapping[str, str], clock: Callable[[], int]) -> Meter:
    reasons = []
    for name in names:
        try:
            meter = _METERS[name](device, environ, clock)
        except MeterError as error:
            reasons.append(f"{name}: {error.what}")
            continue
        if meter.source is not EnergySource.UNMETERED:
            return meter
        reasons.append(f"{name}: energy: {meter.capabilities.energy}; power: {meter.capabilities.power}")
        meter.close()
    return NoMeter(device, "; ".join(reasons), clock)
