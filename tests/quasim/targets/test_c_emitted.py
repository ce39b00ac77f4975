from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quasim.kernels import Arrays, family
from quasim.kernels.accuracy import kernel_errors, untouched, untouched_outputs
from quasim.kernels.interpret import interpret
from quasim.kernels.ir import Tensor, extents
from quasim.kernels.lower import lower
from quasim.targets.c.compile import FLAGS, CCompiler
from quasim.targets.c.emit import emit
from quasim.targets.c.launch import Loaded, load
from quasim.trial import Genome
from tests.quasim.kernels.nest import Touched, guards, touched, without_guard
from tests.quasim.targets.c_variants import SHAPES, compiled, genomes, rng

FAMILIES = list(SHAPES)
ROOT = Path(__file__).parents[3]
ROUNDING = {"matmul": 1e-6, "softmax": 1e-6, "stencil2d": 1e-5, "layernorm": 1e-5, "add": 1e-6, "gelu_residual": 1e-6}
ROUNDING |= {"matmul_bf16_nt": 2**-8, "bmm_fp16_tn": 2**-10, "gate1": 1e-6, "gate2": 1e-6}
"""Largest Frobenius error; a single element of a stencil may cancel to little, as may two of a row."""

TILES = {"matmul": {"m": 7, "n": 16, "k": 32}, "softmax": {"r": 3, "c": 8}, "stencil2d": {"i": 5, "j": 8}}
TILES |= {"matmul_bf16_nt": {"m": 7, "n": 16, "k": 32}, "bmm_fp16_tn": {"b": 2, "m": 7, "n": 16, "k": 32}}
TILES |= {"gate1": {"outer": 3, "inner": 8}, "gate2": {"outer": 3, "middle": 4, "inner": 8}}
TILES |= {"layernorm": {"r": 3, "c": 8}, "add": {"r": 5, "c": 8}, "gelu_residual": {"r": 5, "c": 8}}

