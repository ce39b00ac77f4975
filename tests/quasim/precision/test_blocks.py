"""Plans of quantised words as a rewrite of the IR: their kernels, run by our interpreter."""

from __future__ import annotations

import numpy as np
import pytest

from quasim.errors import ConfigError
from quasim.kernels import Arrays, family
from quasim.kernels.interpret import interpret
from quasim.kernels.ir import Role
from quasim.kernels.lower import LoweringError, lower
from quasim.precision.blocks import quantises
from quasim.precision.classes import draw
from quasim.precision.emulate import emulate
from quasim.precision.formats import Floats
from quasim.precision.plan import PLANS
from quasim.precision.rewrite import Staged, rewritten
from quasim.trial import Genome

MATMUL = family("matmul").kernel
SHAPE = {"m": 13, "n": 19, "k": 300}
EXACT_SUMS = ("int8", "int8r")
QUANTISED = (*EXACT_SUMS, "e4m3", "e5m2")


def run(staged: Staged, inputs: Arrays) -> Arrays:
    """What all launches wrote; rows are tiled, and steps of the sum where they may be."""
    memory = dict(inputs)
    for stage in staged.stages:
        shape = {dim.name: SHAPE[dim.name] for dim in stage.kernel.dims}
        tiles = {axis: size for axis, size in {"m": 8, "n": 8, "k": 16}.items() if axis in shape}
        memory |= interpret(stage.kernel, memory, shape, tiles)
    return memory


def operands(data: str) -> tuple[Floats, Floats]:
    return draw(data, 5, SHAPE["m"], SHAPE["n"], SHAPE["k"])


@pytest.mark.parametrize("data", ["normal", "uniform", "denormals", "huge_row", "spread"])
@pytest.mark.parametrize("plan", QUANTISED)
def test_kernels_answer_as_the_plan_s_emulation(plan: str, data: str) -> None:
    a, b = operands(data)
    answer = run(rewritten(MATMUL, PLANS[plan], 0), {"a": a, "b": b})["c"]
    predicted = emulate(a, b, PLANS[plan])
    if plan in EXACT_SUMS:
        np.testing.assert_array_equal(answer, predicted)
    else:  # the emulated core keeps 13 bits of fp8's sums, our interpreter all
        scale = np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64)
        assert (np.abs(answer - predicted.astype(np.float64)) / scale).max() < 1e-3


def test_zeros_stay_zeros() -> None:
    a, b = operands("normal")
    a[3], b[:, 4], a[5, :128] = 0.0, 0.0, 0.0
    for plan in QUANTISED:
        answer = run(rewritten(MATMUL, PLANS[plan], 0), {"a": a, "b": b})["c"]
        assert not answer[3].any()
        assert not answer[:, 4].any()
        assert np.isfinite(answer).all()


def test_an_infinity_is_nan_wherever_it_reaches_and_nowhere_else() -> None:
    a, b = operands("normal")
    a[2, 7] = np.inf
    for plan in QUANTISED:
        answer = run(rewritten(MATMUL, PLANS[plan], 0), {"a": a, "b": b})["c"]
        assert np.isnan(answer[2]).all()
        assert np.isfinite(np.delete(answer, 2, axis=0)).all()


def test_blocks_keep_what_a_row_s_scale_loses() -> None:
    """What is 2^12 times smaller than its row's largest is nothing to int8, unless its block has its own scale."""
    a, b = operands("normal")
    a[:, :128] *= 2.0**12
    b[:128] *= 2.0**-12
    exact = a.astype(np.float64) @ b.astype(np.float64)

    def error(plan: str) -> float:
        answer = run(rewritten(MATMUL, PLANS[plan], 0), {"a": a, "b": b})["c"]
        return float(np.linalg.norm(answer - exact) / np.linalg.norm(exact))

    assert error("int8") < 2e-2
    assert error("int8r") > 0.3


def test_a_pass_writes_a_byte_for_four_and_a_scale_for_each_block() -> None:
    split = rewritten(MATMUL, PLANS["int8"], 0).stages[0].kernel
    word, back = (tensor for tensor in split.tensors if tensor.role is Role.OUTPUT)
    made = interpret(split, {"a": operands("normal")[0]}, {"m": SHAPE["m"], "k": SHAPE["k"]}, {})
    assert (word.dtype, back.dtype) == ("int8", "float32")
    assert made[word.name].nbytes * 4 == SHAPE["m"] * SHAPE["k"] * 4
    assert made[back.name].shape == (3, SHAPE["m"])


def test_storage_formats_and_plans_of_larger_words_are_not_quantised() -> None:
    assert {name for name, plan in PLANS.items() if quantises(plan)} == set(QUANTISED)
    with pytest.raises(ConfigError, match="int4"):
        rewritten(MATMUL, PLANS["int4"], 0)
    with pytest.raises(ConfigError, match="promote"):
        rewritten(MATMUL, PLANS["int8"], 1)


def test_cpus_have_no_schedule_for_them() -> None:
    for stage in rewritten(MATMUL, PLANS["int8"], 0).stages:
        with pytest.raises(LoweringError):
            lower(stage.kernel, Genome({}), "c")
