"""The sources compile by hipcc, too, where it is installed; nothing here runs on a device."""

from __future__ import annotations

import shutil

import pytest

from quasim.errors import MissingToolError
from quasim.kernels import family
from quasim.targets.cuda.hip import ARCH, hip_resources
from quasim.targets.cuda.source import CudaSource, cuda_source
from quasim.targets.cuda.space import space
from tests.quasim.targets.triton.test_space import EVEN, problem


def made(name: str) -> CudaSource:
    asked = problem(name, EVEN)
    genome = space(asked, "sm_90").default
    assert genome is not None
    return cuda_source(family(name).kernel, genome, asked.dims)


@pytest.mark.skipif(shutil.which("hipcc") is None, reason="hipcc is not installed")
@pytest.mark.parametrize("name", ["softmax", "matmul"])
def test_source_compiles_for_another_vendor(name: str) -> None:
    facts = hip_resources(made(name), ARCH)
    assert facts.registers > 0
    assert facts.local_bytes == 0


def test_without_hipcc_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingToolError, match="hipcc"):
        hip_resources(made("add"), ARCH)
