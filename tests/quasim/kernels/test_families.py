from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from quasim.errors import ExitCode, ShapeError, UnknownNameError
from quasim.kernels import Arrays, baseline, check_problem, family
from quasim.kernels._base import Family, numpy_dtype
from quasim.kernels.accuracy import kernel_errors, untouched_outputs
from quasim.kernels.interpret import interpret
from quasim.kernels.ir import extents
from quasim.trial import Problem

RAGGED = {
    "matmul": [{"m": 1, "n": 1, "k": 1}, {"m": 17, "n": 31, "k": 45}],
    "softmax": [{"rows": 1, "cols": 1}, {"rows": 7, "cols": 131}],
    "stencil2d": [{"h": 3, "w": 3}, {"h": 9, "w": 37}],
    "layernorm": [{"rows": 1, "cols": 1}, {"rows": 7, "cols": 131}],
    "add": [{"rows": 1, "cols": 1}, {"rows": 7, "cols": 131}],
    "gelu_residual": [{"rows": 1, "cols": 1}, {"rows": 7, "cols": 131}],
    "matmul_tf32": [{"m": 17, "n": 31, "k": 45}, {"m": 1, "n": 2, "k": 300}],
    "matmul_bf16_nt": [{"m": 17, "n": 31, "k": 45}, {"m": 1, "n": 2, "k": 300}],
    "bmm_fp16_tn": [{"b": 3, "m": 17, "n": 31, "k": 45}, {"b": 2, "m": 1, "n": 2, "k": 300}],
    "gate1": [{"outer": 1, "inner": 1}, {"outer": 7, "inner": 37}],
    "gate2": [{"outer": 1, "middle": 1, "inner": 1}, {"outer": 3, "middle": 5, "inner": 37}],
}
CASES = [(name, shape) for name, shapes in RAGGED.items() for shape in shapes]
EACH = list(RAGGED)

Launch = Callable[[dict[str, int], Arrays, Arrays], None]


@pytest.fixture(scope="module")
def baselines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Launch]:
    """The baselines of all families, compiled and loaded."""
    folder = tmp_path_factory.mktemp("baseline")
    return {f.name: _load(f, _compile(f.name, folder)) for f in map(family, EACH)}


