from __future__ import annotations

import math

import numpy as np
import pytest

from quasim.errors import ShapeError
from quasim.precision import draw, product_errors, sample_rows, sampled_error


def test_rows_are_distinct_sorted_and_the_same_for_a_seed() -> None:
    rows = sample_rows(np.random.default_rng(3), 1000, 20)
    assert len(set(rows.tolist())) == 20
    assert rows.tolist() == sorted(rows)
    assert np.array_equal(rows, sample_rows(np.random.default_rng(3), 1000, 20))
    assert sample_rows(np.random.default_rng(3), 4, 20).tolist() == [0, 1, 2, 3]
    with pytest.raises(ShapeError):
        sample_rows(np.random.default_rng(3), 0, 1)


def test_a_sample_of_all_rows_is_the_whole_error() -> None:
    a, b = draw("normal", 1, 16, 16, 64)
    c = a @ b
    assert sampled_error(a, b, c) == pytest.approx(product_errors(c, a, b).frobenius, rel=1e-12)


def test_a_wrong_element_shows_in_its_row_alone() -> None:
    a, b = draw("normal", 1, 16, 16, 64)
    c = a @ b
    c[3, 4] += 1
    assert sampled_error(a[3:4], b, c[3:4]) > 1e-3
    assert sampled_error(a[:3], b, c[:3]) < 1e-6


def test_infinities_and_nan_must_be_where_they_belong() -> None:
    a, b = draw("normal", 1, 4, 4, 8)
    a[1, 2], a[2, 3] = np.nan, np.inf
    with np.errstate(invalid="ignore"):
        c = (a.astype(np.float64) @ b.astype(np.float64)).astype(np.float32)
    assert sampled_error(a, b, c) < 1e-6
    wrong = c.copy()
    wrong[2] = np.nan
    assert sampled_error(a, b, wrong) == math.inf
    wrong = c.copy()
    wrong[0, 0] = np.inf
    assert sampled_error(a, b, wrong) == math.inf


def test_nothing_but_zeros_is_right_or_wrong_without_bound() -> None:
    zeros = np.zeros((2, 2), np.float32)
    assert sampled_error(zeros, zeros, zeros) == 0
    assert sampled_error(zeros, zeros, zeros + 1) == math.inf
    assert product_errors(zeros * np.nan, zeros, zeros).frobenius == math.inf
