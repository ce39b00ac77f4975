from __future__ import annotations

from itertools import count

import pytest

from cluster.dashboard.access import (
    FORGET_S,
    FREE_TRIES,
    LONGEST_WAIT_S,
    MOST_PEERS,
    SESSION_S,
    Access,
    Granted,
    Limit,
    Refused,
)

TOKEN = "the right token"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def access(clock: Clock) -> Access:
    numbers = count()
    return Access(TOKEN, clock, lambda: f"secret {next(numbers)}")


def test_the_token_opens_a_session_of_its_own_each_time(access: Access) -> None:
    first, second = access.login("a", TOKEN), access.login("a", TOKEN)
    assert (first, second) == (Granted("secret 0"), Granted("secret 1"))
    assert access.admits("secret 0")
    assert access.admits("secret 1")


@pytest.mark.parametrize("token", ["", "the right toke", TOKEN + " ", TOKEN.upper(), "\udcff"])
def test_nothing_else_does(access: Access, token: str) -> None:
    assert access.login("a", token) == Refused(0.0)
    assert not access.admits(token)
    assert not access.admits(TOKEN)


def test_a_session_ends_by_logout_and_by_time(access: Access, clock: Clock) -> None:
    access.login("a", TOKEN)
    access.login("a", TOKEN)
    access.logout("secret 0")
    assert not access.admits("secret 0")
    clock.now += SESSION_S - 1
    assert access.admits("secret 1")
    clock.now += 1
    assert not access.admits("secret 1")


def test_who_guesses_waits_ever_longer_and_the_right_token_does_not_help_meanwhile(
    access: Access, clock: Clock
) -> None:
    waits = []
    for _ in range(FREE_TRIES + 12):
        refused = access.login("a", "wrong")
        assert isinstance(refused, Refused)
        waits.append(refused.wait_s)
        if refused.wait_s:
            assert access.login("a", TOKEN) == refused
            clock.now += refused.wait_s
    assert waits[:FREE_TRIES] == [0.0] * (FREE_TRIES - 1) + [1.0]
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_WAIT_S
    assert access.login("a", TOKEN) == Granted("secret 0")


def test_a_right_token_forgets_the_wrong_ones(access: Access) -> None:
    for _ in range(FREE_TRIES - 1):
        access.login("a", "wrong")
    access.login("a", TOKEN)
    assert access.login("a", "wrong") == Refused(0.0)


def test_slips_of_long_ago_are_forgotten(access: Access, clock: Clock) -> None:
    for _ in range(FREE_TRIES):
        access.login("a", "wrong")
    clock.now += FORGET_S + 2
    assert access.login("a", "wrong") == Refused(0.0)


def test_others_do_not_wait_for_who_guesses(access: Access) -> None:
    for _ in range(FREE_TRIES):
        access.login("a", "wrong")
    assert access.login("b", TOKEN) == Granted("secret 0")


def test_guesses_from_everywhere_take_bounded_memory(clock: Clock) -> None:
    limit = Limit(clock)
    for peer in range(MOST_PEERS + 50):
        for _ in range(FREE_TRIES):
            limit.failed(str(peer))
    assert limit.wait_s("0") == 0.0
    assert limit.wait_s(str(MOST_PEERS + 49)) > 0
    assert sum(limit.wait_s(str(peer)) > 0 for peer in range(MOST_PEERS + 50)) == MOST_PEERS
