"""What NVML's return codes mean to a meter (nvml.h, ``nvmlReturn_t``; the numbers are its ABI)."""

from __future__ import annotations

from quasim.meters.errors import (
    BusyError,
    DriverMissingError,
    GpuLostError,
    MeterError,
    NoDeviceError,
    NotSupportedError,
    PermissionDeniedError,
    UnknownCodeError,
)

SUCCESS = 0

_MEANINGS: dict[int, tuple[type[MeterError], str, str]] = {
    1: (DriverMissingError, "NVML is not initialised", "open the meter anew"),
    2: (NoDeviceError, "NVML knows no such device", "list the GPUs with nvidia-smi -L"),
    3: (NotSupportedError, "not supported by this GPU", ""),
    4: (PermissionDeniedError, "no permission", "ask the administrator for access to the GPU's counters"),
    6: (NoDeviceError, "NVML found no such device", "list the GPUs with nvidia-smi -L"),
    9: (DriverMissingError, "the NVIDIA driver is not loaded", "install or load it"),
    10: (BusyError, "NVML timed out", "try again"),
    12: (DriverMissingError, "libnvidia-ml.so.1 is not installed", "install the NVIDIA driver"),
    13: (NotSupportedError, "not in this driver's NVML", "a newer driver may have it"),
    15: (GpuLostError, "the GPU is lost: it fell off the bus", "see the kernel log (Xid); reboot the node"),
    16: (GpuLostError, "the GPU must be reset", "ask the administrator to reset it"),
    18: (DriverMissingError, "the driver and its library differ in version", "reboot, or reload the driver"),
    19: (BusyError, "the GPU is in use elsewhere", "try again"),
    21: (BusyError, "NVML has no data yet", "try again"),
    25: (NotSupportedError, "not in this form in the driver's NVML", "a newer driver may have it"),
    26: (NotSupportedError, "no longer in the driver's NVML", ""),
    27: (BusyError, "the GPU is not ready", "try again"),
    28: (NoDeviceError, "NVML found no such GPU", "list the GPUs with nvidia-smi -L"),
}


def typed(code: int, what: str) -> MeterError:
    """The error that a return code stands for.

    Args:
        code: what NVML returned, not ``SUCCESS``.
        what: what was asked for, such as ``energy counter``.
    """
    kind, meaning, do = _MEANINGS.get(
        code, (UnknownCodeError, f"NVML returned code {code}", "see nvmlReturn_t in nvml.h")
    )
    return kind(f"{what}: {meaning}", do, code)
