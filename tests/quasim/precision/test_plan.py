from __future__ import annotations

from typing import Any

import msgspec
import pytest

from quasim.errors import ConfigError, UnknownNameError
from quasim.precision.plan import PLANS, SAFE, Plan, plan_named

GUARDED = [p for p in PLANS.values() if p.scaled and not p.format.integer]


def test_the_registry_holds_the_plans_that_targets_know() -> None:
    assert {"fp32", "tf32", "tf32x3", "bf16x6", "fp16x2", "fp16x2k", "bf16", "fp16", "e4m3", "int8", "int4"} <= set(
        PLANS
    )
    assert not PLANS[SAFE].scaled
    assert PLANS[SAFE].boundary == "fp64"


def test_words_are_verified_within_their_aim_and_other_plans_are_not() -> None:
    verified = {plan.name: plan.verified for plan in PLANS.values() if plan.verified}
    assert set(verified) == {"fp16x2", "fp16x2f", "fp16x2k"}
    assert all(0 < tolerance < 1e-6 for tolerance in verified.values())


def test_thresholds_of_two_fp16_words() -> None:
    scaled, fused = PLANS["fp16x2"], PLANS["fp16x2f"]
    assert (scaled.unit, scaled.floor, scaled.small, scaled.large) == (-24, -36, -12, 2)
    assert (fused.unit, fused.floor, fused.small, fused.large) == (-24, -25, -1, 7)


@pytest.mark.parametrize("plan", GUARDED, ids=lambda p: p.name)
def test_two_large_elements_outweigh_what_a_small_one_loses(plan: Plan) -> None:
    assert plan.floor + plan.format.top + 1 <= plan.unit + 2 * plan.large
    assert plan.small < plan.large <= plan.format.top


@pytest.mark.parametrize(
    "change",
    [
        {"words": 0},
        {"words": 4},
        {"pairs": ((2, 0), (0, 0))},
        {"pairs": ((0, 0), (1, 0))},
        {"pairs": ((0, 1), (0, 1), (0, 0))},
        {"pairs": ()},
        {"shift": -1},
        {"promote": -1},
        {"block": 64, "promote": 1},
        {"block": 64, "promote": 0, "scaling": "row_col_k"},
        {"dot": "tf32x3"},
        {"verified": -1e-6},
    ],
)
def test_a_plan_that_means_nothing_cannot_be_built(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        msgspec.structs.replace(PLANS["fp16x2"], **change)


def test_a_plan_survives_json() -> None:
    for plan in PLANS.values():
        assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan


def test_an_unknown_plan_is_named_with_a_near_one() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'fp16x2"):
        plan_named("fp16x")
