from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.background import (
    DAY_NS,
    LEAST_SLOPE,
    TRUST,
    Allowance,
    Evolve,
    Progress,
    Rest,
    Retrain,
    Spending,
    Terms,
    decide,
)
from quasim.errors import ConfigError
from quasim.trial import Problem

SECOND = 10**9
NOON = 20_000 * DAY_NS + DAY_NS // 2
MIDNIGHT = 20_001 * DAY_NS
TERMS = Terms(Allowance(seconds=100.0), genomes=8, retrain_ns=DAY_NS, look_ns=60 * SECOND)
A, B = Problem.of("matmul", m=64, n=64, k=64), Problem.of("softmax", rows=64, cols=64)


def progress(
    problem: Problem = A,
    curve: tuple[tuple[int, float | None], ...] = ((16, 2e6), (32, 1e6)),
    seconds: float = 32.0,
    joules: float = 0.0,
    launches: float = 1.0,
    size: int = 1000,
) -> Progress:
    return Progress(problem, launches, size, curve, seconds, joules, curve[-1][0] if curve else 0)


def choose(
    *problems: Progress,
    spending: Spending | None = None,
    terms: Terms = TERMS,
    now: int = NOON,
    retrained: int = NOON,
    in_use: str = "",
) -> Evolve | Retrain | Rest:
    return decide(now, terms, spending or Spending(), problems, retrained, in_use)


