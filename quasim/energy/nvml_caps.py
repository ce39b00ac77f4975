"""What an NVIDIA GPU says of its own limits: power, clocks, and where it slows itself down."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import ModuleType

from quasim.energy._base import Caps
from quasim.meters import MeterError, NotSupportedError, NvmlMeter
from quasim.meters.nvml_library import Nvml

MEMORY_CLOCK, TEMPERATURE, SLOWDOWN_THRESHOLD = 2, 0, 1
SLOWDOWN_MARGIN = 194
"""NVML_FI_DEV_TEMPERATURE_SLOWDOWN_TLIMIT: the margin, in °C and mostly below 0, at which the GPU slows down."""


def nvml_caps(uuid: str, library: ModuleType | None = None, environ: Mapping[str, str] = os.environ) -> Caps:
    """Read the limits of a GPU; nothing is set.

    Raises:
        MeterError: it does not tell its power limits, or is not there.
    """
    meter, nvml = NvmlMeter(uuid, library, environ), Nvml(library)
    try:
        handle = meter.handle
        low, high = nvml.pair("nvmlDeviceGetPowerManagementLimitConstraints", "power limits", handle)
        default = nvml.number("nvmlDeviceGetPowerManagementDefaultLimit", "default power limit", handle)
        slowest, fastest = _clocks(nvml, handle)
        return Caps(low / 1e3, high / 1e3, default / 1e3, slowest, fastest, _slowdown_c(nvml, handle))
    finally:
        meter.close()


def _clocks(nvml: Nvml, handle: object) -> tuple[float, float] | tuple[None, None]:
    """Lowest and highest clock at the memory clock in force; None where the GPU does not list them."""
    try:
        memory = nvml.number("nvmlDeviceGetApplicationsClock", "memory clock", handle, MEMORY_CLOCK)
        clocks = nvml.call("nvmlDeviceGetSupportedGraphicsClocks", "supported clocks", handle, memory)
    except MeterError:
        return None, None
    assert isinstance(clocks, list)  # as pynvml gives them
    return (float(min(clocks)), float(max(clocks))) if clocks else (None, None)


def _slowdown_c(nvml: Nvml, handle: object) -> float | None:
    """From T.Limit where the GPU counts down to it (Hopper and later), else its threshold; None: it tells neither.

    T.Limit is the distance to the hottest allowed spot, so the figure moves by a kelvin or two with the work.
    """
    try:
        now = nvml.number("nvmlDeviceGetTemperature", "temperature", handle, TEMPERATURE)
        margin = nvml.number("nvmlDeviceGetMarginTemperature", "T.Limit", handle)
        at = nvml.fields(handle, {"slowdown": SLOWDOWN_MARGIN})["slowdown"]
        if isinstance(at, MeterError):
            raise at
        return now + margin - at
    except MeterError:
        pass
    try:
        name = "nvmlDeviceGetTemperatureThreshold"
        return float(nvml.number(name, "slowdown threshold", handle, SLOWDOWN_THRESHOLD))
    except NotSupportedError:
        return None