Variants = dict[str, list[Path]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("variants")


@pytest.fixture(scope="module")
def libraries(folder: Path) -> Variants:
    return {name: [compiled(name, genome, folder) for genome in genomes(name)] for name in FAMILIES}


@pytest.fixture(scope="module")
def variants(libraries: Variants) -> dict[str, list[Loaded]]:
    return {name: [load(path, family(name).kernel) for path in paths] for name, paths in libraries.items()}


def _run(variant: Loaded, name: str, shape: dict[str, int], inputs: Arrays) -> Arrays:
    outputs = untouched_outputs(family(name).kernel, shape)
    variant(shape, {**inputs, **outputs})
    return outputs


MOST = {"bmm_fp16_tn": 40, "gate2": 30}
"""Largest extent to try, where there are more than two that multiply."""


@st.composite
def _cases(draw: st.DrawFn) -> tuple[str, dict[str, int]]:
    name = draw(st.sampled_from(FAMILIES))
    low, high = (3 if name == "stencil2d" else 1), MOST.get(name, 150)
    return name, {dim.name: draw(st.integers(low, high)) for dim in family(name).kernel.dims}


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(case=_cases())
def test_emitted_code_agrees_with_the_reference_on_any_shape(
    variants: dict[str, list[Loaded]], case: tuple[str, dict[str, int]]
) -> None:
    name, shape = case
    kernel, inputs = family(name).kernel, family(name).inputs(shape, rng(*shape.values()))
    reference = family(name).reference(shape, inputs)
    for variant in variants[name]:
        errors = kernel_errors(kernel, _run(variant, name, shape, inputs), reference)
        assert errors.frobenius < ROUNDING[name]


@pytest.mark.parametrize("name", FAMILIES)
def test_emitted_code_agrees_with_the_interpreter(variants: dict[str, list[Loaded]], name: str) -> None:
    marks = {t.name: untouched(t.dtype) for t in family(name).kernel.tensors}
    for shape in SHAPES[name][:5]:
        inputs = family(name).inputs(shape, rng(*shape.values()))
        expected = interpret(family(name).kernel, inputs, shape, TILES[name])
        for variant in variants[name]:
            for tensor, answer in _run(variant, name, shape, inputs).items():
                near = max(1e-4, 2 * ROUNDING[name])
                answer, wanted = answer.astype(np.float32), expected[tensor].astype(np.float32)
                np.testing.assert_allclose(answer, wanted, rtol=near, atol=near)
                assert np.array_equal(answer == marks[tensor], wanted == marks[tensor])


Job = tuple[str, str, dict[str, int], bool]


@pytest.fixture(scope="module")
def guarded() -> Iterator[Callable[[list[Job]], list[float]]]:
    """Launches between pages that may not be touched: the outcome of each job."""
    command = [sys.executable, "-m", "tests.quasim.targets.guarded"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        asked, answers = process.stdin, process.stdout

        def launched(jobs: list[Job]) -> list[float]:
            asked.write(f"{json.dumps(jobs)}\n")
            asked.flush()
            outcomes: list[float] = json.loads(answers.readline())
            return outcomes

        yield launched
        asked.close()
    assert process.returncode == 0


@pytest.mark.parametrize("name", FAMILIES)
def test_no_variant_touches_a_page_behind_or_before_its_arrays(
    libraries: Variants, guarded: Callable[[list[Job]], list[float]], name: str
) -> None:
    jobs = [(str(p), name, s, behind) for p in libraries[name] for s in SHAPES[name] for behind in (True, False)]
    for job, error in zip(jobs, guarded(jobs), strict=True):
        assert 0 <= error < ROUNDING[name], job


DEAD_LANES = {
    "matmul": {"m": 50, "n": 26, "k": 130},
    "softmax": {"rows": 3, "cols": 9},
    "stencil2d": {"h": 11, "w": 11},
    "layernorm": {"rows": 3, "cols": 9},
    "gelu_residual": {"rows": 11, "cols": 9},
    "matmul_bf16_nt": {"m": 50, "n": 26, "k": 130},
    "gate1": {"outer": 5, "inner": 9},
}
"""Shapes whose last tiles have dead lanes along every axis: three at least, as a halo hides the first two."""


def _planted(name: str) -> Genome:
    """A genome with large tiles, and without streamed stores, whose tails depend on addresses."""
    if name == "gate1":
        return Genome({**genomes(name)[0], "tile_rows": 2048})
    genome = genomes(name)[1 if name == "matmul" else 0]
    return Genome({**genome, "step_rows": 8}) if "step_rows" in genome else genome


@pytest.mark.parametrize("name", DEAD_LANES)
def test_a_guard_missing_from_the_ir_makes_the_compiled_code_run_into_the_guard_page(
    guarded: Callable[[list[Job]], list[float]], name: str, folder: Path
) -> None:
    kernel, shape = family(name).kernel, DEAD_LANES[name]
    jobs = []
    for access, axis in guards(kernel):
        planted = lower(without_guard(kernel, access, axis), _planted(name), "c")
        # A neighbour above the last row overruns its row into the next one, which is no other page.
        if _leaves(access.tensor, shape, touched(planted, shape)):
            # Which addresses are touched does not depend on -O, which would take most of the time.
            library = CCompiler.find().compile(emit(planted), folder, extra_flags=("-O0",)).path
            jobs.append((str(library), name, shape, True))
    assert len(jobs) >= {"matmul": 6, "softmax": 4, "stencil2d": 6, "layernorm": 6, "gelu_residual": 6}.get(name, 6)
    assert guarded(jobs) == [-float(signal.SIGSEGV)] * len(jobs)


def _leaves(tensor: Tensor, shape: dict[str, int], result: Touched) -> bool:
    sizes = extents(tensor, shape)
    steps = [math.prod(sizes[i + 1 :]) for i in range(len(sizes))]
    flat = (
        sum(i * step for i, step in zip(at, steps, strict=True)) for name, at in result.outside if name == tensor.name
    )
    return any(place >= math.prod(sizes) for place in flat)


SANITIZED = [("matmul", 1), ("softmax", 1), ("stencil2d", 2), ("layernorm", 1)]
SANITIZED += [("matmul_bf16_nt", 0), ("bmm_fp16_tn", 1), ("gate2", 1)]


def test_sanitizers_find_nothing_in_the_variants_and_do_find_a_planted_bug(folder: Path) -> None:
    """The address sanitizer has to be loaded before Python; undefined behaviour ends the program too."""
    runtime = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=False)
    if not Path(runtime.stdout.strip()).is_absolute():
        pytest.skip("this compiler has no runtime of the address sanitizer")
    flags = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O0")
    jobs = [
        (str(compiled(name, genomes(name)[number], folder, *flags)), name, shape, True)
        for name, number in SANITIZED
        for shape in SHAPES[name]
    ]
    clean = _sanitized(jobs, runtime.stdout.strip())
    assert clean.returncode == 0, clean.stderr
    kernel, shape = family("matmul").kernel, DEAD_LANES["matmul"]
    access, axis = guards(kernel)[-1]
    planted = emit(lower(without_guard(kernel, access, axis), _planted("matmul"), "c"))
    library = CCompiler.find().compile(planted, folder, extra_flags=flags).path
    caught = _sanitized([(str(library), "matmul", shape, True)], runtime.stdout.strip())
    assert caught.returncode != 0
    assert "heap-buffer-overflow" in caught.stderr


def _sanitized(jobs: list[Job], runtime: str) -> subprocess.CompletedProcess[str]:
    # Python itself never frees some of its memory.
    environment = {**os.environ, "LD_PRELOAD": runtime, "ASAN_OPTIONS": "detect_leaks=0"}
    command = [sys.executable, "-m", "tests.quasim.targets.plain"]
    return subprocess.run(
        command, input=json.dumps(jobs), capture_output=True, text=True, cwd=ROOT, env=environment, check=False
    )


def test_nan_in_a_matmul_stays_in_its_row_and_column(variants: dict[str, list[Loaded]]) -> None:
    shape = {"m": 50, "n": 26, "k": 130}
    for variant in variants["matmul"]:
        inputs = family("matmul").inputs(shape, rng(1))
        inputs["a"][49, 129] = np.nan
        inputs["b"][3, 25] = np.inf
        c = _run(variant, "matmul", shape, inputs)["c"]
        assert np.isnan(c[49]).all()
        assert np.isinf(c[:49, 25]).all()
        assert np.isfinite(c[:49, :25]).all()


def test_nan_and_infinities_in_a_softmax_come_out_as_in_float64(variants: dict[str, list[Loaded]]) -> None:
    shape, special = {"rows": 6, "cols": 37}, {0: np.nan, 1: -np.inf, 2: np.inf, 3: 3e38, 4: -3e38}
    for variant in variants["softmax"]:
        for col in (0, 20, 36):
            inputs = family("softmax").inputs(shape, rng(col))
            for row, value in special.items():
                inputs["x"][row, col] = value
            inputs["x"][5] = -np.inf
            y, expected = _run(variant, "softmax", shape, inputs)["y"], family("softmax").reference(shape, inputs)["y"]
            assert np.array_equal(np.isnan(y), np.isnan(expected.value))
            np.testing.assert_allclose(y, expected.value, rtol=1e-6, atol=1e-37)
            assert y[1, col] == 0
            assert y[3, col] == 1


def test_a_nan_of_any_sign_and_payload_passes_through_exp(variants: dict[str, list[Loaded]]) -> None:
    bits = np.array([0x7FC00000, 0xFFC00000, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FC00155, 0xFFC0F0F0], dtype=np.uint32)
    x = np.zeros((len(bits), 19), np.float32)
    x[:, 7] = bits.view(np.float32)
    for variant in variants["softmax"]:
        y = _run(variant, "softmax", {"rows": len(bits), "cols": 19}, {"x": x})["y"]
        assert np.isnan(y).all()


def test_exp_is_accurate_over_its_whole_range(variants: dict[str, list[Loaded]]) -> None:
    """The other element of each row is 0, the largest, so its share is known and the exponential comes out."""
    x = np.zeros((4001, 2), np.float32)
    x[:, 1] = np.linspace(-86, 0, 4001, dtype=np.float32)
    expected = family("softmax").reference({}, {"x": x})["y"].value
    for variant in variants["softmax"]:
        y = _run(variant, "softmax", {"rows": 4001, "cols": 2}, {"x": x})["y"]
        np.testing.assert_allclose(y, expected, rtol=5e-7)


def test_nan_in_a_layernorm_fills_its_row_or_stays_in_its_column(variants: dict[str, list[Loaded]]) -> None:
    shape = {"rows": 6, "cols": 37}
    for variant in variants["layernorm"]:
        for col in (0, 20, 36):
            inputs = family("layernorm").inputs(shape, rng(col))
            inputs["x"][4, col], inputs["x"][2, col] = np.nan, np.inf
            inputs["gamma"][7], inputs["beta"][35] = np.nan, np.nan
            expected = np.zeros((6, 37), bool)
            expected[[2, 4]] = True
            expected[:, [7, 35]] = True
            assert np.array_equal(np.isnan(_run(variant, "layernorm", shape, inputs)["y"]), expected)


@pytest.mark.parametrize("name", ["add", "gelu_residual"])
def test_nan_in_a_map_stays_where_it_is(variants: dict[str, list[Loaded]], name: str) -> None:
    shape = {"rows": 13, "cols": 43}
    for variant in variants[name]:
        inputs = family(name).inputs(shape, rng(1))
        inputs["x"][2, 42], inputs["residual"][12, 3] = np.nan, np.nan
        y = _run(variant, name, shape, inputs)["y"]
        assert {(int(i), int(j)) for i, j in np.argwhere(np.isnan(y))} == {(2, 42), (12, 3)}


def test_gelu_in_c_agrees_over_its_whole_range(variants: dict[str, list[Loaded]]) -> None:
    x = np.linspace(-20, 20, 40_001, dtype=np.float32).reshape(1, -1)
    x[0, :4] = [1e20, -1e20, np.inf, -np.inf]
    inputs: Arrays = {"x": x, "residual": np.zeros_like(x)}
    expected = family("gelu_residual").reference({}, inputs)["y"].value
    for variant in variants["gelu_residual"]:
        y = _run(variant, "gelu_residual", {"rows": 1, "cols": x.size}, inputs)["y"]
        # The reference's own 1 + tanh u cancels below −6.
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-14)


