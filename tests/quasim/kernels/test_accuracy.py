from __future__ import annotations

import math
import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from quasim.errors import DataError
from quasim.kernels import Array, Reference, family
from quasim.kernels.accuracy import (
    SMALLEST_SCALE,
    UNTOUCHED,
    WRONG,
    Errors,
    Yardstick,
    kernel_errors,
    tensor_errors,
    untouched,
    untouched_outputs,
)
from quasim.kernels.ir import Dim, Dtype, Kernel, Role, Tensor
from quasim.worker.process import ROOT

N = Dim("n", 0, 1 << 30)
PLAIN = Tensor("y", (N, N), "float32", Role.OUTPUT)
INNER = Tensor("y", (N, N), "float32", Role.OUTPUT, cover=((1, 2), (3, 0)))


def _pair(shape: tuple[int, int], seed: int = 0) -> tuple[Array, Reference]:
    rng = np.random.default_rng(seed)
    value = rng.standard_normal(shape)
    return value.astype(np.float32), Reference(value, np.abs(value) + 0.5)


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (700, 301), (1, 200_000)])
def test_both_norms_are_those_of_the_direct_formulas(shape: tuple[int, int]) -> None:
    computed, reference = _pair(shape)
    errors = tensor_errors(PLAIN, computed, reference)
    difference = computed.astype(np.float64) - reference.value
    assert errors.frobenius == pytest.approx(np.linalg.norm(difference) / np.linalg.norm(reference.value))
    assert errors.componentwise == np.max(np.abs(difference) / reference.scale)
    assert 0 < errors.frobenius < 1e-6


@pytest.mark.parametrize("shape", [(4, 4), (300, 700)])
def test_only_the_cover_counts(shape: tuple[int, int]) -> None:
    computed, reference = _pair(shape)
    inner = (slice(1, shape[0] - 2), slice(3, shape[1]))
    framed = np.full(shape, UNTOUCHED, np.float32)
    framed[inner] = computed[inner]
    direct = tensor_errors(PLAIN, computed[inner], Reference(reference.value[inner], reference.scale[inner]))
    errors = tensor_errors(INNER, framed, reference)
    assert errors.componentwise == direct.componentwise
    assert errors.frobenius == pytest.approx(direct.frobenius)


@pytest.mark.parametrize("at", [(0, 5), (7, 5), (6, 5), (4, 0), (4, 2)])
@pytest.mark.parametrize("value", [0.0, math.nan, math.inf])
def test_anything_written_outside_the_cover_is_wrong(at: tuple[int, int], value: float) -> None:
    computed, reference = _pair((8, 9))
    computed[0], computed[6:], computed[:, :3] = UNTOUCHED, UNTOUCHED, UNTOUCHED
    assert tensor_errors(INNER, computed, reference) != WRONG
    computed[at] = value
    assert tensor_errors(INNER, computed, reference) == WRONG


def test_an_element_never_written_is_a_huge_error() -> None:
    computed, reference = _pair((40, 50))
    computed[3, 4] = UNTOUCHED
    assert tensor_errors(PLAIN, computed, reference).frobenius > 1e20


@pytest.mark.parametrize("special", [math.nan, math.inf, -math.inf])
def test_nan_and_infinities_are_right_exactly_where_the_reference_has_them(special: float) -> None:
    computed, reference = _pair((300, 400))
    clean = tensor_errors(PLAIN, computed, reference)
    computed[5, 6] = special
    assert tensor_errors(PLAIN, computed, reference) == WRONG
    reference.value[5, 6] = special
    agreed = tensor_errors(PLAIN, computed, reference)
    assert agreed.frobenius == pytest.approx(clean.frobenius, rel=1e-3)
    computed[5, 6] = 1.0
    assert tensor_errors(PLAIN, computed, reference) == WRONG


def test_infinities_of_the_wrong_sign_are_wrong() -> None:
    computed, reference = np.array([[math.inf]]), Reference(np.array([[-math.inf]]), np.ones((1, 1)))
    assert tensor_errors(PLAIN, computed, reference) == WRONG


def test_an_error_too_large_to_square_is_wrong() -> None:
    computed, reference = np.array([[1e200]]), Reference(np.array([[1.0]]), np.ones((1, 1)))
    assert tensor_errors(PLAIN, computed, reference) == WRONG


def test_all_nan_as_expected_has_no_error() -> None:
    nan = np.full((2, 2), math.nan)
    assert tensor_errors(PLAIN, nan.astype(np.float32), Reference(nan, nan)) == Errors(0.0, 0.0)


def test_zero_against_zero_has_no_error_and_anything_else_an_infinite_one() -> None:
    zero = Reference(np.zeros((2, 2)), np.zeros((2, 2)))
    assert tensor_errors(PLAIN, np.zeros((2, 2)), zero) == Errors(0.0, 0.0)
    assert tensor_errors(PLAIN, np.full((2, 2), 1e-30), zero).frobenius == math.inf


