from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasim.codec import from_json, to_json
from quasim.errors import ConfigError, DataError, UnknownNameError
from quasim.precision import SAFE, Budget, Manager, Measured, PrecisionMap, choose
from quasim.precision.manager import MAX_PATIENCE

TIMES = {"fp64": 27.0, "bf16x6": 20.0, "fp16x2": 8.0, "tf32": 4.0, "bf16": 2.0}
ERRORS = {"fp64": 3e-8, "bf16x6": 2e-7, "fp16x2": 3e-7, "tf32": 3e-4, "bf16": 3e-3}


def table(**change: float | None) -> list[Measured]:
    """Made-up figures on normal data, to drive the logic."""
    errors = {**ERRORS, **change}
    return [Measured(p, "normal", e, None if e is None else e / 10, TIMES[p]) for p, e in errors.items()]


def budget(frobenius: float = 1e-5) -> Budget:
    return Budget("matmul", frobenius, ("normal",))


@pytest.mark.parametrize(
    ("allowed", "plan"), [(1e-2, "bf16"), (1e-3, "tf32"), (1e-5, "fp16x2"), (2.5e-7, "bf16x6"), (1e-6, "fp16x2")]
)
def test_the_cheapest_plan_within_the_budget_is_chosen(allowed: float, plan: str) -> None:
    assert choose(budget(allowed), table()).ladder[0] == plan


def test_the_ladder_climbs_to_ever_safer_plans_and_ends_with_the_safe_one() -> None:
    assert choose(budget(1e-2), table()).ladder == ("bf16", "tf32", "fp16x2", "bf16x6", SAFE)


def test_rejected_plans_say_why() -> None:
    rejected = {r.plan: r.reason for r in choose(budget(), table(tf32=None)).rejected}
    assert rejected == {"tf32": "off by inf on normal", "bf16": "off by 0.003 on normal"}


def test_a_plan_that_was_not_measured_everywhere_is_rejected() -> None:
    everywhere = Budget("matmul", 1e-5, ("normal", "opposed"))
    rows = [*table(), Measured(SAFE, "opposed", 1e-6, 1e-7, 27.0), Measured("fp16x2", "opposed", 1e-4, 1e-5, 8.0)]
    reasons = {r.plan: r.reason for r in choose(everywhere, rows).rejected}
    assert reasons["bf16x6"] == "not measured on opposed"
    assert reasons["fp16x2"] == "off by 0.0001 on opposed"


def test_a_refused_class_counts_with_the_safe_plans_time() -> None:
    everywhere = Budget("matmul", 1e-5, ("normal", "opposed"))
    rows = [*table(), Measured(SAFE, "opposed", 1e-6, 1e-7, 27.0)]
    rows += [
        Measured("fp16x2", "opposed", 2e-7, 1e-7, 22.0, refused="guard"),
        Measured("bf16x6", "opposed", 2e-7, 1e-7, 14.0),
    ]
    assert choose(everywhere, rows).ladder[0] == "fp16x2"
    rows[-1] = Measured("bf16x6", "opposed", 2e-7, 1e-7, 9.0)
    assert choose(everywhere, rows).ladder[0] == "bf16x6"


def test_where_nothing_fits_the_safe_plan_alone_is_left() -> None:
    choice = choose(budget(1e-9), table())
    assert choice.ladder == (SAFE,)
    assert {r.plan for r in choice.rejected} == set(TIMES)


def test_the_safe_plan_must_have_been_measured_and_nothing_twice() -> None:
    with pytest.raises(DataError, match="not measured on normal"):
        choose(budget(), [m for m in table() if m.plan != SAFE])
    with pytest.raises(DataError, match="twice"):
        choose(budget(), [*table(), table()[0]])


def test_a_check_over_budget_falls_back_to_the_next_safer_plan_and_says_why() -> None:
    manager = Manager(budget(), table())
    assert manager.handle_check(1e-6) == []
    (switch,) = manager.handle_check(2e-5)
    assert (switch.check, switch.before, switch.after, switch.check_next) == (2, "fp16x2", "bf16x6", False)
    assert switch.reason == "a sampled error of 2e-05 exceeds the budget of 1e-05"
    assert manager.plan == "bf16x6"