def test_nan_in_a_stencil_reaches_the_element_and_its_four_neighbours(variants: dict[str, list[Loaded]]) -> None:
    shape = {"h": 13, "w": 43}
    for variant in variants["stencil2d"]:
        for row, col in ((2, 2), (10, 40), (6, 17)):
            inputs = family("stencil2d").inputs(shape, rng(row))
            inputs["x"][row, col] = np.nan
            y = _run(variant, "stencil2d", shape, inputs)["y"]
            reached = {(row, col), (row - 1, col), (row + 1, col), (row, col - 1), (row, col + 1)}
            assert {(int(i), int(j)) for i, j in np.argwhere(np.isnan(y))} == reached


@pytest.mark.parametrize("sizes", [{"b": 3, "m": 97, "n": 131, "k": 777}, {"b": 2, "m": 24, "n": 48, "k": 1000}])
@pytest.mark.parametrize("name", ["matmul", "matmul_bf16_nt", "bmm_fp16_tn"])
def test_every_matmul_genome_gives_the_same_bits(
    variants: dict[str, list[Loaded]], name: str, sizes: dict[str, int]
) -> None:
    shape = {dim.name: sizes[dim.name] for dim in family(name).kernel.dims}
    inputs = family(name).inputs(shape, rng(7))
    answers = [_run(variant, name, shape, inputs)["c"] for variant in variants[name]]
    assert all(np.array_equal(answer, answers[0]) for answer in answers)


