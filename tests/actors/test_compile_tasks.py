"""Real compilation for a GPU that is not there, as tasks of a real Ray cluster."""

from __future__ import annotations

import pytest

from actors.compile_tasks import RayCompiler
from quasim.kernels.sizes import Grid, Size, Tiles
from quasim.targets.gpu.build import build
from quasim.targets.gpu.image import CompileFailure, Image
from quasim.targets.triton.plans import triton_plan
from quasim.targets.triton.source import ExtentParameter, PointerParameter, Source
from quasim.targets.triton.space import space
from quasim.trial import Problem, Status

pytest.importorskip("triton")
pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

HEAD = "import triton\nimport triton.language as tl\n\n\n@triton.jit\n"
COPY = """def copy(x_ptr, y_ptr, n):
    at = tl.program_id(0) * 256 + tl.arange(0, 256)
    tl.store(y_ptr + at, tl.load(x_ptr + at, at < n) * FACTOR, at < n)
"""


def source(text: str) -> Source:
    pointers = [PointerParameter(f"{name}_ptr", name, "float32") for name in "xy"]
    grid = Grid((Tiles(Size(("n",)), 256),))
    return Source(text, "copy", (*pointers, ExtentParameter("n", "n", 32, 1)), 4, 2, grid)


def good(factor: float) -> Source:
    return source(HEAD + COPY.replace("FACTOR", str(factor)))


def test_sources_become_images_in_their_order_without_a_gpu() -> None:
    images = RayCompiler().compile_all([good(2.0), good(3.0)], "sm_90")
    assert all(isinstance(image, Image) and image.binary.startswith(b"\x7fELF") for image in images)
    assert len({image.binary for image in images if isinstance(image, Image)}) == 2
    assert RayCompiler().compile_all([good(3.0)], "sm_90") == images[1:]


def test_what_the_compiler_refuses_or_dies_of_fails_alone() -> None:
    refused, died = source(HEAD + COPY.replace("FACTOR", "nobody")), source("import os\nos._exit(3)\n")
    results = RayCompiler().compile_all([refused, good(2.0), died], "sm_90")
    assert isinstance(results[1], Image)
    stages = [result.stage for result in results if isinstance(result, CompileFailure)]
    assert stages == ["compile", "crashed"]


def test_a_compiler_that_hangs_is_stopped() -> None:
    [result] = RayCompiler(limit_s=2.0).compile_all([source("while True:\n    pass\n")], "sm_90")
    assert result == CompileFailure("timeout", "not compiled within 2 s")


def test_waiting_for_a_cpu_is_no_part_of_the_limit() -> None:
    [image] = RayCompiler().compile_all([good(2.0)], "sm_90")
    hanging = [source(f"# {number}\nwhile True:\n    pass\n") for number in range(3)]
    *stopped, last = RayCompiler(limit_s=1.0).compile_all([*hanging, good(2.0)], "sm_90")
    assert {result.stage for result in stopped if isinstance(result, CompileFailure)} == {"timeout"}
    assert last == image


def test_nothing_to_compile_is_no_task() -> None:
    assert RayCompiler().compile_all([], "sm_90") == []


def test_the_tasks_stand_in_for_the_processes_of_a_host() -> None:
    problem = Problem.of("softmax", rows=4096, cols=1024)
    known = space(problem, "sm_90")
    assert known.default is not None
    [built] = build(problem, known, [known.default], "sm_90", RayCompiler(), triton_plan)
    assert built.status is Status.OK
    assert built.image is not None
    assert built.image.resources.registers > 0
