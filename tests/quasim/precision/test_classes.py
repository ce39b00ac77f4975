from __future__ import annotations

import numpy as np
import pytest

from quasim.errors import UnknownNameError
from quasim.precision import CLASSES, draw
from quasim.precision.split import exponents


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_is_finite_float32_and_the_same_for_a_seed(name: str) -> None:
    a, b = draw(name, 7, 12, 10, 33)
    again = draw(name, 7, 12, 10, 33)
    assert (a.shape, b.shape) == ((12, 33), (33, 10))
    assert a.dtype == b.dtype == np.float32
    assert np.isfinite(a).all()
    assert np.isfinite(b).all()
    assert np.array_equal(a, again[0])
    assert np.array_equal(b, again[1])
    assert not np.array_equal(a, draw(name, 8, 12, 10, 33)[0])


def test_opposed_powers_cancel_in_the_product() -> None:
    a, b = draw("opposed", 1, 32, 32, 64)
    assert np.ptp(exponents(a).max(axis=0)) > 30
    assert np.ptp(exponents(a).max(axis=0) + exponents(b).max(axis=1)) < 10


def test_cancelling_leaves_a_4096th() -> None:
    a, b = (x.astype(np.float64) for x in draw("cancelling", 1, 32, 32, 256))
    assert np.linalg.norm(a @ b) / np.linalg.norm(a[:, :128] @ b[:128]) == pytest.approx(2.0**-12, rel=0.2)


def test_denormals_are_all_subnormal_and_a_huge_row_is_one() -> None:
    a, _ = draw("denormals", 1, 16, 16, 64)
    assert ((np.abs(a) > 0) & (np.abs(a) < np.finfo(np.float32).tiny)).all()
    a, _ = draw("huge_row", 1, 16, 16, 64)
    assert (np.abs(a).max(axis=1) > 1e10).sum() == 1


def test_an_unknown_class_is_named_with_a_near_one() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'opposed'"):
        draw("oposed", 0, 1, 1, 1)