def _compile(name: str, folder: Path) -> Path:
    library = folder / f"{name}.so"
    strict = ["-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    command = ["gcc", *baseline.FLAGS, *strict, "-x", "c", "-", "-o", str(library), *baseline.LIBRARIES]
    subprocess.run(command, input=baseline.source(name), text=True, check=True)
    return library


def _load(family: Family, library: Path) -> Launch:
    entry = ctypes.CDLL(str(library)).quasim_run

    def launch(shape: dict[str, int], inputs: Arrays, outputs: Arrays) -> None:
        arrays = {**inputs, **outputs}
        dims = (ctypes.c_int64 * len(shape))(*(shape[d.name] for d in family.kernel.dims))
        tensors = (ctypes.c_void_p * len(arrays))(*(arrays[t.name].ctypes.data for t in family.kernel.tensors))
        assert entry(dims, tensors) == 0

    return launch


def _library(name: str) -> Launch:
    def launch(shape: dict[str, int], inputs: Arrays, outputs: Arrays) -> None:
        assert family(name).library(inputs, outputs)

    return launch


def _interpreted(name: str) -> Launch:
    def launch(shape: dict[str, int], inputs: Arrays, outputs: Arrays) -> None:
        outputs.update(interpret(family(name).kernel, inputs, shape, {}))

    return launch


def _check(name: str, shape: dict[str, int], launch: Launch, spoil: bool = False) -> None:
    f = family(name)
    inputs = f.inputs(shape, np.random.default_rng(1))
    if spoil:
        for array in inputs.values():
            array.flat[array.size // 2] = np.nan
    outputs = untouched_outputs(f.kernel, shape)
    launch(shape, inputs, outputs)
    reference = f.reference(shape, inputs)
    if spoil:
        assert all(np.isnan(r.value).any() for r in reference.values())
    assert kernel_errors(f.kernel, outputs, reference).frobenius < f.tolerance


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_library_agrees_with_the_reference(name: str, shape: dict[str, int]) -> None:
    _check(name, shape, _library(name))


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_library_passes_nan_on(name: str, shape: dict[str, int]) -> None:
    _check(name, shape, _library(name), spoil=True)


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_baseline_agrees_with_the_reference(name: str, shape: dict[str, int], baselines: dict[str, Launch]) -> None:
    _check(name, shape, baselines[name])


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_baseline_passes_nan_on(name: str, shape: dict[str, int], baselines: dict[str, Launch]) -> None:
    _check(name, shape, baselines[name], spoil=True)


@pytest.mark.parametrize("first", [np.nan, np.inf, -np.inf])
def test_softmax_baseline_treats_special_rows_as_the_reference(first: float, baselines: dict[str, Launch]) -> None:
    f, shape = family("softmax"), {"rows": 2, "cols": 3}
    inputs: Arrays = {"x": np.array([[first, 1, 2], [first, first, first]], np.float32)}
    outputs = untouched_outputs(f.kernel, shape)
    baselines["softmax"](shape, inputs, outputs)
    assert kernel_errors(f.kernel, outputs, f.reference(shape, inputs)).frobenius < f.tolerance


def test_unknown_baseline_lists_the_known() -> None:
    with pytest.raises(UnknownNameError, match="softmax, stencil2d"):
        baseline.source("conv")


def test_references_on_numbers_worked_by_hand() -> None:
    one = family("matmul").reference(
        {"m": 1, "n": 1, "k": 2}, {"a": np.array([[1, -2]], np.float32), "b": np.array([[3], [4]], np.float32)}
    )["c"]
    assert (one.value.item(), one.scale.item()) == (-5, 11)
    soft = family("softmax").reference({"rows": 1, "cols": 2}, {"x": np.array([[1000, 1000]], np.float32)})["y"]
    assert soft.value.tolist() == [[0.5, 0.5]]
    x = np.array([[9, 1, 9], [2, -8, 3], [9, 10, 9]], np.float32)
    step = family("stencil2d").reference({"h": 3, "w": 3}, {"x": x})["y"]
    assert (step.value[1, 1], step.scale[1, 1]) == (-4 + 16 / 8, 4 + 16 / 8)
    assert step.value.sum() == step.value[1, 1]


def test_layernorm_reference_on_numbers_worked_by_hand() -> None:
    inputs: Arrays = {
        "x": np.array([[1, 3], [5, 5]], np.float32),
        "gamma": np.array([2, -1], np.float32),
        "beta": np.array([0.5, 0.25], np.float32),
    }
    y = family("layernorm").reference({"rows": 2, "cols": 2}, inputs)["y"]
    unit = 1 / np.sqrt(1 + 1e-5)
    np.testing.assert_allclose(y.value, [[0.5 - 2 * unit, 0.25 - unit], [0.5, 0.25]], rtol=1e-12)
    np.testing.assert_allclose(y.scale[0], [0.5 + 3 * 2 * unit, 0.25 + 5 * unit], rtol=1e-12)


def test_gelu_reference_on_known_numbers() -> None:
    """From PyTorch's gelu(x, approximate="tanh") in float64."""
    x = np.array([[0, 1, -1, 3, -30, np.inf, -np.inf]], np.float32)
    inputs: Arrays = {"x": x, "residual": np.ones_like(x)}
    y = family("gelu_residual").reference({"rows": 1, "cols": 7}, inputs)["y"].value[0]
    known = [0, 0.8411919906082768, -0.15880800939172324, 2.996362607918227, 0, np.inf, np.nan]
    np.testing.assert_allclose(y, np.array(known) + 1, rtol=1e-12)


@pytest.mark.parametrize("value", [1e20, -1e20, np.inf, -np.inf])
def test_gelu_beyond_the_range_of_its_cube_is_the_line_or_zero(value: float, baselines: dict[str, Launch]) -> None:
    f, shape = family("gelu_residual"), {"rows": 1, "cols": 3}
    inputs: Arrays = {"x": np.array([[value, 0, 1]], np.float32), "residual": np.ones((1, 3), np.float32)}
    for launch in (baselines["gelu_residual"], _library("gelu_residual"), _interpreted("gelu_residual")):
        outputs = untouched_outputs(f.kernel, shape)
        launch(shape, inputs, outputs)
        assert kernel_errors(f.kernel, outputs, f.reference(shape, inputs)).frobenius < f.tolerance


@pytest.mark.parametrize("name", EACH)
def test_inputs_are_random_in_their_format_and_follow_the_generator(name: str) -> None:
    f, shape = family(name), RAGGED[name][1]
    first, again = (f.inputs(shape, np.random.default_rng(3)) for _ in range(2))
    for tensor in f.kernel.tensors:
        if tensor.name in first:
            array = first[tensor.name]
            assert array.shape == extents(tensor, shape)
            assert array.dtype == numpy_dtype(tensor.dtype)
            assert np.count_nonzero(array) == array.size
            assert np.array_equal(array, again[tensor.name])


def test_unknown_kernel_names_the_known_and_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean softmax\? choose one of matmul, ") as e:
        family("sofmax")
    assert e.value.exit_code is ExitCode.CONFIG
    with pytest.raises(UnknownNameError, match="'zzz': choose one of"):
        family("zzz")


def test_problem_is_put_in_the_order_of_the_kernel() -> None:
    assert check_problem(Problem.of("matmul", k=3, m=1, n=2)) == Problem.of("matmul", m=1, n=2, k=3)


@pytest.mark.parametrize(
    ("kernel", "shape", "message"),
    [
        ("matmul", "m=4,n=4", "shape names"),
        ("matmul", "m=4,n=4,k=4,b=2", "shape names"),
        ("matmul", "m=0,n=4,k=4", r"m=0 is outside \[1, 16384\]"),
        ("matmul", "m=4,n=16385,k=4", r"n=16385 is outside \[1, 16384\]"),
        ("softmax", "rows=1,cols=0", "cols=0 is outside"),
        ("stencil2d", "h=2,w=9", "h=2 is outside"),
    ],
)
def test_impossible_shape_is_refused(kernel: str, shape: str, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        check_problem(Problem.parse(kernel, shape))
