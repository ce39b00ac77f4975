from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasim.worker.cuda.pacing import (
    MAX_LAUNCHES,
    RACE_LAUNCHES,
    RACE_NS,
    SAMPLE_NS,
    graph_launches,
    hopeless,
    race_launches,
    replays,
    warm_ups,
)
from quasim.worker.protocol import Plan

TIMES = st.floats(100.0, 1e10)


def test_without_a_best_a_race_is_three_launches_and_nobody_is_hopeless() -> None:
    assert race_launches(None, 3.0) == RACE_LAUNCHES
    assert not hopeless([1e12], None, 3.0)


@given(best_ns=TIMES, ratio=st.floats(1.1, 10.0))
def test_a_races_sample_is_long_enough_to_condemn_by(best_ns: float, ratio: float) -> None:
    launches = race_launches(best_ns, ratio)
    assert RACE_LAUNCHES <= launches <= MAX_LAUNCHES
    assert launches * best_ns * ratio >= RACE_NS or launches == MAX_LAUNCHES


@pytest.mark.parametrize(("samples", "verdict"), [([31.0, 40.0], True), ([29.0, 99.0], False), ([30.0], False)])
def test_hopeless_is_who_never_came_within_the_ratio(samples: list[float], verdict: bool) -> None:
    assert hopeless(samples, 10.0, 3.0) is verdict


@given(launch_ns=TIMES, sets=st.integers(1, 1024))
def test_a_graph_goes_through_all_sets_alike_and_is_long_enough(launch_ns: float, sets: int) -> None:
    launches = graph_launches(launch_ns, sets)
    assert launches % sets == 0
    assert launches * launch_ns >= SAMPLE_NS or launches >= MAX_LAUNCHES
    assert launches < MAX_LAUNCHES + sets


@given(graph_ns=st.floats(1e5, 1e11))
def test_a_window_has_its_samples_and_respects_its_cap(graph_ns: float) -> None:
    plan = Plan(window_ns=40_000_000, min_samples=7, max_samples=50, cap_ns=1_000_000_000)
    count = replays(graph_ns, plan)
    assert 1 <= count <= plan.max_samples
    assert count == 1 or (count - 1) * graph_ns <= max(plan.window_ns, plan.min_samples * graph_ns)
    assert count == 1 or count * graph_ns <= plan.cap_ns
    assert warm_ups(graph_ns) >= 1


def test_short_graphs_are_warmed_up_for_longer() -> None:
    assert warm_ups(1e6) > warm_ups(1e9) == 1
