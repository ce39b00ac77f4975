from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from quasim.errors import ConfigError, MissingToolError
from quasim.search import strategy
from quasim.targets.cuda.device import cuda_plan
from quasim.targets.cuda.space import space
from quasim.targets.gpu.build import build
from quasim.targets.gpu.pool import LocalCompiler
from quasim.targets.spec import CudaSpec, TargetSpec
from quasim.trial import Problem, Status
from quasim.worker.protocol import Binary
from tests.quasim.gpu import REASON

ADD = Problem.of("add", rows=64, cols=128)


def test_the_spec_reads_from_plain_data_and_is_told_apart() -> None:
    assert msgspec.convert({"kind": "cuda", "device": 1, "arch": "sm_80"}, TargetSpec) == CudaSpec(1, "sm_80")
    assert msgspec.json.decode(msgspec.json.encode(CudaSpec()), type=TargetSpec) == CudaSpec()


def test_a_device_or_architecture_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="device=-1"):
        CudaSpec(device=-1)
    with pytest.raises(ConfigError, match="gfx90a"):
        CudaSpec(arch="gfx90a")


@pytest.mark.skipif(not REASON, reason="this machine has a GPU")
def test_without_a_gpu_opening_says_what_is_missing_and_leaves_no_process() -> None:
    with pytest.raises(MissingToolError) as caught:
        CudaSpec().open()
    assert caught.value.do


def test_genomes_are_compiled_in_the_processes_of_the_triton_target(tmp_path: Path) -> None:
    known = space(ADD, "sm_90")
    genomes = strategy("random", known, 3).ask(2)
    with LocalCompiler(1, tmp_path) as compiler:
        found = build(ADD, known, genomes, "sm_90", compiler, cuda_plan)
    assert [one.status for one in found] == [Status.OK] * 2
    assert all(isinstance(one.entry, Binary) and one.image and one.compile_ns for one in found)
