"""A look at a finished product from one direction: its size is that of the error."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasim.errors import DataError
from quasim.precision import PLANS, draw, emulate, probed_error, product_errors, refusal
from quasim.precision.probe import REFUSALS, holds, signs

TOLERANCE = PLANS["fp16x2"].verified


def product(data: str = "normal") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    a, b = draw(data, 1, 48, 40, 64)
    return a, b, emulate(a, b, PLANS["fp64"])


@given(count=st.integers(1, 3000))
def test_signs_are_the_same_each_time_and_sum_to_their_root(count: int) -> None:
    found = signs(count)
    assert found.shape == (count,)
    assert set(found.tolist()) <= {1.0, -1.0}
    assert abs(found.sum() - math.sqrt(count)) <= 1
    assert np.array_equal(found, signs(count))


def test_signs_do_not_follow_one_another() -> None:
    v = signs(4096)
    assert all(abs(np.dot(v, np.roll(v, shift))) < 6 * 64 for shift in range(1, 64))


@pytest.mark.parametrize("data", ["normal", "uniform", "huge_row", "denormals", "cancelling"])
def test_a_right_product_holds(data: str) -> None:
    a, b, c = product(data)
    assert holds(a, b, c, TOLERANCE)
    assert probed_error(a, b, c) < TOLERANCE


@pytest.mark.parametrize("size", [1e-6, 1e-3, 1.0])
def test_an_error_of_full_rank_is_seen_at_its_size(size: float) -> None:
    a, b, c = product()
    wrong = (c * (1 + size * np.random.default_rng(2).standard_normal(c.shape))).astype(np.float32)
    assert probed_error(a, b, wrong) == pytest.approx(product_errors(wrong, a, b).frobenius, rel=0.3)
    assert not holds(a, b, wrong, TOLERANCE)


def test_a_bias_of_all_elements_is_seen_at_its_size() -> None:
    a, b, c = product("uniform")
    wrong = c * np.float32(1 - 1e-5)
    assert probed_error(a, b, wrong) == pytest.approx(1e-5, rel=0.1)


@pytest.mark.parametrize("at", [(0, 0), (17, 23), (47, 39)])
def test_one_wrong_element_is_seen_wherever_it_is(at: tuple[int, int]) -> None:
    a, b, c = product()
    c[at] += 0.1
    assert not holds(a, b, c, TOLERANCE)
    assert probed_error(a, b, c) == pytest.approx(product_errors(c, a, b).frobenius, rel=1e-3)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_never_holds(bad: float) -> None:
    a, b, c = product()
    c[5, 6] = bad
    assert not holds(a, b, c, TOLERANCE)
    assert probed_error(a, b, c) == math.inf


def test_words_of_cancelling_data_do_not_hold() -> None:
    a, b = draw("cancelling", 1, 48, 40, 64)
    assert not holds(a, b, emulate(a, b, PLANS["fp16x2"]), TOLERANCE)


def test_zeros_hold_as_the_product_of_zeros_alone() -> None:
    zeros, ones = np.zeros((4, 4), np.float32), np.ones((4, 4), np.float32)
    assert holds(zeros, ones, zeros, TOLERANCE)
    assert probed_error(zeros, ones, zeros) == 0
    assert not holds(ones, ones, zeros, TOLERANCE)
    assert probed_error(ones, ones, zeros) == math.inf


def test_a_verdict_is_read_by_its_number() -> None:
    assert [refusal(float(code)) for code in range(3)] == list(REFUSALS)
    for code in (-1.0, 0.5, 3.0, math.nan):
        with pytest.raises(DataError):
            refusal(code)
