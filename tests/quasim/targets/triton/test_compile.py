"""Every family compiles for every architecture on a machine without a GPU; what cannot launch is known at once."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from quasim.errors import UnknownNameError
from quasim.kernels import family
from quasim.targets.gpu.compile import ARCHS, compile_source, kept
from quasim.targets.gpu.image import CompileFailure, Image, Number, Pointer, Scratch, Size, TensorMap
from quasim.targets.triton.source import source
from quasim.trial import Genome, Problem
from tests.quasim.targets.triton.variants import FLAT, PRODUCT, ROWS, TILED, default, genome

PROBLEMS = (
    Problem.of("matmul", m=100, n=100, k=100),
    Problem.of("matmul_bf16", m=1024, n=1024, k=1024),
    Problem.of("matmul_fp16_tn", m=1024, n=1024, k=1000),
    Problem.of("matmul_tf32_nt", m=1024, n=1024, k=1024),
    Problem.of("bmm_bf16", b=3, m=100, n=128, k=64),
    Problem.of("softmax", rows=1000, cols=1000),
    Problem.of("layernorm", rows=4096, cols=4096),
    Problem.of("stencil2d", h=1000, w=1000),
    Problem.of("add", rows=1000, cols=1000),
    Problem.of("gelu_residual", rows=1000, cols=1000),
    Problem.of("gate1", outer=1 << 9, inner=2),
    Problem.of("gate2", outer=1 << 9, middle=2, inner=4),
)

EVERYWHERE = [(p, arch) for p in PROBLEMS for arch in ARCHS if arch != "gfx90a" or "tf32" not in p.kernel]
"""gfx90a has no tf32 products."""

EIGHTS = {"m": 1024, "n": 1024, "k": 1024}
FAST = genome(
    PRODUCT, block_m=128, block_n=256, block_k=64, warps=8, stages=3, group=8, access="descriptor", epilogue=2
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


def image(problem: Problem, chosen: Genome, arch: str, folder: Path) -> Image:
    result = compile_source(source(family(problem.kernel).kernel, chosen, problem.dims), arch, folder)
    assert isinstance(result, Image), result
    return result


@pytest.mark.parametrize(("problem", "arch"), EVERYWHERE, ids=str)
def test_default_genome_compiles_for_every_architecture(problem: Problem, arch: str, folder: Path) -> None:
    made = image(problem, default(problem, arch), arch, folder)
    assert made.binary.startswith(b"\x7fELF")
    assert made.resources.registers > 0
    assert 0 < made.occupancy <= 1
    assert [a.kind for a in made.arguments[-2:] if isinstance(a, Scratch)] == ["global", "profile"]


@pytest.mark.parametrize(
    ("problem", "chosen"),
    [
        (Problem.of("softmax", rows=1000, cols=5000), genome(ROWS, block=1024, warps=4, rows=2, persist=2)),
        (Problem.of("stencil2d", h=1024, w=1024), genome(TILED, rows=4, block=256, warps=4, align=True)),
        (Problem.of("gate1", outer=1 << 9, inner=2), genome(FLAT, layout="packed")),
        (
            Problem.of("gate2", outer=1 << 9, middle=2, inner=4),
            genome(FLAT, layout="packed", warps=4, persist=4, cache="once"),
        ),
        (Problem.of("softmax", rows=1 << 15, cols=1 << 16), genome(ROWS, rows=1, block=4096, warps=4)),
    ],
    ids=str,
)
def test_other_schedules_compile(problem: Problem, chosen: Genome, folder: Path) -> None:
    assert image(problem, chosen, "sm_90", folder).resources.local_bytes <= 16


def test_arguments_of_a_product_with_descriptors(folder: Path) -> None:
    made = image(Problem.of("matmul_bf16", **EIGHTS), FAST, "sm_90", folder)
    a, b, c = (argument for argument in made.arguments if isinstance(argument, TensorMap))
    assert (a.tensor, b.tensor, c.tensor) == ("a", "b", "c")
    assert a.box == (128, 64)
    assert a.swizzle == 3
    assert a.shape == (Size(("m",)), Size(("k",)))
    assert a.strides == (Size(("k",)), Size())
    per_descriptor = (Number(a.shape[0], 32), Number(a.shape[1], 32), Number(a.strides[0], 64), Number(Size(), 64))
    assert made.arguments[1:5] == per_descriptor
    assert len(made.arguments) == 3 * 5 + 3 + 2
    assert made.shared_bytes > 100_000


def test_arguments_of_a_program_with_pointers(folder: Path) -> None:
    made = image(Problem.of("softmax", rows=64, cols=64), genome(ROWS), "sm_90", folder)
    assert made.arguments[:4] == (
        Pointer("x"),
        Pointer("y"),
        Number(Size(("rows",)), 32),
        Number(Size(("cols",)), 32),
    )


def test_fast_products_fit_without_spilling(folder: Path) -> None:
    for walk in ("tiles", "persistent", "flat"):
        chosen = Genome({**FAST, "walk": walk})
        made = image(Problem.of("matmul_bf16", **EIGHTS), chosen, "sm_90", folder)
        assert made.resources.local_bytes == 0


def test_image_survives_writing_and_reading(folder: Path) -> None:
    made = image(Problem.of("add", rows=64, cols=64), genome(FLAT), "sm_90", folder)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(made), type=Image) == made


def test_compiling_again_gives_the_kept_image_and_a_damaged_file_is_made_again(tmp_path: Path) -> None:
    text = source(family("add").kernel, genome(FLAT), {"rows": 64, "cols": 64})
    assert kept(text, "sm_90", tmp_path) is None
    made = compile_source(text, "sm_90", tmp_path)
    assert kept(text, "sm_90", tmp_path) == made
    (file,) = tmp_path.glob("*.image")
    file.write_bytes(file.read_bytes()[:-1])
    assert kept(text, "sm_90", tmp_path) is None
    assert compile_source(text, "sm_90", tmp_path) == made


def test_nothing_but_images_is_kept_and_no_text_is_executed_from_there(tmp_path: Path) -> None:
    text = source(family("add").kernel, genome(FLAT), {"rows": 64, "cols": 64})
    compile_source(text, "sm_90", tmp_path)
    assert [path.suffix for path in tmp_path.rglob("*")] == [".image"]


def test_what_fails_for_want_of_memory_or_disk_is_tried_again(tmp_path: Path) -> None:
    text = source(family("add").kernel, genome(FLAT), {"rows": 64, "cols": 64})
    for error in ("OSError(28, 'No space left on device')", "MemoryError()"):
        broken = msgspec.structs.replace(text, text=f"raise {error}\n{text.text}")
        result = compile_source(broken, "sm_90", tmp_path)
        assert isinstance(result, CompileFailure)
        assert result.stage == "crashed"
    assert list(tmp_path.iterdir()) == []


def test_binary_does_not_depend_on_where_it_is_made(tmp_path: Path) -> None:
    text = source(family("add").kernel, genome(FLAT), {"rows": 64, "cols": 64})
    first, second = (compile_source(text, "sm_90", tmp_path / name) for name in ("one", "two"))
    assert first == second


def test_what_needs_too_much_shared_memory_is_a_failure_with_a_reason(folder: Path) -> None:
    chosen = Genome({**FAST, "block_k": 128, "stages": 4})
    text = source(family("matmul_bf16").kernel, chosen, EIGHTS)
    result = compile_source(text, "sm_90", folder)
    assert isinstance(result, CompileFailure)
    assert result.stage == "resources"
    assert "232448" in result.reason


def test_what_the_compiler_refuses_is_a_failure_in_one_line(folder: Path) -> None:
    text = source(family("add").kernel, genome(FLAT), {"rows": 64, "cols": 64})
    broken = msgspec.structs.replace(text, text=text.text.replace("tl.arange(0, 256)", "tl.arange(0, 250)"))
    result = compile_source(broken, "sm_90", folder)
    assert isinstance(result, CompileFailure)
    assert result.stage == "compile"
    assert "power of 2" in result.reason
    assert "\n" not in result.reason


def test_unknown_architecture_is_refused(folder: Path) -> None:
    text = source(family("add").kernel, genome(FLAT), {"rows": 64, "cols": 64})
    with pytest.raises(UnknownNameError, match="sm_12"):
        compile_source(text, "sm_12", folder)
