"""The meter of x86 CPUs: RAPL's package counters in the powercap file system. Reading them needs root (CVE-2020-8694).

Each package counts microjoules and wraps at its own ``max_energy_range_uj`` (after minutes under load), so that every
package is unwrapped by itself before they are added. A counter that was reset looks as if it had wrapped; the two are
told apart by the power that a wrap would mean.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from quasim.meters._base import Capabilities, PowerLimits, Sample
from quasim.meters.errors import (
    CounterResetError,
    DriverMissingError,
    MeterError,
    NotSupportedError,
    PermissionDeniedError,
)
from quasim.trial import EnergySource

POWERCAP = Path("/sys/class/powercap")

MAX_PACKAGE_W = 2000.0
"""No package draws this much: a step that would take more is a reset, and after a pause in which this much would have
wrapped the counter nothing is known."""

UNREAD = "RAPL has no such reading"


@dataclass(slots=True)
class Package:
    """One package's counter, unwrapped.

    Attributes:
        file: ``energy_uj``.
        range_uj: where the counter wraps.
        last_uj, last_ns: what was read last, and when.
        total_uj: counted since the meter was opened.
    """

    file: Path
    range_uj: int
    last_uj: int
    last_ns: int
    total_uj: int = 0

    def advance(self, now_uj: int, now_ns: int) -> None:
        """Count on from what was read last; the counter goes on from here in any case.

        Raises:
            CounterResetError: the energy since the last read is not known.
        """
        step_uj = now_uj - self.last_uj
        passed_s = (now_ns - self.last_ns) / 1e9
        self.last_uj, self.last_ns = now_uj, now_ns
        if passed_s * MAX_PACKAGE_W * 1e6 >= self.range_uj:
            raise CounterResetError(
                f"{self.file} was not read for {passed_s:.0f} s, in which it may have wrapped twice",
                "read it more often",
            )
        if step_uj < 0:
            step_uj += self.range_uj
        if not 0 <= step_uj <= max(passed_s, 1e-3) * MAX_PACKAGE_W * 1e6:
            raise CounterResetError(f"{self.file} jumped to {now_uj} µJ within {passed_s:.3g} s", "measure again")
        self.total_uj += step_uj


class RaplMeter:
    """All packages of this machine, added up.

    Args:
        root: the powercap folder.
        clock: monotonic ns, the one that progress is marked by.

    Raises:
        DriverMissingError: there is no powercap folder.
        NotSupportedError: it names no package.
        PermissionDeniedError: the counters may not be read.
    """

    name = "rapl"
    source = EnergySource.COUNTER
    power_limits = PowerLimits(None, None, None)
    capabilities = Capabilities("", UNREAD, UNREAD, UNREAD, UNREAD, UNREAD, UNREAD)

    def __init__(self, root: Path = POWERCAP, clock: Callable[[], int] = time.monotonic_ns) -> None:
        if not root.is_dir():
            raise DriverMissingError(f"{root} is not there", "load the kernel module intel_rapl_msr")
        self._clock = clock
        zones = [zone for zone in sorted(root.glob("intel-rapl:*")) if _is_package(zone)]
        if not zones:
            raise NotSupportedError(f"{root} names no CPU package", "a virtual machine has no RAPL")
        self._packages = [
            Package(zone / "energy_uj", _read(zone / "max_energy_range_uj"), _read(zone / "energy_uj"), clock())
            for zone in zones
        ]
        self.device = f"{len(zones)} CPU package{'s' * (len(zones) > 1)}"

    def sample(self) -> Sample:
        """Read every package once; energy counts from when the meter was opened.

        Raises:
            CounterResetError: a package's energy since its last read is not known; the next read goes on from here.
            MeterError: a counter can no longer be read.
        """
        start_ns = self._clock()
        readings = [_read(package.file) for package in self._packages]
        end_ns = self._clock()
        resets = []
        for package, now_uj in zip(self._packages, readings, strict=True):
            try:
                package.advance(now_uj, end_ns)
            except CounterResetError as error:
                resets.append(error)
        if resets:
            raise resets[0]
        total_uj = sum(package.total_uj for package in self._packages)
        return Sample((start_ns + end_ns) // 2, end_ns - start_ns, energy_j=total_uj / 1e6)

    def close(self) -> None:
        """No file stays open."""


def _is_package(zone: Path) -> bool:
    """Whether a zone is a package: not a part of one (DRAM, cores), nor ``psys``, which holds the packages."""
    return (zone / "name").read_text().startswith("package")


def _read(file: Path) -> int:
    try:
        return int(file.read_text())
    except PermissionError as error:
        raise PermissionDeniedError(f"{file} may be read by root alone", "run as root, or go unmetered") from error
    except (OSError, ValueError) as error:
        raise MeterError(f"{file} cannot be read: {error}", "see the kernel log") from error
