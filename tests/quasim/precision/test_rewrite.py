"""A plan as a rewrite of the IR: its kernels, run by our interpreter, answer as the plan does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from quasim.errors import ConfigError
from quasim.kernels import Arrays, family
from quasim.kernels._base import numpy_dtype
from quasim.kernels.interpret import interpret
from quasim.kernels.ir import Dot, Map, extents
from quasim.kernels.lower import LoweringError, lower
from quasim.kernels.walk import walk
from quasim.precision.check import product_errors
from quasim.precision.classes import CLASSES, draw
from quasim.precision.emulate import answered, emulate
from quasim.precision.formats import Floats
from quasim.precision.plan import PLANS
from quasim.precision.probe import refusal, signs
from quasim.precision.rewrite import FLAG, PROMOTIONS, Staged, rewritten
from quasim.trial import Genome

MATMUL = family("matmul").kernel
SHAPE = {"m": 13, "n": 19, "k": 45}
TILES = {"m": 8, "n": 8, "k": 16}


def run(staged: Staged, inputs: Arrays) -> Arrays:
    """What all launches wrote, one after the other; a launch whose condition does not hold writes nothing."""
    memory = {**_workspace(staged), **inputs}
    for stage in staged.stages:
        if stage.runs is not None and bool(memory[stage.runs.flag.name][0] != 0) != stage.runs.raised:
            continue
        shape = {dim.name: SHAPE[dim.name] for dim in stage.kernel.dims}
        tiles = {axis: size for axis, size in TILES.items() if axis in shape}
        memory |= interpret(stage.kernel, memory, shape, tiles if stage.kernel.grid else {})
    return memory


def _workspace(staged: Staged) -> Arrays:
    """As it is found: arbitrary, but for the signs."""
    found: Arrays = {t.name: np.full(extents(t, SHAPE), np.nan, numpy_dtype(t.dtype)) for t in staged.workspace}
    return found | {tensor.name: signs(*extents(tensor, SHAPE)) for tensor in staged.signs}


def operands(data: str = "normal") -> tuple[Floats, Floats]:
    return draw(data, 5, SHAPE["m"], SHAPE["n"], SHAPE["k"])


@pytest.mark.parametrize("plan", ["fp16x2", "fp16x2f", "fp16", "bf16", "e4m3r", "fp64"])
@pytest.mark.parametrize("promote", PROMOTIONS)
def test_kernels_answer_as_the_plan_s_emulation(plan: str, promote: int) -> None:
    a, b = operands()
    answer = run(rewritten(MATMUL, PLANS[plan], promote), {"a": a, "b": b})["c"]
    scale = np.abs(a) @ np.abs(b)
    # The emulated core keeps 13 bits of fp8's sums, our interpreter all.
    bound = 2e-4 if plan == "e4m3r" else 1e-6
    assert (np.abs(answer - emulate(a, b, PLANS[plan])) / scale).max() < bound


@pytest.mark.parametrize("data", CLASSES)
def test_words_or_the_safe_product_answer_every_class_to_float32_s_accuracy(data: str) -> None:
    a, b = operands(data)
    found = run(rewritten(MATMUL, PLANS["fp16x2"], 1), {"a": a, "b": b})
    errors = product_errors(np.asarray(found["c"], np.float32), a, b)
    assert errors.componentwise < 4e-7
    assert errors.frobenius < 1e-6
    assert refusal(found[FLAG.name][0]) == answered(a, b, PLANS["fp16x2"])[1]


def test_a_product_that_came_out_wrong_is_replaced() -> None:
    """A word of A is damaged after the split: what no guard can see."""
    a, b = operands()
    staged = rewritten(MATMUL, PLANS["fp16x2"], 1)
    late = replace(staged, stages=staged.stages[2:])
    words = run(replace(staged, stages=staged.stages[:2]), {"a": a, "b": b})
    for bad in (1.0, np.inf, np.nan):
        damaged = {**words, "a_word0": words["a_word0"].copy()}
        damaged["a_word0"][3, 4] += bad * 2.0**12
        found = run(late, damaged)
        assert refusal(found[FLAG.name][0]) == "verification"
        assert product_errors(np.asarray(found["c"], np.float32), a, b).frobenius < 1e-7


@pytest.mark.parametrize("layout", ["nt", "tn"])
def test_transposed_operands_are_looked_at_along_the_right_side(layout: str) -> None:
    member = family(f"matmul_{layout}")
    inputs = member.inputs(SHAPE, np.random.default_rng(3))
    found = run(rewritten(member.kernel, PLANS["fp16x2"], 1), inputs)
    assert refusal(found[FLAG.name][0]) == ""
    np.testing.assert_allclose(found["due"], found["got"], rtol=1e-4, atol=1e-4)


def test_what_is_not_verified_is_not_looked_at() -> None:
    names = [stage.kernel.name for stage in rewritten(MATMUL, PLANS["fp16"], 0).stages]
    assert names == ["split_a", "split_b", "guard", "matmul_fp16", "matmul_safe"]


def test_infinities_are_answered_as_ieee_does() -> None:
    a, b = operands()
    a[3, 4] = np.inf
    found = run(rewritten(MATMUL, PLANS["fp16x2"], 1), {"a": a, "b": b})
    assert refusal(found[FLAG.name][0]) == "guard"
    assert np.isinf(found["c"][3]).all()
    assert np.isfinite(np.delete(found["c"], 3, axis=0)).all()


def test_plans_of_the_units_own_change_the_precision_alone() -> None:
    (stage,) = rewritten(MATMUL, PLANS["bf16x6"], 0).stages
    (dot,) = (node for node in walk(stage.kernel.body) if isinstance(node, Dot))
    assert dot.precision == "bf16x6"
    assert stage.kernel.tensors == MATMUL.tensors
    assert rewritten(MATMUL, PLANS["fp32"], 0).stages[0].kernel == MATMUL


def test_only_sums_that_are_promoted_are_kept_apart() -> None:
    def promotions(promote: int) -> int:
        product = next(stage for stage in rewritten(MATMUL, PLANS["fp16x2"], promote).stages if stage.main)
        return sum(isinstance(node, Map) and node.op == "promote" for node in walk(product.kernel.body))

    assert [promotions(every) for every in PROMOTIONS] == [0, 1, 1, 1]


def test_what_no_kernel_carries_out_is_refused() -> None:
    with pytest.raises(ConfigError, match="int4"):
        rewritten(MATMUL, PLANS["int4"], 0)
    with pytest.raises(ConfigError, match="promotions"):
        rewritten(MATMUL, PLANS["fp16x2"], 3)
    with pytest.raises(LoweringError, match="batch"):
        rewritten(family("bmm").kernel, PLANS["fp16x2"], 0)


def test_cpus_have_no_schedule_for_a_plan_s_kernels() -> None:
    for stage in rewritten(MATMUL, PLANS["fp16x2"], 0).stages:
        with pytest.raises(LoweringError):
            lower(stage.kernel, Genome({}), "c")