@pytest.mark.parametrize("error", [math.nan, math.inf])
def test_an_error_that_is_no_number_exceeds_every_budget(error: float) -> None:
    assert Manager(budget(), table()).handle_check(error)[0].after == "bf16x6"


def test_below_the_safe_plan_there_is_nothing_and_it_is_counted() -> None:
    manager = Manager(budget(), table())
    for _ in range(4):
        manager.handle_check(1.0)
    assert manager.plan == SAFE
    assert (manager.snapshot().checks, manager.snapshot().over, len(manager.snapshot().switches)) == (4, 4, 2)


def test_patience_brings_the_cheaper_plan_back_and_it_is_checked_at_once() -> None:
    manager = Manager(budget(), table(), patience=3)
    manager.handle_check(1.0)
    given_back = [manager.handle_check(1e-7) for _ in range(6)]
    assert [len(s) for s in given_back] == [0, 0, 0, 0, 0, 1]
    assert (given_back[-1][0].after, given_back[-1][0].check_next) == ("fp16x2", True)
    assert manager.plan == "fp16x2"


def test_a_plan_that_fails_again_is_waited_for_twice_as_long_up_to_a_limit() -> None:
    manager = Manager(budget(), table(), patience=1)
    waits = []
    for _ in range(12):
        manager.handle_check(1.0)
        waits.append(next(n for n in range(1, 3000) if manager.handle_check(0.0)))
    assert waits == [min(2**n, MAX_PATIENCE) for n in range(1, 13)]


@given(errors=st.lists(st.sampled_from([0.0, 1e-6, 1e-4, math.inf]), max_size=200))
def test_the_manager_never_leaves_its_ladder_and_repeats_itself(errors: list[float]) -> None:
    one, two = (Manager(budget(), table(), patience=2) for _ in range(2))
    for error in errors:
        before = one.plan
        switches = one.handle_check(error)
        assert switches == two.handle_check(error)
        assert [s.before for s in switches] == [before] * len(switches)
        assert one.plan == (switches[-1].after if switches else before)
        if not error <= 1e-5:
            assert one.plan != "fp16x2"
    assert one.snapshot() == two.snapshot()


def test_the_precision_map_survives_json() -> None:
    manager = Manager(budget(), table(tf32=None), patience=1)
    for error in (1.0, 0.0, 0.0, 1.0):
        manager.handle_check(error)
    written = to_json(manager.snapshot())
    assert from_json(written, PrecisionMap, "precision map") == manager.snapshot()
    plain = json.loads(written)
    assert plain["plan"] == "bf16x6"
    assert plain["zones"] == {"outer": "fp32", "inner": "bf16", "boundary": "fp32"}
    assert [s["after"] for s in plain["switches"]] == ["bf16x6", "fp16x2", "bf16x6"]


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"plan": "int4"},
        {"plan": 3},
        {"extra": 1},
        {"zones": {"outer": "fp32"}},
        {"checks": "many"},
        {"budget": {"kernel": "matmul", "frobenius": -1.0}},
        {"choice": {"ladder": ["fp16x2"], "rejected": []}},
    ],
)
def test_a_map_of_another_form_is_refused(change: dict[str, Any]) -> None:
    plain = {**json.loads(to_json(Manager(budget(), table()).snapshot())), **change}
    with pytest.raises(DataError):
        from_json(json.dumps(plain), PrecisionMap, "precision map")


def test_budgets_and_measurements_that_make_no_sense_cannot_be_built() -> None:
    for frobenius in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ConfigError):
            Budget("matmul", frobenius)
    for classes in ((), ("normal", "normal")):
        with pytest.raises(ConfigError):
            Budget("matmul", 1e-5, classes)
    with pytest.raises(UnknownNameError):
        Budget("matmul", 1e-5, ("weird",))
    with pytest.raises(UnknownNameError):
        Measured("fp33", "normal", 0.0, 0.0, 1.0)
    for error, time in ((-1.0, 1.0), (math.inf, 1.0), (0.0, 0.0)):
        with pytest.raises(ConfigError):
            Measured(SAFE, "normal", error, 0.0, time)
    with pytest.raises(ConfigError):
        Manager(budget(), table(), patience=0)
