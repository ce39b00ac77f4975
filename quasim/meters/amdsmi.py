"""The meter of AMD GPUs, written after the documentation of amdsmi 7.0 and its source: **never run on an AMD GPU**."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import time
from collections.abc import Callable, Mapping
from types import ModuleType

from quasim.meters._base import Capabilities, ClockEvent, PowerLimits, Sample
from quasim.meters.errors import (
    BusyError,
    DriverMissingError,
    MeterError,
    NoDeviceError,
    NotSupportedError,
    PermissionDeniedError,
    UnknownCodeError,
)
from quasim.meters.visible import visible_device
from quasim.trial import EnergySource

VISIBLE = "HIP_VISIBLE_DEVICES"

_CODES: dict[int, type[MeterError]] = {
    2: NotSupportedError,
    3: NotSupportedError,
    8: BusyError,
    9: BusyError,
    10: PermissionDeniedError,
    18: DriverMissingError,
    30: BusyError,
    31: NoDeviceError,
    32: DriverMissingError,
    34: DriverMissingError,
    40: BusyError,
}
"""AMDSMI_STATUS_…: not supported, not yet implemented, timeout, retry, no permission, init error, busy, not found, not
initialised, driver not loaded, no data."""

THROTTLERS = {
    "prochot_residency_acc": ClockEvent.HW_SLOWDOWN,
    "ppt_residency_acc": ClockEvent.SW_POWER_CAP,
    "socket_thm_residency_acc": ClockEvent.HW_THERMAL,
    "vr_thm_residency_acc": ClockEvent.HW_THERMAL,
    "hbm_thm_residency_acc": ClockEvent.HW_THERMAL,
}
"""Counters in the GPU's metrics table that grow while a limiter acts, so that none is missed between two reads."""

NO_LIMITS = "the unit of amdsmi's power caps differs between its releases"


class AmdsmiMeter:
    """One AMD GPU.

    Args:
        device: an index among the GPUs that ``HIP_VISIBLE_DEVICES`` shows (Ray sets it), or a UUID or its beginning.
        library: the package ``amdsmi`` that comes with ROCm; default: imported now.
        environ: where ``HIP_VISIBLE_DEVICES`` is looked up.
        clock: monotonic ns, the one that progress is marked by.

    Raises:
        MeterError: there is no meter for this device; the type says why.
    """

    name = "amdsmi"
    power_limits = PowerLimits(None, None, None)

    def __init__(
        self,
        device: str = "0",
        library: ModuleType | None = None,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._smi = _imported() if library is None else library
        self._clock = clock
        self._throttled: dict[str, float] = {}
        self._call("amdsmi_init")
        try:
            self._handle = self._find(visible_device(device, environ.get(VISIBLE), VISIBLE))
            asic = self._table("amdsmi_get_gpu_asic_info")
            self.device = f"{asic.get('market_name')} {self._call('amdsmi_get_gpu_device_uuid', self._handle)}"
            self.capabilities = self._probe()
        except MeterError:
            self.close()
            raise

    @property
    def source(self) -> EnergySource:
        """The counter, or else the integral of instantaneous power."""
        return self.capabilities.source

    def sample(self) -> Sample:
        """Read once: the energy counter, and the metrics table for the rest.

        Raises:
            MeterError: a reading failed that was there when the meter was opened.
        """
        start_ns = self._clock()
        energy_j = None if self.capabilities.energy else self._energy_j()
        read_ns = self._clock()
        metrics = self._table("amdsmi_get_gpu_metrics_info")
        return Sample(
            ts_ns=(start_ns + read_ns) // 2,
            energy_j=energy_j,
            power_w=_number(metrics, "current_socket_power"),
            average_power_w=_number(metrics, "average_socket_power"),
            temperature_c=_number(metrics, "temperature_hotspot"),
            clock_mhz=_number(metrics, "current_gfxclk"),
            clock_events=self._events(metrics),
            read_ns=self._clock() - start_ns,
        )

    def close(self) -> None:
        """Let go of the driver."""
        self._call("amdsmi_shut_down")

    def _call(self, name: str, *arguments: object) -> object:
        try:
            result: object = getattr(self._smi, name)(*arguments)
        except self._smi.AmdSmiLibraryException as error:
            code = int(error.get_error_code())
            kind = _CODES.get(code, UnknownCodeError)
            raise kind(f"{name}: {error.get_error_info()} (code {code})", "see amd-smi", code) from error
        return result

    def _table(self, name: str) -> dict[str, object]:
        """What a call gives as a dictionary."""
        result = self._call(name, self._handle)
        if not isinstance(result, dict):
            raise UnknownCodeError(f"{name} gave {result!r}, which is no table", "report it")
        return result

    def _find(self, wanted: str) -> object:
        handles = self._call("amdsmi_get_processor_handles")
        if not isinstance(handles, list):
            raise UnknownCodeError(f"amdsmi listed its GPUs as {handles!r}", "report it")
        if wanted.isdecimal():
            found = handles[int(wanted) :][:1]
        else:
            found = [h for h in handles if str(self._call("amdsmi_get_gpu_device_uuid", h)).startswith(wanted)]
        if len(found) != 1:
            raise NoDeviceError(f"{len(found)} of {len(handles)} AMD GPUs go by {wanted}", "see amd-smi list")
        return found[0]

    def _probe(self) -> Capabilities:
        metrics = self._table("amdsmi_get_gpu_metrics_info")
        self._events(metrics)
        return Capabilities(
            energy=self._why_no_energy(),
            power=_absence(metrics, "current_socket_power"),
            average_power=_absence(metrics, "average_socket_power"),
            temperature=_absence(metrics, "temperature_hotspot"),
            clock=_absence(metrics, "current_gfxclk"),
            clock_events="" if self._throttled else "this GPU's metrics table has no counters of its limiters",
            power_limits=NO_LIMITS,
        )

    def _why_no_energy(self) -> str:
        try:
            self._energy_j()
        except (NotSupportedError, PermissionDeniedError, BusyError, UnknownCodeError) as error:
            return error.what
        return ""

    def _energy_j(self) -> float:
        count = self._table("amdsmi_get_energy_count")
        counted, resolution_uj = _number(count, "energy_accumulator"), _number(count, "counter_resolution")
        if counted is None or resolution_uj is None:
            raise NotSupportedError(f"the energy counter gave {count}", "")
        return counted * resolution_uj / 1e6

    def _events(self, metrics: dict[str, object]) -> frozenset[ClockEvent]:
        """Limiters that have acted since the last read."""
        now = {name: value for name in THROTTLERS if (value := _number(metrics, name)) is not None}
        acted = {THROTTLERS[name] for name, value in now.items() if value > self._throttled.get(name, value)}
        self._throttled = now
        return frozenset(acted)


def _imported() -> ModuleType:
    try:
        # Without its library the package prints, and then fails on a missing key.
        with contextlib.redirect_stdout(io.StringIO()):
            return importlib.import_module("amdsmi")
    except (ImportError, OSError, KeyError) as error:
        raise DriverMissingError("the package amdsmi or its library is not installed", "install ROCm") from error


def _number(table: dict[str, object], name: str) -> float | None:
    """A reading; amdsmi writes "N/A" for those that the GPU does not have."""
    value = table.get(name)
    return float(value) if isinstance(value, int | float) else None


def _absence(table: dict[str, object], name: str) -> str:
    return "" if _number(table, name) is not None else "not supported by this GPU"
