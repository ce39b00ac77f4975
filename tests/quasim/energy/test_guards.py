from __future__ import annotations

import math

import pytest

from quasim.energy import Observation
from quasim.energy.guards import MISSES, RECOVERED, RELIEF, WAIT_NS, FailSafe, HeatGuard
from quasim.energy.tuning import Tuning
from tests.quasim.energy.closed_loop import SECOND_NS


def _seen(
    second: int, temperature_c: float | None = 70.0, *, power_w: float | None = None, throttled: bool = False
) -> Observation:
    return Observation(second * SECOND_NS, power_w or 500.1 + second / 100, temperature_c, 1500.0, throttled)


FROZEN = Observation(0, 500.123, 70.0, 1500.0, False)


@pytest.mark.parametrize(
    "bad",
    [
        lambda second: None,
        lambda second: _seen(second, None),
        lambda second: _seen(second, math.nan),
        lambda second: _seen(second, power_w=math.inf),
        lambda second: _seen(second, 250.0),
        lambda second: _seen(second, power_w=9000.5),
        lambda second: FROZEN,
        lambda second: Observation(second * SECOND_NS, 500.123, 70.0, 1500.0, False),
        lambda second: _seen(-second),
    ],
    ids=[
        "missing",
        "no temperature",
        "no number",
        "infinite power",
        "no chip",
        "no board",
        "frozen",
        "frozen readings",
        "time goes back",
    ],
)
def test_three_bad_samples_latch_the_fail_safe_and_three_good_ones_end_it(bad: object) -> None:
    assert callable(bad)
    safe = FailSafe()
    safe.see(FROZEN, True, 700.0)
    held = []
    for second in range(1, MISSES + 1):
        assert safe.see(bad(second), True, 700.0) is None
        held.append(safe.holds)
    assert held == [False, False, True]
    for second in range(10, 10 + RECOVERED):
        assert safe.holds
        assert safe.see(_seen(second), True, 700.0) is not None
    assert not safe.holds


def test_one_good_sample_among_bad_ones_ends_nothing() -> None:
    safe = FailSafe()
    for _ in range(MISSES):
        safe.see(None, True, 700.0)
    for second in range(12):
        safe.see(_seen(second) if second % 3 else None, True, 700.0)
        assert safe.holds


def test_a_power_in_whole_watts_may_repeat() -> None:
    safe = FailSafe()
    for second in range(10):
        assert safe.see(Observation(second * SECOND_NS, 500.0, 70.0, 1500.0, False), True, 700.0) is not None


def test_a_temperature_that_nobody_needs_may_be_missing() -> None:
    assert FailSafe().see(_seen(0, None), False, 700.0) is not None


def _guard(guard: HeatGuard, second: int, temperature_c: float, *, throttled: bool = False) -> float:
    guard.see(_seen(second, temperature_c, throttled=throttled), 75.0, Tuning(), 87.0, 560.0)
    return guard.limit_w


def test_the_guard_latches_above_and_lets_go_only_below_the_set_point() -> None:
    guard = HeatGuard()
    limits = [_guard(guard, second, reading) for second, reading in enumerate((77.0, 78.0, 77.0, 75.0, 74.0, 77.0))]
    assert limits == [math.inf, RELIEF * 560, RELIEF * 560, RELIEF * 560, math.inf, math.inf]


def test_close_to_slowdown_the_guard_asks_for_the_lowest_cap() -> None:
    guard = HeatGuard()
    assert [_guard(guard, 0, 78.0), _guard(guard, 1, 85.0), _guard(guard, 2, 80.0)] == [RELIEF * 560, 0.0, 0.0]


def _let_go(guard: HeatGuard, second: int) -> int:
    """Seconds until a cool device's guard lets go."""
    start = second
    while math.isfinite(_guard(guard, second, 60.0)):
        second += 1
    return second - start


def test_a_device_that_slows_itself_down_while_cool_is_believed_later_each_time() -> None:
    guard, second, waits = HeatGuard(), 0, []
    for _ in range(4):
        _guard(guard, second, 60.0, throttled=True)
        waits.append(_let_go(guard, second + 1) + 1)
        second += waits[-1] + 5
    wait_s = WAIT_NS // SECOND_NS
    assert waits == [wait_s, 2 * wait_s, 4 * wait_s, 8 * wait_s]
    second += 3600
    _guard(guard, second, 60.0, throttled=True)
    assert _let_go(guard, second + 1) + 1 == wait_s
