from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from quasim.errors import ShapeError
from quasim.precision import PLANS, ProductErrors, draw, emulate, product_errors

EXPECTED = {
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


def test_the_emulation_is_deterministic() -> None:
    assert errors("fp16x2k") == errors("fp16x2k")


def test_products_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError):
        emulate(np.ones((2, 3), np.float32), np.ones((2, 3), np.float32), PLANS["fp32"])


def test_odd_shapes_and_short_last_blocks_lose_no_element() -> None:
    a, b = draw("uniform", 2, 3, 5, 131)
    for name in ("fp16x2", "fp16x2f", "int8", "int4", "e4m3", "tf32"):
        assert product_errors(emulate(a, b, PLANS[name]), a, b).frobenius < EXPECTED[name]
