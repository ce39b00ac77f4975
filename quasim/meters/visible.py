"""Which GPU an index means where a variable shows some GPUs only: NVML and AMD SMI know nothing of such variables."""

from __future__ import annotations

from quasim.meters.errors import NoDeviceError


def visible_device(device: str, visible: str | None, variable: str) -> str:
    """What the vendor's library is to be asked for: an index among all GPUs, or a UUID.

    Indices in the variable are taken as those of the PCI order. CUDA's default order puts the fastest GPU first, which
    is the same unless models are mixed; there, name the UUID or set ``CUDA_DEVICE_ORDER=PCI_BUS_ID``.

    Args:
        device: an index among the visible GPUs, or a UUID, which is taken as it is.
        visible: the variable's value, such as ``2,GPU-8f3c``; None where it is not set.
        variable: its name, for the error.

    Raises:
        NoDeviceError: no such GPU is visible.
    """
    if visible is None or not device.isdecimal():
        return device
    entries = _valid([entry.strip() for entry in visible.split(",")])
    if int(device) >= len(entries):
        raise NoDeviceError(
            f"GPU {device} is not among the {len(entries)} that {variable}={visible!r} shows",
            "name a smaller index or a UUID",
        )
    return entries[int(device)]


def _valid(entries: list[str]) -> list[str]:
    """Those before the first that is no index and no UUID, such as -1: the rest is not heeded."""
    for at, entry in enumerate(entries):
        if not (entry.isdecimal() or entry.startswith(("GPU-", "MIG-"))):
            return entries[:at]
    return entries