def spent(seconds: float = 0.0, joules: float = 0.0) -> Spending:
    return Spending(NOON // DAY_NS, seconds, joules)


def test_a_device_in_use_is_left_alone_and_looked_at_again() -> None:
    assert choose(progress(), in_use="62% is in use") == Rest(NOON + 60 * SECOND, "62% is in use")


def test_a_used_up_allowance_rests_until_midnight_and_a_new_day_starts_with_a_whole_one() -> None:
    assert choose(progress(), spending=spent(100.0)) == Rest(MIDNIGHT, "today's 100 s are used up")
    assert choose(progress(), spending=spent(100.0), now=MIDNIGHT) == Evolve(A, 8)


def test_joules_are_limited_where_they_are_metered() -> None:
    terms = msgspec.structs.replace(TERMS.allowance, joules=50.0)
    metered = Terms(terms, 8, DAY_NS, SECOND)
    assert choose(progress(), spending=spent(joules=50.0), terms=metered) == Rest(MIDNIGHT, "today's 50 J are used up")
    assert choose(progress(joules=320.0), spending=spent(joules=20.0), terms=metered) == Evolve(A, 3)
    assert choose(progress(joules=0.0), spending=spent(joules=20.0), terms=metered) == Evolve(A, 8)


def test_a_turn_is_no_larger_than_what_is_left_and_no_turn_is_begun_that_would_not_fit() -> None:
    assert choose(progress(), spending=spent(94.5)) == Evolve(A, 5)
    assert choose(progress(), spending=spent(99.5)).__class__ is Rest


def test_what_still_fits_goes_before_what_is_more_urgent() -> None:
    dear, cheap = progress(A, seconds=64.0, launches=1e6), progress(B, seconds=3.2)
    assert choose(dear, cheap) == Evolve(A, 8)
    assert choose(dear, cheap, spending=spent(99.0)) == Evolve(B, 8)


def test_the_first_turn_is_small_since_nobody_knows_what_a_genome_costs() -> None:
    assert choose(progress(curve=(), seconds=0.0)) == Evolve(A, 2)


def test_what_is_hardly_known_goes_first_and_evenly() -> None:
    assert choose(progress(A), progress(B, curve=((TRUST - 1, None),))) == Evolve(B, 8)
    assert choose(progress(A, curve=((6, 1e6),)), progress(B, curve=((4, 1e6),))) == Evolve(B, 8)
    assert choose(progress(A, curve=(), launches=1.0), progress(B, curve=(), launches=2.0)) == Evolve(B, 2)


def test_more_launches_more_progress_and_cheaper_genomes_each_go_first() -> None:
    assert choose(progress(A), progress(B, launches=2.0)) == Evolve(B, 8)
    assert choose(progress(A, curve=((16, 1.1e6), (32, 1e6))), progress(B)) == Evolve(B, 8)
    assert choose(progress(A), progress(B, seconds=16.0)) == Evolve(B, 8)


def test_what_never_worked_comes_last_but_comes() -> None:
    broken = progress(B, curve=((32, None),), launches=1e9)
    assert choose(progress(A), broken) == Evolve(A, 8)
    assert choose(broken) == Evolve(B, 8)


def test_a_space_that_was_searched_whole_is_left_and_its_last_genomes_are_a_smaller_turn() -> None:
    assert choose(progress(A, size=32), progress(B)) == Evolve(B, 8)
    assert choose(progress(A, size=35)) == Evolve(A, 3)
    assert choose(progress(A, size=32)) == Rest(NOON + DAY_NS, "every search space was searched whole")


def test_retraining_is_due_once_a_period_and_not_before_anything_was_measured() -> None:
    assert choose(progress(), now=NOON + DAY_NS - 1) == Evolve(A, 8)
    assert choose(progress(), now=NOON + DAY_NS) == Retrain()
    assert choose(progress(A, size=32), now=NOON + DAY_NS) == Retrain()
    assert choose(progress(curve=()), now=NOON + DAY_NS) == Evolve(A, 2)


def test_the_slope_is_that_of_the_last_doubling() -> None:
    assert progress(curve=((8, 9e6), (16, 2e6), (24, 1.5e6), (32, 1e6))).slope == pytest.approx(1.0)
    assert progress(curve=((16, 1e6), (32, 1e6))).slope == LEAST_SLOPE
    assert progress(curve=((32, 1e6),)).slope == LEAST_SLOPE
    assert progress(curve=((16, None), (32, 1e6))).slope == LEAST_SLOPE


def test_the_saving_is_launches_times_what_the_curve_promises() -> None:
    assert progress(launches=1000.0).saving(32) == pytest.approx(1000 * 1e-3 * 0.5)
    assert progress(curve=((32, None),)).saving(32) == 0


def test_a_day_adds_up_and_says_when_joules_are_missing() -> None:
    day = spent().plus(3.0, 5.0, "").plus(2.0, None, "no meter")
    assert (day.seconds, day.joules, day.unmetered) == (5.0, 5.0, "no meter")
    assert day.on(NOON) == day
    assert day.on(MIDNIGHT) == Spending(MIDNIGHT // DAY_NS)


@pytest.mark.parametrize("bad", [{"seconds": 0.0}, {"joules": -1.0}])
def test_an_allowance_of_nothing_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="above 0"):
        Allowance(**bad)


@given(
    costs=st.lists(st.tuples(st.floats(0.01, 50), st.integers(1, 2000), st.floats(0.1, 1e6)), min_size=1, max_size=4),
    allowance=st.floats(5, 500),
    genomes=st.integers(1, 32),
)
def test_a_day_of_turns_ends_and_stays_within_the_allowance_where_costs_hold(
    costs: list[tuple[float, int, float]], allowance: float, genomes: int
) -> None:
    terms = Terms(Allowance(seconds=allowance), genomes, DAY_NS, SECOND)
    problems = {
        Problem.of("k", n=n): Progress(Problem.of("k", n=n), launches, size)
        for n, (_, size, launches) in enumerate(costs)
    }
    spending, first = spent(), 0.0
    for _ in range(5000):
        decision = decide(NOON, terms, spending, list(problems.values()), NOON, "")
        if not isinstance(decision, Evolve):
            break
        one = problems[decision.problem]
        seconds = decision.genomes * costs[decision.problem.dims["n"]][0]
        first += seconds if not one.paid else 0.0
        count = one.evaluations + decision.genomes
        assert count <= one.size
        problems[decision.problem] = Progress(
            one.problem, one.launches, one.size, (*one.curve[-8:], (count, 1e6)), one.seconds + seconds, 0.0, count
        )
        spending = spending.plus(seconds, None, "no meter")
    assert isinstance(decision, Rest)
    assert spending.seconds <= allowance + first
