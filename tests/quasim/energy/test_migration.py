"""Who is advised to move, and who is not; and what a hall of simulated devices gains by it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from benchmarks import migration as hall
from quasim.energy.heat import HOT_SAMPLES, MARGIN_K, Forecast
from quasim.energy.migration import (
    COOLER_K,
    DWELL_S,
    NODE_REST_S,
    HeatReport,
    Move,
    MoveCost,
    Task,
    advise,
    why_not_from,
    why_not_task,
    why_not_to,
)

COST_S = 2.0


def task(name: str = "a", power_w: float = 200.0, busy: float = 0.3) -> Task:
    return Task(name, power_w, busy, here_s=1000.0)


def report(node: str, now_c: float, settles_c: float, *tasks: Task, hot: int = 0) -> HeatReport:
    return HeatReport(node, 0.0, Forecast(now_c, settles_c, 24.0, 0.08, 87.0), hot, tasks)


HOT = report("hot", 86.0, 96.0, task("a"), task("b", 100.0), hot=HOT_SAMPLES)
COOL = report("cool", 45.0, 45.0, task("c"))


def test_the_task_that_gains_most_goes_to_a_cool_node() -> None:
    move = advise([HOT, COOL], COST_S)
    assert move is not None
    assert (move.task, move.source, move.target, move.power_w) == ("a", "hot", "cool", 200.0)
    assert move.gain_s >= 2 * COST_S


@pytest.mark.parametrize(
    "source",
    [
        replace(HOT, hot_samples=HOT_SAMPLES - 1),
        replace(HOT, age_s=6.0),
        replace(HOT, rested_s=NODE_REST_S - 1),
        replace(HOT, tasks=tuple(replace(one, here_s=DWELL_S - 1) for one in HOT.tasks)),
        replace(HOT, tasks=tuple(replace(one, movable=False) for one in HOT.tasks)),
        replace(HOT, tasks=()),
        replace(HOT, forecast=replace(HOT.forecast, temperature_c=84.0, settles_c=86.0)),
    ],
    ids=["two samples", "stale", "moved just now", "task came just now", "mid-trial", "no task", "never slows down"],
)
def test_nothing_leaves(source: HeatReport) -> None:
    assert advise([source, COOL], COST_S) is None


@pytest.mark.parametrize(
    "target",
    [
        replace(COOL, forecast=replace(COOL.forecast, temperature_c=77.0, settles_c=77.0)),
        replace(COOL, forecast=replace(COOL.forecast, settles_c=60.0)),
        replace(COOL, age_s=6.0),
        replace(COOL, throttling=True),
        replace(COOL, rested_s=NODE_REST_S - 1),
        replace(COOL, tasks=(task("c", busy=0.8),)),
        replace(COOL, forecast=replace(COOL.forecast, slowdown_c=55.0)),
    ],
    ids=["not cool", "rising", "stale", "throttling", "moved just now", "no time", "would be hot itself"],
)
def test_nothing_goes_to(target: HeatReport) -> None:
    assert advise([HOT, target], COST_S) is None


def test_a_move_that_costs_half_its_gain_is_not_made() -> None:
    move = advise([HOT, COOL], COST_S)
    assert move is not None
    assert advise([HOT, COOL], move.gain_s / 2) is not None
    assert advise([HOT, COOL], move.gain_s / 2 + 0.01) is None


def test_the_heat_of_a_task_that_came_is_charged_until_it_shows() -> None:
    came = replace(COOL, rested_s=0.0, arrived_w=300.0)
    assert came.expected.settles_c == pytest.approx(45.0 + 0.08 * 300.0)
    assert replace(came, rested_s=240.0).expected.settles_c == pytest.approx(45.0, abs=0.01)


def test_a_throttled_device_is_relieved_though_its_forecast_stays_below_the_limit() -> None:
    held = replace(HOT, forecast=replace(HOT.forecast, temperature_c=86.5, settles_c=86.5), throttling=True)
    assert advise([held, COOL], COST_S) is not None
    assert advise([replace(held, throttling=False), COOL], COST_S) is None


temperatures = st.floats(20, 110)
reports = st.builds(
    report, st.just("x"), temperatures, temperatures, st.builds(task, power_w=st.floats(0, 400)), hot=st.integers(0, 6)
)


@given(st.lists(reports, max_size=6))
def test_advice_keeps_every_rule(found: list[HeatReport]) -> None:
    named = [replace(one, node=str(number)) for number, one in enumerate(found)]
    move = advise(named, COST_S)
    if move is None:
        return
    source, target = (named[int(node)] for node in (move.source, move.target))
    assert source.forecast.headroom_k <= MARGIN_K or source.hot_samples >= HOT_SAMPLES
    assert target.forecast.at() <= source.forecast.at() - COOLER_K
    assert not why_not_from(source)
    assert not any(why_not_task(one) for one in source.tasks)
    assert not why_not_to(target, move.power_w, move.busy)


def test_the_cost_of_a_move_is_the_mean_of_those_made() -> None:
    cost = MoveCost(5.0)
    assert cost.seconds == 5.0
    cost.took(1.0)
    cost.took(2.0)
    assert cost.seconds == 1.5


def test_a_hall_is_the_same_for_the_same_seed_and_no_task_is_lost_or_doubled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hall, "HOUR_S", 1500)
    monkeypatch.setattr(hall, "NODES", 6)
    first, second = hall.hour(1, migrate=True), hall.hour(1, migrate=True)
    assert [work.moves for work in first.works] == [work.moves for work in second.works]
    names = [work.name for work in first.works]
    assert len(names) == len(set(names)) == 6 * hall.TASKS_A_NODE
    assert any(work.moves for work in first.works)
    assert hall.shortest_stay_s(first.works) >= DWELL_S


def test_coming_back_within_ten_minutes_is_counted() -> None:
    moves = [(0, 1, 2), (100, 2, 3), (500, 3, 1)]
    assert hall.returns([hall.Work("a", 0.1, 400.0, 10, moves=moves)]) == 1
    assert hall.returns([hall.Work("a", 0.1, 400.0, 10, moves=[(0, 1, 2), (700, 2, 1)])]) == 0


@pytest.mark.parametrize(("power_w", "busy"), [(math.nan, 0.1), (1.0, math.nan), (-1.0, 0.1), (1.0, 1.5)])
def test_a_move_of_what_no_task_takes_cannot_be_built(power_w: float, busy: float) -> None:
    with pytest.raises(ValueError, match="no task takes"):
        Move("t", "a", "b", power_w, busy, gain_s=1.0, cost_s=1.0)


@pytest.mark.parametrize(
    ("age_s", "rested_s", "arrived_w"), [(math.nan, 1.0, 0.0), (0.0, -1.0, 0.0), (0.0, 1.0, math.inf)]
)
def test_a_report_of_what_is_no_time_or_power_cannot_be_built(age_s: float, rested_s: float, arrived_w: float) -> None:
    forecast = Forecast(40.0, 40.0, 24.0, 0.08, 87.0)
    with pytest.raises(ValueError, match="not a report"):
        HeatReport("a", age_s, forecast, 0, rested_s=rested_s, arrived_w=arrived_w)
