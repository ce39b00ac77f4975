"""What can launch, and how many blocks a multiprocessor holds, by figures of the vendors' occupancy tables."""

from __future__ import annotations

import pytest

from quasim.errors import DataError, UnknownNameError
from quasim.targets.gpu.resources import (
    Resources,
    amdgcn_resources,
    cubin_resources,
    limits,
    obstacle,
    occupancy,
    resident_blocks,
    runs_on,
)


@pytest.mark.parametrize(
    ("threads", "registers", "shared", "blocks"),
    [
        (256, 32, 0, 8),
        (256, 64, 0, 4),
        (128, 128, 0, 4),
        (1024, 32, 0, 2),
        (32, 16, 0, 32),
        (256, 32, 100 << 10, 2),
        (256, 154, 147_480, 1),
    ],
)
def test_resident_blocks_of_an_h100(threads: int, registers: int, shared: int, blocks: int) -> None:
    resources = Resources(registers, 0, shared)
    assert resident_blocks("sm_90", threads, resources) == blocks
    assert occupancy("sm_90", threads, resources) == pytest.approx(blocks * threads / 2048)


@pytest.mark.parametrize(
    ("threads", "resources", "reason"),
    [
        (256, Resources(32, 0, 228 << 10), "shared memory"),
        (1024, Resources(72, 0, 0), "registers"),
        (2048, Resources(16, 0, 0), "threads"),
    ],
)
def test_what_cannot_launch_has_a_reason_and_no_occupancy(threads: int, resources: Resources, reason: str) -> None:
    assert reason in str(obstacle("sm_90", threads, resources))
    assert occupancy("sm_90", threads, resources) == 0


def test_largest_block_of_shared_memory_can_launch() -> None:
    assert obstacle("sm_90", 256, Resources(32, 0, 232_448)) is None
    assert obstacle("sm_80", 256, Resources(32, 0, 166_912)) is None
    assert obstacle("sm_80", 256, Resources(32, 0, 166_913)) is not None


def test_unknown_architecture_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="sm_12"):
        limits("sm_12")


def test_facts_of_a_code_object() -> None:
    notes = "    .private_segment_fixed_size: 8\n    .vgpr_count:     42\n    .vgpr_spill_count: 2\n"
    assert amdgcn_resources(notes, 1024) == Resources(42, 8, 1024)
    with pytest.raises(DataError, match="vgpr_count"):
        amdgcn_resources("", 0)


def test_what_is_no_cubin_is_refused() -> None:
    with pytest.raises(DataError):
        cubin_resources(b"no cubin", "add", 0)


@pytest.mark.parametrize(
    ("arch", "device", "runs"),
    [
        ("sm_90", "sm_90", True),
        ("sm_80", "sm_86", True),
        ("sm_86", "sm_80", False),
        ("sm_80", "sm_90", False),
        ("sm_90", "sm_80", False),
        ("sm_90", "sm_103", False),
        ("gfx942", "sm_90", False),
        ("gfx942", "gfx942", True),
    ],
)
def test_a_device_runs_binaries_of_its_own_generation(arch: str, device: str, runs: bool) -> None:
    assert runs_on(arch, device) is runs
