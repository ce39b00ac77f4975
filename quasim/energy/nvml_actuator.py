"""The hands on an NVIDIA GPU: power limit and application clocks, where this user may set them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

from quasim.energy.actuators import Permissions, Setting, refuse
from quasim.meters import MeterError, NvmlMeter
from quasim.meters.nvml_library import Nvml

GRAPHICS_CLOCK, MEMORY_CLOCK = 0, 2
APPLICATION_CLOCKS = 0
"""NVML_RESTRICTED_API_SET_APPLICATION_CLOCKS: the one setter of ours whose restriction NVML tells."""

CAP_SYS_ADMIN = 1 << 21
"""Linux' capability that the driver wants for the power limit; root in a container often lacks it."""


def administrator(status: Path = Path("/proc/self/status")) -> bool:
    """Whether the driver takes this process for an administrator; asked of the kernel, never tried out."""
    if os.geteuid() != 0:
        return False
    lines = status.read_text().splitlines()
    return any(int(line.split()[1], 16) & CAP_SYS_ADMIN for line in lines if line.startswith("CapEff:"))


class NvmlActuator:
    """Sets one GPU's power limit and application clocks; what holds already is not written again.

    Application clocks, not locked ones: those in force can be read, so that they can be put back.

    Args:
        uuid: of the GPU.
        library: ``pynvml`` of the distribution ``nvidia-ml-py``; default: imported now.
        allowed: whether this process is an administrator.

    Raises:
        MeterError: there is no such GPU, or no driver.
    """

    def __init__(
        self,
        uuid: str,
        library: ModuleType | None = None,
        environ: Mapping[str, str] = os.environ,
        allowed: Callable[[], bool] = administrator,
    ) -> None:
        self._meter = NvmlMeter(uuid, library, environ)
        self._nvml = Nvml(library)
        self._handle = self._meter.handle
        self._administrator = allowed()
        self.device = self._meter.device
        self.permissions = Permissions(self._why_no_power(), self._why_no_clock())
        self.writes = 0

    def setting(self) -> Setting:
        """Limit and clock that NVML says are in force; None for one that may not be set."""
        power_w = None if self.permissions.power else self._number("nvmlDeviceGetPowerManagementLimit") / 1e3
        clock_mhz = None if self.permissions.clock else float(self._application_clock(GRAPHICS_CLOCK))
        return Setting(power_w, clock_mhz)

    def apply(self, setting: Setting) -> None:
        """See ``Actuator.apply``. A clock becomes the highest supported one that does not exceed it."""
        refuse(self.permissions, setting)
        if not self.permissions.power:
            self._cap_power(setting.power_cap_w)
        if not self.permissions.clock:
            self._cap_clock(setting.clock_cap_mhz)

    def close(self) -> None:
        """Give NVML back."""
        self._meter.close()

    def _cap_power(self, cap_w: float | None) -> None:
        default = "nvmlDeviceGetPowerManagementDefaultLimit"
        cap_mw = self._number(default) if cap_w is None else round(cap_w * 1e3)
        if cap_mw != self._number("nvmlDeviceGetPowerManagementLimit"):
            self.writes += 1
            self._nvml.call("nvmlDeviceSetPowerManagementLimit", "power limit", self._handle, cap_mw)

    def _cap_clock(self, cap_mhz: float | None) -> None:
        now_mhz = self._application_clock(GRAPHICS_CLOCK)
        memory_mhz = self._application_clock(MEMORY_CLOCK)
        if cap_mhz is None:
            default = "nvmlDeviceGetDefaultApplicationsClock"
            mhz = self._nvml.number(default, "default clock", self._handle, GRAPHICS_CLOCK)
        else:
            mhz = self._supported(memory_mhz, cap_mhz)
        if mhz != now_mhz:
            self.writes += 1
            name = "nvmlDeviceSetApplicationsClocks"
            self._nvml.call(name, "application clocks", self._handle, memory_mhz, mhz)

    def _supported(self, memory_mhz: int, cap_mhz: float) -> int:
        """The highest supported clock up to the cap; the lowest of all where none is so low."""
        name = "nvmlDeviceGetSupportedGraphicsClocks"
        clocks = self._nvml.call(name, "supported clocks", self._handle, memory_mhz)
        assert isinstance(clocks, list)  # as pynvml gives them
        return int(max((mhz for mhz in clocks if mhz <= cap_mhz), default=min(clocks)))

    def _why_no_power(self) -> str:
        try:
            low, high = self._nvml.pair("nvmlDeviceGetPowerManagementLimitConstraints", "power limits", self._handle)
            self._number("nvmlDeviceGetPowerManagementLimit")
        except MeterError as error:
            return error.what
        if low >= high:
            return f"the board knows one limit alone, {high / 1e3:g} W"
        return "" if self._administrator else "only an administrator may (CAP_SYS_ADMIN)"

    def _why_no_clock(self) -> str:
        try:
            self._supported(self._application_clock(MEMORY_CLOCK), float(self._application_clock(GRAPHICS_CLOCK)))
            name = "nvmlDeviceGetAPIRestriction"
            restricted = self._nvml.number(name, "restriction", self._handle, APPLICATION_CLOCKS)
        except MeterError as error:
            return error.what
        return "application clocks are restricted to administrators" if restricted and not self._administrator else ""

    def _application_clock(self, which: int) -> int:
        return self._nvml.number("nvmlDeviceGetApplicationsClock", "application clock", self._handle, which)

    def _number(self, name: str) -> int:
        return self._nvml.number(name, "power limit", self._handle)
