"""What a compiled kernel needs of a device, read from the binary, and what each architecture has.

Registers, local memory and shared memory are the compiler's facts (label ``compiler``); occupancy is computed from them
(label ``derived``). A kernel that cannot launch on its architecture is known here, before any device is touched.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

import msgspec

from quasim.errors import DataError, MissingToolError, UnknownNameError

_TOOL_TIMEOUT_S = 20.0


class Limits(msgspec.Struct, frozen=True):
    """What an architecture gives; "multiprocessor" is NVIDIA's SM and AMD's compute unit.

    Attributes:
        warp: threads in a warp (wavefront).
        threads: most threads of a block.
        shared_bytes: most shared memory of a block, where asked for.
        shared_per_multiprocessor: shared memory that the resident blocks share.
        shared_reserved: shared memory that the system takes of every block.
        registers: 32-bit registers that the resident threads share.
        register_step: registers are handed to a thread in multiples of this.
        thread_registers: most registers of a thread.
        warps: most resident warps.
        blocks: most resident blocks.
        float64_units: whether units for products take float64, at least as fast as float32 is multiplied without them.
    """

    warp: int
    threads: int
    shared_bytes: int
    shared_per_multiprocessor: int
    shared_reserved: int
    registers: int
    register_step: int
    thread_registers: int
    warps: int
    blocks: int
    float64_units: bool


# CUDA C++ Programming Guide, table "Technical Specifications per Compute Capability"; AMD CDNA2 and CDNA3 ISA guides
# (512 vector registers of 64 lanes per SIMD, four SIMDs, 64 KiB of LDS, 8 waves a SIMD).
_SM_80 = Limits(32, 1024, 163 << 10, 164 << 10, 1024, 65536, 8, 255, 64, 32, True)
_SM_90 = Limits(32, 1024, 227 << 10, 228 << 10, 1024, 65536, 8, 255, 64, 32, True)
_CDNA = Limits(64, 1024, 64 << 10, 64 << 10, 0, 4 * 512 * 64, 8, 512, 32, 32, True)
LIMITS: dict[str, Limits] = {"sm_80": _SM_80, "sm_90": _SM_90, "gfx90a": _CDNA, "gfx942": _CDNA}


class Resources(msgspec.Struct, frozen=True):
    """What the compiler allotted.

    Attributes:
        registers: 32-bit registers of a thread.
        local_bytes: memory of a thread for what found no register, and a few bytes where it calls a function (such as
            the slow path of a division).
        shared_bytes: shared memory of a block, static and dynamic.
    """

    registers: int
    local_bytes: int
    shared_bytes: int


def limits(arch: str) -> Limits:
    """What the architecture gives.

    Raises:
        UnknownNameError: we do not know it.
    """
    if arch not in LIMITS:
        raise UnknownNameError(f"no architecture {arch!r}", f"choose one of {', '.join(LIMITS)}")
    return LIMITS[arch]


def obstacle(arch: str, threads: int, resources: Resources) -> str | None:
    """Why such a block cannot launch, in one line; None where it can."""
    have = limits(arch)
    if threads > have.threads:
        return f"{threads} threads a block, {arch} allows {have.threads}"
    if resources.shared_bytes > have.shared_bytes:
        return f"{resources.shared_bytes} bytes of shared memory, {arch} allows {have.shared_bytes}"
    if _allotted(have, resources.registers) * threads > have.registers:
        return f"{resources.registers} registers for each of {threads} threads, {arch} has {have.registers}"
    return None


def resident_blocks(arch: str, threads: int, resources: Resources) -> int:
    """Blocks that a multiprocessor holds at once; 0 where not even one fits."""
    have = limits(arch)
    if obstacle(arch, threads, resources):
        return 0
    warps = -(-threads // have.warp)
    registers = _allotted(have, resources.registers) * warps * have.warp
    shared = resources.shared_bytes + have.shared_reserved
    by_shared = have.shared_per_multiprocessor // shared if shared else have.blocks
    return min(have.blocks, have.warps // warps, have.registers // max(1, registers), by_shared)


def occupancy(arch: str, threads: int, resources: Resources) -> float:
    """Resident warps as a share of the most there can be, 0 to 1."""
    have = limits(arch)
    return resident_blocks(arch, threads, resources) * -(-threads // have.warp) / have.warps


def _allotted(have: Limits, registers: int) -> int:
    return -(-registers // have.register_step) * have.register_step


def cubin_resources(binary: bytes, entry: str, dynamic_shared_bytes: int) -> Resources:
    """The facts of a cubin, by ``cuobjdump -res-usage`` of the Triton wheel.

    Raises:
        MissingToolError: Triton or its tools are not installed.
        DataError: the binary is no cubin, or lacks the kernel.
    """
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        said = _cuobjdump(Path(file.name))
    found = re.search(rf"Function {re.escape(entry)}:\s+REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", said)
    if not found:
        raise DataError(f"no kernel {entry!r} in the cubin", "compile it again")
    registers, stack, _, local = (int(text) for text in found.groups())
    # The tool's SHARED counts the system's reserved kilobyte; Triton asks for all of its own at launch.
    return Resources(registers, stack + local, dynamic_shared_bytes)


def _cuobjdump(cubin: Path) -> str:
    try:
        done = subprocess.run(
            [_tool("cuobjdump"), "-res-usage", cubin],
            capture_output=True,
            text=True,
            timeout=_TOOL_TIMEOUT_S,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        raise DataError(f"cuobjdump refused a cubin: {error.stderr.strip()[:200]}", "compile it again") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingToolError(f"cuobjdump cannot be run: {error}", "install triton again") from error
    return done.stdout


@lru_cache(maxsize=4)
def _tool(name: str) -> Path:
    try:
        import triton
    except ImportError as error:
        raise MissingToolError("triton is not installed", "pip install 'quasim-fleet[gpu]'") from error
    return Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / name


def amdgcn_resources(assembly: str, shared_bytes: int) -> Resources:
    """The facts of a code object, from the metadata notes of its assembly.

    Vector registers and accumulation registers of CDNA are one file, of which a thread gets both.

    Raises:
        DataError: the assembly has no such notes.
    """

    def note(name: str) -> int:
        found = re.search(rf"^\s*(?:- )?\.{name}:\s+(\d+)\s*$", assembly, re.MULTILINE)
        if not found:
            raise DataError(f"no .{name} in the notes of the assembly", "compile it again")
        return int(found.group(1))

    return Resources(note("vgpr_count"), note("private_segment_fixed_size"), shared_bytes)


def runs_on(arch: str, device_arch: str) -> bool:
    """Whether a device runs binaries for an architecture: of its own generation, and not for a later chip of it."""
    if arch == device_arch:
        return True
    made, device = (re.fullmatch(r"sm_(\d+)(\d)", name) for name in (arch, device_arch))
    return bool(made and device and made[1] == device[1] and made[2] <= device[2])
