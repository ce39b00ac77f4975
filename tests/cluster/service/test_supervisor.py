from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from cluster.service.backoff import Backoff
from cluster.service.supervisor import (
    Asked,
    Drain,
    Ended,
    Event,
    Instruction,
    Joined,
    Kill,
    Leave,
    Start,
    State,
    Supervisor,
    Ticked,
)
from quasim.errors import ExitCode


def supervisor() -> Supervisor:
    return Supervisor(Backoff(first_s=1, most_s=8, healthy_s=60), drain_s=100, rng=random.Random(0), now_s=0)


def after(*events: Event) -> tuple[Supervisor, list[Instruction]]:
    """A supervisor that went through these, and what it said to the last one."""
    one = supervisor()
    said: list[Instruction] = []
    for event in events:
        said = one.handle(event)
    return one, said


def test_the_first_raylet_starts_at_once() -> None:
    one, said = after(Ticked(0))
    assert said == [Start()]
    assert one.state is State.JOINING


def test_one_that_joined_is_ready() -> None:
    assert after(Ticked(0), Joined(5))[0].state is State.READY


def test_one_that_ended_by_itself_is_started_again_once_its_wait_is_over() -> None:
    one, said = after(Ticked(0), Joined(5), Ended(10, 1))
    assert said == []
    assert (one.state, one.failures, one.last_code) == (State.WAITING, 1, 1)
    assert 10.5 <= one.due_s <= 11
    assert one.handle(Ticked(10.4)) == []
    assert one.handle(Ticked(11)) == [Start()]
    assert one.starts == 2


def test_failures_count_until_one_was_ready_for_long() -> None:
    one = supervisor()
    for start_s in (0, 100, 200):
        one.handle(Ticked(start_s))
        one.handle(Ended(start_s + 1, 1))
    assert one.failures == 3
    one.handle(Ticked(300))
    one.handle(Joined(305))
    one.handle(Ended(365, 1))
    assert one.failures == 1


def test_asked_to_end_it_drains_and_leaves_in_peace() -> None:
    one, said = after(Ticked(0), Joined(5), Asked(10))
    assert said == [Drain()]
    assert one.handle(Ticked(109)) == []
    assert one.handle(Ended(109.5, 1)) == [Leave(ExitCode.OK)]
    assert one.state is State.OVER


def test_what_does_not_drain_in_time_is_killed_once_and_told() -> None:
    one, said = after(Ticked(0), Joined(5), Asked(10), Ticked(110))
    assert said == [Kill()]
    assert one.handle(Ticked(111)) == []
    assert one.handle(Ended(112, -9)) == [Leave(ExitCode.FAILED)]


def test_asked_twice_it_waits_no_longer() -> None:
    assert after(Ticked(0), Joined(5), Asked(10), Asked(11))[1] == [Kill()]


def test_asked_while_none_runs_it_leaves_at_once() -> None:
    assert after(Ticked(0), Ended(1, 1), Asked(1.1))[1] == [Leave(ExitCode.OK)]


def test_asked_while_one_joins_it_ends_that_too() -> None:
    assert after(Ticked(0), Asked(1))[1] == [Drain()]


EVENTS = st.lists(st.sampled_from([Ticked, Joined, Asked, lambda at: Ended(at, 1)]), max_size=40)


@given(EVENTS, st.integers(0, 2**32))
def test_whatever_happens_at_most_one_raylet_runs_and_the_end_is_final(kinds: list[type[Ticked]], seed: int) -> None:
    one, rng = supervisor(), random.Random(seed)
    now_s, running, over = 0.0, False, False
    for kind in kinds:
        now_s += rng.uniform(0, 50)
        event = kind(now_s)
        if isinstance(event, (Ended, Joined)) and not running:
            continue
        running = running and not isinstance(event, Ended)
        for instruction in one.handle(event):
            assert not over, "it said something after the end"
            if isinstance(instruction, Start):
                assert not running, "two at once"
                running = True
            elif isinstance(instruction, Leave):
                assert not running, "left one behind"
                over = True
            else:
                assert running, "there is none to end"
