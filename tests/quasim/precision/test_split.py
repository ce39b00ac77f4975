from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasim.errors import ShapeError
from quasim.precision.plan import PLANS, Plan
from quasim.precision.split import (
    NOT_FINITE,
    ZERO,
    balance,
    by_element,
    exponents,
    joined,
    power,
    scale_exponents,
    scaled,
    unscaled,
    words,
)

ALL_BITS = st.integers(0, 2**32 - 1)
FP16_WORDS = [PLANS["fp16x2"], PLANS["fp16x2f"]]
SCALED = [p for p in PLANS.values() if p.scaled]


def floats(bits: list[int]) -> np.ndarray:
    return np.array(bits, np.uint32).view(np.float32)


def floats32(*row: float) -> np.ndarray:
    return np.array([row], np.float32)


@given(bits=ALL_BITS)
def test_exponents_are_those_of_every_float32(bits: int) -> None:
    x = floats([bits])
    value = float(x[0])
    found = int(exponents(x)[0])
    if not math.isfinite(value):
        assert found == NOT_FINITE
    else:
        assert found == (math.frexp(value)[1] - 1 if value else ZERO)


def test_powers_are_exact_over_all_normal_exponents() -> None:
    every = np.arange(-126, 128, dtype=np.int32)
    assert np.array_equal(power(every).astype(np.float64), np.exp2(every.astype(np.float64)))


@given(bits=ALL_BITS, exponent=st.integers(-252, 252))
def test_scaling_is_exact_unless_the_result_leaves_the_normal_range(bits: int, exponent: int) -> None:
    x = floats([bits])
    exact = math.ldexp(float(x[0]), exponent) if np.isfinite(x[0]) else math.nan
    if 2.0**-126 <= abs(exact) < 2.0**128:
        assert float(scaled(x, np.array([exponent], np.int32))[0]) == exact


@pytest.mark.parametrize("plan", SCALED, ids=lambda p: p.name)
@given(bits=st.lists(ALL_BITS, min_size=1, max_size=40))
def test_the_largest_of_each_row_lands_in_the_binade_at_the_top(plan: Plan, bits: list[int]) -> None:
    x = floats(bits)[None]
    x = np.where(np.isfinite(x), x, np.float32(1))
    scales = scale_exponents(x, plan)
    y = np.abs(scaled(x, by_element(scales, x.shape[1], plan)))
    step = plan.block or x.shape[1]
    for block in range(scales.shape[1]):
        part = y[0, block * step : (block + 1) * step]
        assert part.max() == 0 or 2.0**plan.format.top <= part.max() < 2.0 ** (plan.format.top + 1)


@pytest.mark.parametrize("plan", FP16_WORDS, ids=lambda p: p.name)
@given(bits=ALL_BITS)
def test_two_words_lose_no_more_than_they_claim(plan: Plan, bits: int) -> None:
    x = floats([bits])
    size = abs(float(x[0]))
    if not size < 2.0 ** (plan.format.top + 1):
        return
    off = abs(float(joined(words(x, plan), plan)[0]) - float(x[0]))
    assert off <= (size * 2.0**-23 if size >= 2.0**plan.small else 2.0**plan.floor)


@pytest.mark.parametrize("exponent", [14, 0, -12])
def test_three_of_four_significands_split_without_any_error(exponent: int) -> None:
    every = (np.arange(1 << 23, dtype=np.int32) | np.int32((exponent + 127) << 23)).view(np.float32)
    plan = PLANS["fp16x2"]
    off = joined(words(every, plan), plan) != every
    assert 0.2499 < off.mean() < 0.2501


@given(significand=st.integers(-(2**22), 2**22), exponent=st.integers(-21, -8))
def test_numbers_of_22_bits_split_exactly(significand: int, exponent: int) -> None:
    x = np.array([math.ldexp(significand, exponent)], np.float32)
    plan = PLANS["fp16x2"]
    assert joined(words(x, plan), plan)[0] == x[0]


@given(bits=ALL_BITS)
def test_the_first_word_and_the_remainder_make_up_the_element_exactly(bits: int) -> None:
    x = floats([bits])
    if abs(float(x[0])) < 2.0**15:
        high = words(x, PLANS["fp16x2"])[0]
        assert float(high[0]) + float((x - high)[0]) == float(x[0])


@given(
    bits=st.lists(ALL_BITS, min_size=4, max_size=24), powers=st.lists(st.integers(-20, 20), min_size=12, max_size=12)
)
def test_balancing_undoes_any_opposed_powers_of_two(bits: list[int], powers: list[int]) -> None:
    x = floats(bits)
    x = np.where(np.isfinite(x) & (np.abs(x) < 2.0**60) & (np.abs(x) > 2.0**-60), x, np.float32(0))
    a, b = np.resize(x, (3, 12)), np.resize(x[::-1], (2, 12))
    p = np.array(powers, np.int32)
    d, opposed = balance(a, b), balance(scaled(a, p[None] + 0 * exponents(a)), scaled(b, -p[None] + 0 * exponents(b)))
    live = a.any(axis=0) & b.any(axis=0)
    assert np.array_equal(opposed[live], (d - p)[live])


def test_balancing_leaves_largest_exponents_a_binade_apart() -> None:
    rng = np.random.default_rng(0)
    a = (rng.standard_normal((5, 64)) * np.exp2(rng.uniform(-100, 100, 64))).astype(np.float32)
    b = (rng.standard_normal((7, 64)) * np.exp2(rng.uniform(-20, 20, 64))).astype(np.float32)
    d = balance(a, b)
    apart = (exponents(b).max(axis=0) - d) - (exponents(a).max(axis=0) + d)
    assert set(apart.tolist()) <= {0, 1}


def test_scales_are_undone_where_one_factor_would_overflow() -> None:
    plan = PLANS["fp16x2"]
    a, b = floats32(2.0**127, 2.0**120), floats32(2.0**-149, 2.0**-140)
    scale_a, scale_b = scale_exponents(a, plan), scale_exponents(b, plan)
    inner = scaled(a, scale_a).astype(np.float64) @ scaled(b, scale_b).astype(np.float64).T
    c = unscaled(inner.astype(np.float32), scale_a[:, 0], scale_b[:, 0])
    assert c[0, 0] == np.float32(2.0**-22 + 2.0**-20)


def test_a_product_that_is_too_small_comes_out_as_zero_and_one_too_large_as_infinity() -> None:
    one = floats32(1.0)
    assert unscaled(one, np.array([163], np.int32), np.array([163], np.int32))[0, 0] == 0
    assert np.isposinf(unscaled(one, np.array([-113], np.int32), np.array([-113], np.int32))[0, 0])


def test_rows_of_zeros_keep_scale_one_and_no_elements_are_refused() -> None:
    zeros = np.zeros((2, 5), np.float32)
    for plan in SCALED:
        assert not scale_exponents(zeros, plan).any()
        with pytest.raises(ShapeError):
            scale_exponents(zeros[:, :0], plan)
    assert not balance(zeros, np.ones((2, 5), np.float32)).any()
