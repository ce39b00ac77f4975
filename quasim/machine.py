"""Facts about this machine's CPU that tuning depends on: model, usable cores, last-level cache, instruction set."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
MEMINFO = Path("/proc/meminfo")
SYSFS = Path("/sys/devices/system/cpu")

UNKNOWN_LLC_BYTES = 32 << 20
"""Where the system does not tell: a usual last-level cache, so that rotation still leaves most caches behind."""

UNKNOWN_MEMORY_BYTES = 8 << 30

COHORT_FLAGS = ("avx512f", "avx2", "avx", "sse2", "sve", "asimd")
"""Vector instruction sets, widest first within an architecture: the first one present names the cohort."""

KNOWN_FLAGS = frozenset((*COHORT_FLAGS, "fma", "sve2"))


@dataclass(frozen=True, slots=True)
class Machine:
    """The CPU as this process may use it.

    Attributes:
        name: model as the kernel prints it, such as ``AMD EPYC``.
        arch: such as ``x86_64``.
        cores: logical CPUs that this process may run on.
        llc_bytes: sum of the last-level caches that those cores reach.
        memory_bytes: physical memory.
        flags: the vector instruction sets among ``KNOWN_FLAGS`` that the CPU has.
    """

    name: str
    arch: str
    cores: int
    llc_bytes: int
    memory_bytes: int
    flags: frozenset[str]

    @property
    def family(self) -> str:
        """The cohort within which results transfer, such as ``cpu-x86_64-avx2``."""
        isa = next((flag for flag in COHORT_FLAGS if flag in self.flags), "scalar")
        return f"cpu-{self.arch}-{isa}"


def this_machine() -> Machine:
    """The machine that this process runs on."""
    cpuinfo = _read(CPUINFO)
    return Machine(
        name=model_name(cpuinfo) or platform.processor() or "unknown CPU",
        arch=platform.machine() or "unknown",
        cores=len(usable_cores()),
        llc_bytes=llc_bytes(SYSFS, usable_cores()) or UNKNOWN_LLC_BYTES,
        memory_bytes=memory_bytes(_read(MEMINFO)) or UNKNOWN_MEMORY_BYTES,
        flags=isa_flags(cpuinfo),
    )


def usable_cores() -> frozenset[int]:
    """Ids of the logical CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def model_name(cpuinfo: str) -> str:
    """The model in the text of ``/proc/cpuinfo``; empty where it names none (as on most Arm machines)."""
    found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return found.group(1).strip() if found else ""


def isa_flags(cpuinfo: str) -> frozenset[str]:
    """Which of ``KNOWN_FLAGS`` the text of ``/proc/cpuinfo`` lists (``flags`` on x86, ``Features`` on Arm)."""
    found = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return KNOWN_FLAGS & set(found.group(1).split()) if found else frozenset()


def memory_bytes(meminfo: str) -> int:
    """Physical memory in the text of ``/proc/meminfo``; 0 where it is not told."""
    found = re.search(r"^MemTotal:\s*(\d+) kB$", meminfo, re.MULTILINE)
    return int(found.group(1)) << 10 if found else 0


def llc_bytes(sysfs: Path, cores: frozenset[int]) -> int:
    """Sum of the distinct last-level caches of these cores, as sysfs lists them; 0 where it lists none."""
    caches: dict[str, int] = {}
    for core in cores:
        levels = [_cache(index) for index in sorted((sysfs / f"cpu{core}" / "cache").glob("index*"))]
        if levels:
            _, shared_by, size = max(levels)
            caches[shared_by] = size
    return sum(caches.values())


def _cache(index: Path) -> tuple[int, str, int]:
    """(level, cores that share it, bytes) of one sysfs cache folder."""
    size = re.match(r"(\d+)([KMG]?)", _read(index / "size"))
    unit = {"": 0, "K": 10, "M": 20, "G": 30}
    count = int(size.group(1)) << unit[size.group(2)] if size else 0
    return int(_read(index / "level") or 0), _read(index / "shared_cpu_list").strip(), count


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