def test_nan_in_a_batch_stays_in_a_row_or_column_of_its_product(variants: dict[str, list[Loaded]]) -> None:
    shape = {"b": 3, "m": 50, "n": 26, "k": 130}
    for variant in variants["bmm_fp16_tn"]:
        inputs = family("bmm_fp16_tn").inputs(shape, rng(1))
        inputs["a"][1, 129, 49] = np.nan
        inputs["b"][2, 3, 25] = np.nan
        expected = np.zeros((3, 50, 26), bool)
        expected[1, 49], expected[2, :, 25] = True, True
        assert np.array_equal(np.isnan(_run(variant, "bmm_fp16_tn", shape, inputs)["c"]), expected)


def test_products_outside_float16_are_infinite_and_tiny_ones_are_subnormal(variants: dict[str, list[Loaded]]) -> None:
    factors = np.array([[1, 2**-12, 3 * 2**-14, 60000, np.inf]], np.float16)
    inputs: Arrays = {"a": factors[None], "b": factors[None]}
    with np.errstate(over="ignore", under="ignore"):
        expected = (factors.T.astype(np.float32) * factors).astype(np.float16)
    for variant in variants["bmm_fp16_tn"]:
        answer = _run(variant, "bmm_fp16_tn", {"b": 1, "m": 5, "n": 5, "k": 1}, inputs)["c"][0]
        np.testing.assert_array_equal(answer, expected)


