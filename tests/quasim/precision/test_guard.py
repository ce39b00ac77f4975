from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasim.precision import CLASSES, PLANS, draw, emulate, examine, product_errors
from quasim.precision.guard import Flag, flag_rows, verdict
from quasim.precision.plan import Plan
from quasim.precision.split import balance, by_element, joined, scale_exponents, scaled, words

WORDS = [PLANS[name] for name in ("fp16x2", "fp16x2f", "fp16x2k")]
SCALED = [p for p in PLANS.values() if p.scaled]
ROUNDING = 2 * 2.0**-23 + 2.0**-46
"""What rounding the second words of two elements explains."""

BENIGN = [c.name for c in CLASSES.values() if c.benign]


def drawn(name: str, seed: int = 1, k: int = 256) -> tuple[np.ndarray, np.ndarray]:
    a, b = draw(name, seed, 96, 80, k)
    return a, np.ascontiguousarray(b.T)


@pytest.mark.parametrize("plan", SCALED, ids=lambda p: p.name)
@pytest.mark.parametrize("name", ["normal", "uniform"])
@pytest.mark.parametrize("seed", range(3))
def test_ordinary_data_are_never_refused(plan: Plan, name: str, seed: int) -> None:
    a, b = draw(name, seed, 256, 256, 512)
    assert examine(a, np.ascontiguousarray(b.T), plan).safe


@pytest.mark.parametrize("plan", WORDS, ids=lambda p: p.name)
@pytest.mark.parametrize("name", BENIGN)
def test_benign_classes_run_with_words(plan: Plan, name: str) -> None:
    assert examine(*drawn(name), plan).safe


@pytest.mark.parametrize("plan", [p for p in SCALED if p.name != "fp16x2k"], ids=lambda p: p.name)
@pytest.mark.parametrize("name", ["spread", "opposed"])
def test_hostile_classes_are_refused_before_there_is_a_result(plan: Plan, name: str) -> None:
    found = examine(*drawn(name), plan)
    assert not found.safe
    assert "too small" in found.reason


def test_balancing_along_k_makes_opposed_scalings_safe_and_right() -> None:
    a, b = draw("opposed", 3, 48, 48, 512)
    plan = PLANS["fp16x2k"]
    assert examine(a, np.ascontiguousarray(b.T), plan).safe
    assert product_errors(emulate(a, b, plan), a, b).frobenius < 1e-6
    assert product_errors(emulate(a, b, PLANS["fp16x2"]), a, b).frobenius > 1e-6


@pytest.mark.parametrize("plan", SCALED, ids=lambda p: p.name)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_one_element_that_is_not_finite_is_refused(plan: Plan, bad: float, side: int) -> None:
    operands = drawn("normal")
    operands[side][17, 23] = bad
    found = examine(*operands, plan)
    assert not found.safe
    assert "NaN" in found.reason


@pytest.mark.parametrize("plan", SCALED, ids=lambda p: p.name)
def test_zeros_harm_nothing(plan: Plan) -> None:
    zeros = np.zeros((4, 64), np.float32)
    assert examine(zeros, zeros, plan).safe
    powers = np.full((4, 64), 8, np.float32)
    powers[:, :60] = 0
    assert examine(powers, powers, plan).safe


@pytest.mark.parametrize("plan", WORDS, ids=lambda p: p.name)
def test_one_bad_row_or_column_among_good_ones_is_seen(plan: Plan) -> None:
    for side in (0, 1):
        operands = drawn("normal")
        operands[side][5, 1:] *= np.float32(2.0**-40)
        assert not examine(*operands, plan).safe


@given(
    plan=st.sampled_from(WORDS),
    seed=st.integers(0, 2**32 - 1),
    wide=st.floats(0, 60),
    share=st.floats(0, 1),
    opposed=st.floats(0, 40),
    zeros=st.floats(0, 0.5),
)
def test_what_the_guard_lets_pass_keeps_its_bound(
    plan: Plan, seed: int, wide: float, share: float, opposed: float, zeros: float
) -> None:
    rng = np.random.default_rng(seed)
    powers = rng.uniform(-opposed, opposed, 32)

    def matrix(sign: int) -> np.ndarray:
        shrunk = np.where(rng.random((6, 32)) < share, rng.uniform(-wide, 0, (6, 32)), 0)
        x = rng.standard_normal((6, 32)) * np.exp2(shrunk + sign * powers)
        return np.where(rng.random((6, 32)) < zeros, 0, x).astype(np.float32)

    a, b = matrix(1), matrix(-1)
    if examine(a, b, plan).safe:
        assert off(a, b, plan) <= ROUNDING + 2.0**plan.unit


@pytest.mark.parametrize("plan", WORDS, ids=lambda p: p.name)
@given(level=st.integers(-40, 0), tiny=st.integers(-60, -14), count=st.integers(1, 12))
def test_tiny_elements_opposite_the_largest_are_let_pass_only_within_the_bound(
    plan: Plan, level: int, tiny: int, count: int
) -> None:
    a, b = opposite(level, tiny, count)
    if examine(a, b, plan).safe:
        assert off(a, b, plan) <= 2.0**plan.unit


def test_the_guard_refuses_a_few_binades_before_the_bound_breaks() -> None:
    plan = PLANS["fp16x2"]
    passed = [level for level in range(-40, 1) if examine(*opposite(level, -40, 8), plan).safe]
    assert passed == list(range(plan.large - 14, 1))
    assert off(*opposite(passed[0], -40, 8), plan) <= 2.0**plan.unit
    assert off(*opposite(passed[0] - 6, -40, 8), plan) > 2.0**plan.unit


def opposite(level: int, tiny: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The worst that fixed counts allow: all at 2^level but a few, and where one operand peaks the other is tiny.

    All but the tiny ones are numbers of fp16, so that nothing else is rounded.
    """
    a, b = np.full((1, 48), 1.5 * 2.0**level), np.full((1, 48), 1.5 * 2.0**level)
    a[0, :count], b[0, :count] = 1.75, 1.3 * 2.0**tiny
    a[0, -count:], b[0, -count:] = 1.3 * 2.0**tiny, 1.75
    return a.astype(np.float32), b.astype(np.float32)


def off(a: np.ndarray, b: np.ndarray, plan: Plan) -> float:
    """Largest error of the product of the words, all four, relative to |A||B|."""
    k = a.shape[1]
    along = balance(a, b) if plan.scaling == "row_col_k" else np.zeros(k, np.int32)
    exact, kept = [], []
    for x, d in ((a, along), (b, -along)):
        shift = by_element(scale_exponents(x, plan, d), k, plan) + d
        exact.append(x.astype(np.float64))
        kept.append(np.ldexp(joined(words(scaled(x, shift), plan), plan), -shift))
    size = np.abs(exact[0]) @ np.abs(exact[1]).T
    error = np.abs(kept[0] @ kept[1].T - exact[0] @ exact[1].T)
    return float((error / np.where(size > 0, size, 1)).max())


def test_the_flag_decides_by_its_bits() -> None:
    refused = {f for f in range(8) if not verdict(f).safe}
    assert refused == {f for f in range(8) if f & 1 or f & 6 == 6}
    assert verdict(Flag.CLEAR).reason == ""


def test_plans_without_scales_look_for_nothing_but_infinities() -> None:
    a, _ = drawn("spread")
    assert flag_rows(a, PLANS["bf16"]) == Flag.CLEAR
