from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from quasim.energy.slew import WRITE_NS, Hand
from quasim.energy.tuning import Tuning

LOW, HIGH = 200.5, 651.7
TUNING = Tuning()

watts = st.floats(-1e6, 1e6)
steps = st.lists(st.tuples(watts, st.integers(1_000_000, 9_000_000_000)), max_size=60)


@given(watts, steps)
def test_every_move_keeps_limits_slew_deadband_and_rate(start_w: float, wants: list[tuple[float, int]]) -> None:
    hand, now_ns = Hand.at(start_w, LOW, HIGH, 0), 0
    for wanted_w, dt_ns in wants:
        now_ns += dt_ns
        before_w, written_ns = hand.cap_w, hand.written_ns
        hand.move(wanted_w, now_ns, TUNING)
        assert LOW <= hand.cap_w <= HIGH
        if hand.written_ns != written_ns:
            assert TUNING.deadband_w <= abs(hand.cap_w - before_w) <= TUNING.slew_w_per_s
            assert now_ns - written_ns >= WRITE_NS
        else:
            assert hand.cap_w == before_w


@given(st.lists(st.floats(LOW, HIGH), min_size=120, max_size=120), st.floats(LOW, HIGH))
def test_small_moves_never_take_more_than_twelve_writes_a_minute(noise: list[float], around_w: float) -> None:
    hand = Hand.at(around_w, LOW, HIGH, 0)
    written = []
    for second, reading_w in enumerate(noise, 1):
        writes = hand.writes
        hand.move(hand.cap_w + (reading_w - around_w) / 20, second * WRITE_NS, TUNING)
        written.append(hand.writes - writes)
    assert max(sum(written[at : at + 60]) for at in range(60)) <= 12


def test_a_hold_waits_for_nothing_and_the_way_back_is_the_ramp() -> None:
    hand = Hand.at(600.0, 200.0, 700.0, 0)
    hand.hold(0.0, 1)
    assert (hand.cap_w, hand.writes) == (200.0, 2)
    caps = []
    for second in range(1, 40):
        hand.move(600.0, second * WRITE_NS + 1, TUNING)
        caps.append(hand.cap_w)
        assert hand.cap_w <= 200.0 + TUNING.ramp_w_per_s * second
    assert caps[-1] == 600.0
    assert not hand.ramping


def test_a_second_hold_at_the_same_cap_writes_nothing() -> None:
    hand = Hand.at(600.0, 200.0, 700.0, 0)
    for now_ns in (1, 2, 3):
        hand.hold(300.0, now_ns)
    assert (hand.cap_w, hand.writes) == (300.0, 2)


def test_caps_are_whole_watts_where_the_limits_allow() -> None:
    assert Hand.at(523.9, LOW, HIGH, 0).cap_w == 523.0
    assert Hand.at(0.0, LOW, HIGH, 0).cap_w == LOW
    assert Hand.at(200.9, LOW, HIGH, 0).cap_w == LOW