@pytest.mark.parametrize("shape", [{"outer": 5, "inner": 1}, {"outer": 5, "middle": 3, "inner": 43}])
def test_nan_in_an_amplitude_reaches_those_that_the_gate_mixes_it_with(
    variants: dict[str, list[Loaded]], shape: dict[str, int]
) -> None:
    name = f"gate{len(shape) - 1}"
    inputs = family(name).inputs(shape, rng(1))
    spoilt = (-1, 0, -1) if name == "gate1" else (-1, 0, 1, 1, -1)
    inputs["im"][spoilt] = np.nan
    expected = np.zeros(inputs["im"].shape, bool)
    expected[(-1, slice(None), -1) if name == "gate1" else (-1, slice(None), 1, slice(None), -1)] = True
    for variant in variants[name]:
        for answer in _run(variant, name, shape, inputs).values():
            assert np.array_equal(np.isnan(answer), expected)


@pytest.mark.parametrize("name", ["softmax", "stencil2d", "layernorm", "gelu_residual"])
def test_answers_do_not_depend_on_where_the_output_lies(variants: dict[str, list[Loaded]], name: str) -> None:
    """Streamed stores begin at an aligned column, which must not change the order of a sum."""
    shape = SHAPES[name][5]
    inputs, (rows, cols) = family(name).inputs(shape, rng(3)), tuple(shape.values())
    for variant in variants[name]:
        answers = []
        for shift in range(0, 16, 3):
            room = np.zeros(rows * cols + 16, np.float32)
            y = room[shift : shift + rows * cols].reshape(rows, cols)
            variant(shape, {**inputs, "y": y})
            answers.append(y.copy())
        assert all(np.array_equal(answer, answers[0]) for answer in answers)


def test_source_is_the_same_each_time_and_forbids_nothing_of_ieee() -> None:
    for name in FAMILIES:
        for genome in genomes(name):
            kernel = family(name).kernel
            assert emit(lower(kernel, genome, "c")) == emit(lower(kernel, genome, "c"))
    assert not any("fast-math" in flag or "-O3" in flag for flag in FLAGS)


def test_source_compiles_without_avx(folder: Path) -> None:
    for name in FAMILIES:
        assert compiled(name, genomes(name)[1], folder, "-march=x86-64", "-O1", "-Wall", "-Wextra", "-Werror").exists()
