from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from quasim.errors import ExitCode, ShapeError, UnknownNameError
from quasim.kernels import Arrays, baseline, check_problem, families, family
from quasim.kernels._base import Family
from quasim.kernels.accuracy import kernel_errors, untouched_outputs
from quasim.trial import Problem

RAGGED = {
    "matmul": [{"m": 1, "n": 1, "k": 1}, {"m": 17, "n": 31, "k": 45}],
    "softmax": [{"rows": 1, "cols": 1}, {"rows": 7, "cols": 131}],
    "stencil2d": [{"h": 3, "w": 3}, {"h": 9, "w": 37}],
}
CASES = [(name, shape) for name, shapes in RAGGED.items() for shape in shapes]
EACH = [family.name for family in families()]

Launch = Callable[[dict[str, int], Arrays, Arrays], None]


@pytest.fixture(scope="module")
def baselines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Launch]:
    """The baselines of all families, compiled and loaded."""
    folder = tmp_path_factory.mktemp("baseline")
    return {f.name: _load(f, _compile(baseline.source(f.name), folder)) for f in families()}


def _compile(source: Path, folder: Path) -> Path:
    library = folder / f"{source.stem}.so"
    strict = ["-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    command = ["gcc", *baseline.FLAGS, *strict, str(source), "-o", str(library), *baseline.LIBRARIES]
    subprocess.run(command, check=True)
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
    with pytest.raises(UnknownNameError, match="matmul, softmax, stencil2d"):
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


@pytest.mark.parametrize("name", EACH)
def test_inputs_are_random_float32_and_follow_the_generator(name: str) -> None:
    f, shape = family(name), RAGGED[name][1]
    first, again = (f.inputs(shape, np.random.default_rng(3)) for _ in range(2))
    for tensor in f.kernel.tensors:
        if tensor.name in first:
            array = first[tensor.name]
            assert array.shape == tuple(shape[d.name] for d in tensor.shape)
            assert array.dtype == np.float32
            assert np.count_nonzero(array) == array.size
            assert np.array_equal(array, again[tensor.name])


def test_unknown_kernel_names_the_known_and_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean softmax\? choose one of matmul, softmax, stencil2d") as e:
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