def test_arrays_of_other_shapes_are_refused() -> None:
    computed, reference = _pair((2, 3))
    with pytest.raises(DataError, match="shape"):
        tensor_errors(PLAIN, computed.T, reference)


def test_outputs_are_prepared_as_untouched() -> None:
    f, shape = family("stencil2d"), {"h": 4, "w": 5}
    outputs = untouched_outputs(f.kernel, shape)
    assert outputs["y"].dtype == np.float32
    assert (outputs["y"] == UNTOUCHED).all()
    inputs = f.inputs(shape, np.random.default_rng(0))
    assert kernel_errors(f.kernel, outputs, f.reference(shape, inputs)).frobenius > 1e20


@pytest.mark.parametrize(("dtype", "unit"), [("bfloat16", 2**-8), ("float16", 2**-11)])
def test_16_bit_answers_are_measured_marked_and_held_to_their_cover(dtype: Dtype, unit: float) -> None:
    tensor = Tensor("y", (2, N), dtype, Role.OUTPUT, cover=((0, 0), (1, 0)))
    (computed,) = untouched_outputs(Kernel("one", (N,), (tensor,), (), ()), {"n": 50}).values()
    value = _pair((2, 50))[1].value
    assert computed.shape == (2, 50)
    computed[:, 1:] = value[:, 1:]
    errors = tensor_errors(tensor, computed, Reference(value, np.abs(value)))
    assert unit / 8 < errors.frobenius < unit
    assert unit / 2 < errors.componentwise <= unit
    value[0, 7], computed[0, 7] = math.nan, math.nan
    assert tensor_errors(tensor, computed, Reference(value, np.abs(value))) != WRONG
    computed[1, 0] = 1
    assert tensor_errors(tensor, computed, Reference(value, np.abs(value))) == WRONG
    computed[1, 0], computed[1, 1] = untouched(dtype), untouched(dtype)
    assert tensor_errors(tensor, computed, Reference(value, np.abs(value))).frobenius > 1e3


def test_large_arrays_need_no_large_temporaries() -> None:
    computed, reference = _pair((1000, 4000))
    tracemalloc.start()
    try:
        for tensor in (PLAIN, Tensor("y", (N, N), "float32", Role.OUTPUT, cover=((0, 0), (0, 0)))):
            tensor_errors(tensor, computed, reference)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < computed.nbytes / 4


@pytest.mark.parametrize("tensor", [PLAIN, INNER])
def test_one_yardstick_measures_every_answer_as_one_of_its_own_does(tensor: Tensor) -> None:
    computed, reference = _pair((300, 500))
    computed[0], computed[298:], computed[:, :3] = UNTOUCHED, UNTOUCHED, UNTOUCHED
    yardstick = Yardstick.of(tensor, reference)
    for at, value in (((5, 6), 0.0), ((7, 8), math.nan), ((7, 8), 1.0)):
        computed[at] = value
        assert yardstick.errors(computed) == tensor_errors(tensor, computed, reference)


def test_a_yardstick_keeps_the_reference_and_leaves_it_as_it_is() -> None:
    reference = _pair((30, 50))[1]
    yardstick = Yardstick.of(INNER, reference)
    assert np.shares_memory(yardstick.value, reference.value)
    assert np.shares_memory(yardstick.scale, reference.scale)
    assert yardstick.bytes == 2 * 8 * 27 * 47
    reference.scale[4, 5] = 0.0
    assert Yardstick.of(INNER, reference).scale.min() == SMALLEST_SCALE
    assert reference.scale[4, 5] == 0.0


WAKES = """
import os
import numpy as np
from quasim.kernels import Reference
from quasim.kernels.accuracy import Yardstick
from quasim.kernels.ir import Role, Tensor
from quasim.worker.calm import TASKS, await_calm

def switches():
    lines = [line for task in TASKS.iterdir() for line in (task / "status").read_text().splitlines()
             if task.name != str(os.getpid()) and "ctxt_switches" in line]
    return sum(int(line.split()[1]) for line in lines)

value = np.random.default_rng(0).random((500, 700))
assert await_calm(60.0)
before = switches()
yardstick = Yardstick.of(Tensor("y", (500, 700), "float32", Role.OUTPUT), Reference(value, value + 1))
yardstick.errors(value.astype(np.float32))
print(switches() - before)
"""


def test_measuring_wakes_no_thread_of_the_library() -> None:
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
    said = subprocess.run([sys.executable, "-c", WAKES], cwd=ROOT, env=environment, capture_output=True, check=True)
    assert said.stdout.split() == [b"0"]
