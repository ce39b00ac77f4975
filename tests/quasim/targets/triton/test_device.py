from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from quasim.errors import ConfigError, MissingToolError, SpaceError, UnknownNameError
from quasim.kernels.sizes import Grid
from quasim.search import strategy
from quasim.targets.gpu.build import build, built
from quasim.targets.gpu.image import CompileFailure, Image
from quasim.targets.gpu.pool import LocalCompiler
from quasim.targets.gpu.resources import Resources
from quasim.targets.spec import CSpec, TargetSpec, TritonSpec
from quasim.targets.triton.plans import triton_plan
from quasim.targets.triton.space import space
from quasim.trial import Genome, Problem, Status
from quasim.worker.protocol import Binary
from tests.quasim.gpu import REASON

ADD = Problem.of("add", rows=64, cols=128)
IMAGE = Image("k", b"", "k", "sm_90", 4, 1, 1024, Resources(64, 8, 1024), (), Grid(()))


def test_the_spec_reads_from_plain_data() -> None:
    assert msgspec.convert({"kind": "triton", "device": 1, "arch": "sm_80"}, TargetSpec) == TritonSpec(1, "sm_80")
    assert msgspec.convert({"kind": "triton"}, TargetSpec) == TritonSpec()
    assert msgspec.convert({"kind": "c"}, TargetSpec) == CSpec()


def test_a_device_or_architecture_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="device=-1"):
        TritonSpec(device=-1)
    with pytest.raises(UnknownNameError, match="sm_12"):
        TritonSpec(arch="sm_12")
    with pytest.raises(ConfigError, match="gfx942 is no NVIDIA"):
        TritonSpec(arch="gfx942")


@pytest.mark.skipif(not REASON, reason="this machine has a GPU")
def test_without_a_gpu_opening_says_what_is_missing_and_leaves_no_process() -> None:
    with pytest.raises(MissingToolError) as caught:
        TritonSpec().open()
    assert caught.value.do


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (CompileFailure("compile", "no such name"), Status.COMPILE_ERROR),
        (CompileFailure("timeout", "60 s"), Status.COMPILE_ERROR),
        (CompileFailure("crashed", "SIGSEGV"), Status.COMPILE_ERROR),
        (CompileFailure("resources", "300000 bytes of shared memory"), Status.LAUNCH_ERROR),
    ],
)
def test_what_cannot_be_launched_has_failed_before_a_gpu_is_touched(failure: CompileFailure, status: Status) -> None:
    one = built(failure, 7)
    assert (one.entry, one.image, one.status) == (None, None, status)
    assert failure.reason in one.detail


def test_an_image_goes_to_the_worker_as_it_is() -> None:
    one = built(IMAGE, 7)
    assert one.entry == Binary(IMAGE)
    assert (one.compile_ns, one.status) == (7, Status.OK)


def test_genomes_are_compiled_and_told_their_share_of_the_time(tmp_path: Path) -> None:
    known = space(ADD, "sm_90")
    genomes = strategy("random", known, 3).ask(2)
    with LocalCompiler(2, tmp_path) as compiler:
        found = build(ADD, known, genomes, "sm_90", compiler, triton_plan)
    assert [one.status for one in found] == [Status.OK] * 2
    assert all(one.compile_ns and one.image for one in found)


def test_a_genome_of_another_space_is_refused(tmp_path: Path) -> None:
    with LocalCompiler(1, tmp_path) as compiler, pytest.raises(SpaceError, match="not in the space"):
        build(ADD, space(ADD, "sm_90"), [Genome({"nonsense": 1})], "sm_90", compiler, triton_plan)
