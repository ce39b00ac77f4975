"""Choices, rows and bars of error budgets, from figures that stand for measurements."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.gpu_headline import BASE
from benchmarks.gpu_precision import (
    BENIGN,
    BUDGETS,
    DECLARED,
    choice_bars,
    choice_rows,
    int4_row,
    plan_rows,
    schedules,
    speed,
)
from quasim.kernels import family
from quasim.precision.budget import Budget, Measured
from quasim.precision.choice import Choice, choose
from quasim.precision.classes import CLASSES
from quasim.precision.plan import PLANS
from quasim.targets.gpu.compile import compile_source
from quasim.targets.gpu.image import CompileFailure
from quasim.targets.triton.plans import planned
from quasim.trial import Genome

SHOWN = {"fp64": (3e-8, 4.5), "fp16x2": (2e-7, 0.85), "tf32": (3e-4, 0.4), "bf16": (3e-3, 0.26), "e4m3r": (4e-2, 0.18)}
"""Error and milliseconds of a plan, as on normal data."""

BASE_NS = dict.fromkeys(CLASSES, 2.66e6)
SHAPE = {"m": 4096, "n": 4096, "k": 4096}


def measured() -> list[Measured]:
    return [
        Measured(plan, data, error, error / 10, 1e6 * ms) for plan, (error, ms) in SHOWN.items() for data in CLASSES
    ]


def choices(figures: list[Measured]) -> dict[tuple[str, float], Choice]:
    return {
        (name, budget): choose(Budget("matmul", budget, classes), figures)
        for name, classes in DECLARED.items()
        for budget in BUDGETS
    }


def test_each_budget_gets_the_cheapest_plan_within_it() -> None:
    rows = choice_rows(choices(measured()), measured(), BASE_NS)
    chosen = [row["chosen"] for row in rows if row["declared"] == "every class"]
    assert chosen == ["fp16x2", "fp16x2", "bf16", "e4m3r"]
    assert rows[2]["speed"] == pytest.approx(2.66 / 0.26)
    assert rows[2]["worst error (Frobenius)"] == 3e-3


def test_bars_ask_for_speed_and_for_eight_bits() -> None:
    assert all(bar.ok for bar in choice_bars(choices(measured()), measured(), BASE_NS))
    without = [one for one in measured() if one.plan not in ("bf16", "e4m3r")]
    assert [bar.ok for bar in choice_bars(choices(without), without, BASE_NS)] == [False, False, True]


def test_speed_of_what_was_not_measured_is_none_to_rest_on() -> None:
    assert speed("int8", measured(), BASE_NS) == 0.0


def test_rows_are_of_every_plan_and_class() -> None:
    best = {plan: Genome({"plan": plan}) for plan in SHOWN}
    rows = plan_rows(measured(), BASE_NS, best)
    assert len(rows) == len(SHOWN) * len(CLASSES)
    assert {row["plan"] for row in rows} == set(SHOWN)
    assert set(BENIGN) < set(CLASSES)
    assert BASE not in SHOWN


def test_four_bits_of_storage_err_by_a_fifth_at_most() -> None:
    error = int4_row(128, 0)["error (Frobenius)"]
    assert isinstance(error, float)
    assert 0.05 < error < 0.25


def test_every_plan_that_is_tried_exists_and_has_sources() -> None:
    for plan, tried in schedules().items():
        assert plan in PLANS
        for genome in tried:
            assert planned(family("matmul").kernel, genome, SHAPE).sources


@pytest.mark.parametrize("plan", ["fp16", "bf16", "e4m3r"])
def test_a_schedule_of_each_plan_of_one_word_compiles(plan: str, tmp_path: Path) -> None:
    tried = [genome for genome in schedules()[plan] if genome["stages"] == 3 and genome["block_m"] == 128]
    sources = planned(family("matmul").kernel, tried[0], SHAPE).sources
    failures = [one for s in sources if isinstance(one := compile_source(s, "sm_90", tmp_path), CompileFailure)]
    assert not failures
