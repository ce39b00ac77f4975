"""Duty cycle by AIMD."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from quasim.energy.duty import LEAST, Aimd

SECOND = 1_000_000_000


def settle(aimd: Aimd, busy_w: float, idle_w: float, cap_w: float, seconds: int) -> list[float]:
    """Duty by second of a device that draws the mean of its duty."""
    return [aimd.step(idle_w + aimd.share * (busy_w - idle_w), cap_w, second * SECOND) for second in range(seconds)]


def test_mean_power_is_brought_below_the_cap_and_work_goes_on() -> None:
    shares = settle(Aimd(), 600.0, 70.0, 350.0, 600)[300:]
    assert 70 + 530 * sum(shares) / len(shares) < 350
    assert sum(shares) / len(shares) > 0.35


def test_with_room_nothing_is_held_back() -> None:
    assert set(settle(Aimd(), 300.0, 70.0, 500.0, 60)) == {1.0}


def test_one_cause_is_cut_for_once() -> None:
    aimd = Aimd()
    for second in range(9):
        aimd.step(600.0, 300.0, second * SECOND)
    assert aimd.share == 0.7


def test_a_missing_reading_counts_as_too_much() -> None:
    assert Aimd().step(None, 300.0, 0) < 1


@given(st.lists(st.tuples(st.none() | st.floats(0, 2000), st.none() | st.floats(1, 2000)), max_size=60))
def test_some_work_always_runs_and_never_more_than_all(turns: list[tuple[float | None, float | None]]) -> None:
    aimd = Aimd()
    for number, (power_w, cap_w) in enumerate(turns):
        assert LEAST <= aimd.step(power_w, cap_w, number * 11 * SECOND) <= 1
