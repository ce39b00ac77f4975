"""Whether somebody else needs the device now: how busy it is while we do nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from actors.energy import OnGpu
from quasim.errors import ConfigError, DataError, QuasimError
from quasim.meters.nvml_library import Nvml
from quasim.targets import Target
from quasim.targets.replay import ReplayTarget

PROC_STAT = Path("/proc/stat")

WINDOW_S = 1.0
"""NVML averages over up to a second; a look that is shorter would count our own last turn."""


def in_use(target: Target, most: float, pause: Callable[[float], None]) -> str:
    """Who needs the device of an opened target, measured while the caller does nothing; empty: nobody.

    Args:
        most: share of the device, 0 to 1, up to which it counts as idle.
        pause: sleeps so many seconds.

    Raises:
        ConfigError: this machine does not tell how busy the device is.
    """
    if isinstance(target, ReplayTarget):
        return ""
    try:
        share = gpu_share(target.gpu.uuid, pause) if isinstance(target, OnGpu) else cpu_share(pause)
    except (OSError, QuasimError) as error:
        raise ConfigError(f"nobody tells how busy {target.device.name} is: {error}", "set busy: null") from error
    return f"{share:.0%} of {target.device.name} is in use" if share > most else ""


def cpu_share(pause: Callable[[float], None], stat: Path = PROC_STAT) -> float:
    """Share of the whole host's CPU time that was used during a pause, 0 to 1.

    Raises:
        OSError, DataError: the system does not tell.
    """
    used, total = _times(stat.read_text())
    pause(WINDOW_S)
    used_then, total_then = _times(stat.read_text())
    return (used_then - used) / max(1, total_then - total)


def _times(stat: str) -> tuple[int, int]:
    """(used, all) clock ticks of all CPUs in the text of ``/proc/stat``; waiting for a disk is not use."""
    name, *ticks = stat.split("\n", 1)[0].split() or [""]
    if name != "cpu" or len(ticks) < 8 or not all(tick.isdigit() for tick in ticks):
        raise DataError("/proc/stat has no line of all CPUs", "report it")
    # The last two count virtual machines' time, which is in the first two already.
    counts = [int(tick) for tick in ticks[:8]]
    return sum(counts) - counts[3] - counts[4], sum(counts)


def gpu_share(uuid: str, pause: Callable[[float], None], library: ModuleType | None = None) -> float:
    """Share of the time that some kernel ran on a GPU lately, 0 to 1, as NVML tells it.

    Args:
        library: ``pynvml``; None: imported now.

    Raises:
        MeterError: NVML does not tell, as on a part of a GPU (MIG).
    """
    pause(WINDOW_S)
    nvml = Nvml(library)
    nvml.call("nvmlInit", "NVML")
    try:
        handle = nvml.call("nvmlDeviceGetHandleByUUID", f"GPU {uuid}", uuid)
        rates = nvml.call("nvmlDeviceGetUtilizationRates", "utilization", handle)
    finally:
        nvml.call("nvmlShutdown", "NVML")
    percent = getattr(rates, "gpu", None)
    if not isinstance(percent, int):
        raise DataError(f"NVML gave a utilization of {percent!r}", "report it")
    return percent / 100
