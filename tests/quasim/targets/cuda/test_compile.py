"""Every family compiles by NVRTC on a machine without a GPU, and the compiler's facts are read from the cubin."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest

from quasim.errors import MissingToolError
from quasim.kernels import family
from quasim.targets.cuda import compile as compile_module
from quasim.targets.cuda.compile import ARCHS, nvrtc_version
from quasim.targets.cuda.source import CudaSource, cuda_source
from quasim.targets.cuda.space import space
from quasim.targets.gpu.compile import compile_source, kept
from quasim.targets.gpu.image import CompileFailure, Image, Number, Pointer, Size
from quasim.trial import Genome, Problem
from tests.quasim.targets.cuda.variants import FAMILIES, PRODUCT, ROWS, TILED, genome
from tests.quasim.targets.triton.test_space import EVEN, problem

SLOW_PATHS = 16
"""Bytes of local memory for the calls of a division's and a root's slow paths; spilled registers need more."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


def made(problem: Problem, chosen: Genome | None = None) -> CudaSource:
    chosen = chosen or space(problem, "sm_90").default
    assert chosen is not None
    return cuda_source(family(problem.kernel).kernel, chosen, problem.dims)


def image(source: CudaSource, arch: str, folder: Path) -> Image:
    result = compile_source(source, arch, folder)
    assert isinstance(result, Image), result
    return result


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("name", FAMILIES)
def test_the_default_compiles_without_spilling(name: str, arch: str, folder: Path) -> None:
    found = image(made(problem(name, EVEN)), arch, folder)
    assert found.binary.startswith(b"\x7fELF")
    assert found.resources.registers > 0
    assert found.resources.local_bytes <= SLOW_PATHS
    assert 0 < found.occupancy <= 1


@pytest.mark.parametrize(
    ("problem", "chosen"),
    [
        (Problem.of("matmul", m=1000, n=77, k=50), genome(PRODUCT, block_m=128, block_n=128, each_m=8, each_n=8)),
        (Problem.of("matmul_tn", m=1000, n=512, k=50), genome(PRODUCT, block_m=128, each_m=8, asynchronous=True)),
        (Problem.of("softmax", rows=64, cols=1000), genome(ROWS, threads=256, group=256, once=True)),
        (Problem.of("stencil2d", h=1000, w=1000), genome(TILED, threads=128, rows=8)),
    ],
    ids=str,
)
def test_other_schedules_compile(problem: Problem, chosen: Genome, folder: Path) -> None:
    assert image(made(problem, chosen), "sm_90", folder).resources.local_bytes <= SLOW_PATHS


def test_arguments_are_all_addresses_and_then_the_extents(folder: Path) -> None:
    found = image(made(Problem.of("matmul", m=256, n=256, k=256)), "sm_90", folder)
    assert found.arguments == (
        *(Pointer(name) for name in "abc"),
        *(Number(Size((name,)), 32) for name in "mnk"),
    )
    assert found.shared_bytes == found.resources.shared_bytes > 0


def test_integers_are_wide_where_offsets_are(folder: Path) -> None:
    asked = Problem.of("add", rows=1 << 20, cols=1 << 13)
    assert made(asked).bits == 64
    assert image(made(asked), "sm_90", folder).arguments[-1] == Number(Size(("cols",)), 64)


def test_an_image_is_made_once(folder: Path) -> None:
    source = made(problem("add", EVEN))
    first = image(source, "sm_90", folder)
    assert kept(source, "sm_90", folder) == first
    assert kept(source, "sm_80", folder / "elsewhere") is None


def test_what_nvrtc_refuses_is_a_failure_with_its_reason(folder: Path) -> None:
    wrong = msgspec.structs.replace(made(problem("add", EVEN)), text="int nonsense(")
    result = compile_source(wrong, "sm_90", folder)
    assert isinstance(result, CompileFailure)
    assert result.stage == "compile"
    assert "error" in result.reason


def test_another_vendors_architecture_is_a_failure(folder: Path) -> None:
    result = compile_source(made(problem("add", EVEN)), "gfx90a", folder)
    assert isinstance(result, CompileFailure)
    assert "gfx90a" in result.reason


def test_a_block_with_too_much_shared_memory_is_known_before_a_launch(folder: Path) -> None:
    source = msgspec.structs.replace(made(problem("matmul", EVEN)), shared_bytes=300_000)
    result = compile_source(source, "sm_90", folder)
    assert isinstance(result, CompileFailure)
    assert result.stage == "resources"


def test_without_the_bindings_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings.nvrtc", None)
    compile_module._nvrtc.cache_clear()
    nvrtc_version.cache_clear()
    with pytest.raises(MissingToolError, match="NVRTC"):
        nvrtc_version()


def test_the_version_is_the_librarys() -> None:
    assert int(nvrtc_version().partition(".")[0]) >= 13
