from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from quasim.errors import ShapeError
from quasim.precision import CLASSES, PLANS, ProductErrors, answered, draw, emulate, product_errors

EXPECTED = {
    "fp64": 5e-8,
    "fp32": 2e-6,
    "bf16x6": 1e-6,
    "tf32x3": 1e-6,
    "fp16x2k": 1e-6,
    "fp16x2": 1e-6,
    "fp16x2f": 1e-6,
    "tf32": 4e-4,
    "fp16": 4e-4,
    "bf16": 4e-3,
    "int8": 2e-2,
    "int8r": 2e-2,
    "e4m3": 5e-2,
    "e4m3r": 5e-2,
    "e5m2": 1e-1,
    "int4": 3e-1,
}


def errors(name: str, k: int = 256, data: str = "normal", **change: Any) -> ProductErrors:
    a, b = draw(data, 1, 32, 24, k)
    return product_errors(emulate(a, b, msgspec.structs.replace(PLANS[name], **change)), a, b)


@pytest.mark.parametrize("name", PLANS)
def test_every_plan_stays_within_its_grade_and_not_far_below_it(name: str) -> None:
    assert EXPECTED[name] / 20 < errors(name).frobenius < EXPECTED[name]


@pytest.mark.parametrize(("name", "measured"), [("fp32", 1.15e-6), ("tf32", 2.9e-4), ("fp16x2f", 2.3e-7)])
def test_the_model_agrees_with_what_an_h100_showed_at_k_4096(name: str, measured: float) -> None:
    assert errors(name, 4096).frobenius == pytest.approx(measured, rel=0.2)


@pytest.mark.parametrize("name", ["fp16x2", "fp16x2f"])
def test_without_promotion_truncation_adds_up(name: str) -> None:
    assert errors(name, 4096, promote=0).frobenius > 8 * errors(name, 4096).frobenius


def test_two_words_beat_float32_componentwise_where_the_guard_lets_them() -> None:
    for data in ("normal", "uniform", "cancelling", "huge_row", "denormals", "opposed"):
        assert errors("fp16x2k", 512, data).componentwise <= errors("fp32", 512, data).componentwise


@pytest.mark.parametrize("data", CLASSES)
@pytest.mark.parametrize("plan", ["fp16x2", "fp16x2f", "fp16x2k", "fp64"])
def test_what_words_return_is_right_on_every_class(plan: str, data: str) -> None:
    a, b = draw(data, 1, 48, 40, 512)
    found = product_errors(answered(a, b, PLANS[plan])[0], a, b)
    assert found.frobenius < 1e-6
    assert found.componentwise <= product_errors(emulate(a, b, PLANS["fp32"]), a, b).componentwise


@pytest.mark.parametrize(
    ("data", "refused"),
    [
        *((data, "") for data in ("normal", "uniform", "huge_row", "denormals")),
        *((data, "guard") for data in ("spread", "opposed")),
        ("cancelling", "verification"),
    ],
)
def test_each_class_is_refused_by_who_can_see_it(data: str, refused: str) -> None:
    assert answered(*draw(data, 1, 48, 40, 512), PLANS["fp16x2"])[1] == refused


def test_float64_answers_infinities_and_nan_as_ieee_does() -> None:
    a, b = draw("normal", 1, 4, 4, 8)
    a[0, 0], a[1, 0], b[0, 1] = np.inf, np.nan, 0
    c = emulate(a, b, PLANS["fp64"])
    assert np.isinf(c[0, [0, 2, 3]]).all()
    assert np.isnan(c[0, 1])
    assert np.isnan(c[1]).all()
    assert np.isfinite(c[2:]).all()
    huge = np.full((1, 2), 3e38, np.float32)
    assert emulate(huge, huge.T, PLANS["fp64"])[0, 0] == np.inf
    assert emulate(huge, np.array([[1], [-1]], np.float32), PLANS["fp64"])[0, 0] == 0


def test_the_emulation_is_deterministic() -> None:
    assert errors("fp16x2k") == errors("fp16x2k")


def test_products_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError):
        emulate(np.ones((2, 3), np.float32), np.ones((2, 3), np.float32), PLANS["fp32"])


def test_odd_shapes_and_short_last_blocks_lose_no_element() -> None:
    a, b = draw("uniform", 2, 3, 5, 131)
    for name in ("fp16x2", "fp16x2f", "int8", "int4", "e4m3", "tf32"):
        assert product_errors(emulate(a, b, PLANS[name]), a, b).frobenius < EXPECTED[name]
