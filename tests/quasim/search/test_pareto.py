from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quasim.energy.objective import Objective, ranked
from quasim.search.pareto import dominated, front, gains, hypervolume, measured
from quasim.space import Floats
from quasim.trial import EnergySource, Genome, Problem, Status, Timing, Trial

PROBLEM = Problem.of("bowl", n=1)


def tried(
    time_ns: float, joules: float | None = None, error: float | None = 1e-7, *, width: float = 0.0, at: int = 0
) -> Trial:
    """A trial whose intervals reach ``width`` of the value to both sides."""
    low, high = 1 - width, 1 + width
    return Trial(
        problem=PROBLEM,
        target="bowl",
        genome=Genome({"at": at}),
        status=Status.OK,
        timing=Timing(time_ns, low * time_ns, high * time_ns, 5),
        error_frobenius=error,
        energy_j=joules,
        energy_low_j=None if joules is None else low * joules,
        energy_high_j=None if joules is None else high * joules,
        energy_source=EnergySource.UNMETERED if joules is None else EnergySource.COUNTER,
    )


def failed() -> Trial:
    return Trial(problem=PROBLEM, target="bowl", genome=Genome({"at": 0}), status=Status.CRASHED)


def beats(one: Trial, other: Trial) -> bool:
    """Dominance as it is defined, objective by objective."""
    assert one.timing is not None
    assert other.timing is not None
    pairs = [(one.timing.high_ns, other.timing.low_ns)]
    if other.energy_low_j is not None:
        pairs.append((math.inf if one.energy_high_j is None else one.energy_high_j, other.energy_low_j))
    if other.error_frobenius is not None:
        pairs.append((math.inf if one.error_frobenius is None else one.error_frobenius, other.error_frobenius))
    return all(high <= low for high, low in pairs) and any(high < low for high, low in pairs)


some_trials = st.lists(
    st.builds(
        tried,
        st.sampled_from([100.0, 105.0, 120.0, 200.0, 300.0]),
        st.sampled_from([None, 1.0, 1.05, 2.0, 3.0]),
        st.sampled_from([None, 1e-8, 1e-7, 1e-3]),
        width=st.sampled_from([0.0, 0.03, 0.2]),
    ),
    max_size=12,
)


class TestFront:
    @given(some_trials)
    def test_is_what_comparing_each_with_each_leaves(self, trials: list[Trial]) -> None:
        expected = [one for one in trials if not any(beats(other, one) for other in trials)]
        assert sorted(map(id, front(trials))) == sorted(map(id, expected))

    @given(some_trials)
    def test_every_trial_off_the_front_is_dominated_by_one_on_it(self, trials: list[Trial]) -> None:
        kept = front(trials)
        assert bool(kept) == bool(trials)
        assert all(any(beats(one, other) for one in kept) for other in trials if all(other is not one for one in kept))

    def test_overlapping_intervals_decide_nothing(self) -> None:
        fast, slow = tried(100.0, width=0.03), tried(105.0, width=0.03)
        assert front([slow, fast]) == (fast, slow)
        assert front([tried(105.0, width=0.001), tried(100.0, width=0.001)]) == (tried(100.0, width=0.001),)

    def test_joules_that_nobody_metered_neither_dominate_nor_protect(self) -> None:
        frugal = tried(200.0, 1.0)
        assert front([frugal, tried(100.0)]) == (tried(100.0), frugal)
        assert front([tried(100.0, 5.0), tried(200.0)]) == (tried(100.0, 5.0),)

    def test_failed_trials_are_not_on_it(self) -> None:
        assert front([failed()]) == ()
        assert front([]) == ()

    def test_holds_in_blocks_as_in_one(self) -> None:
        low = np.random.default_rng(0).random((700, 3))
        high = low + 0.01
        one_by_one = [bool(((high <= low[i]).all(axis=1) & (high < low[i]).any(axis=1)).any()) for i in range(700)]
        assert dominated(low, high).tolist() == one_by_one


def test_choice_by_one_number_is_on_the_front() -> None:
    trials = [tried(100.0, 4.0), tried(200.0, 1.0), tried(140.0, 2.0), tried(150.0, 4.0)]
    choices = [Objective(), Objective("energy"), Objective("weighted", 0.5)]
    assert [ranked(front(trials), choice)[0] for choice in choices] == [trials[0], trials[1], trials[1]]
    assert [ranked(trials, choice)[0] for choice in choices] == [trials[0], trials[1], trials[1]]


def brute_volume(points: Floats, reference: Floats) -> float:
    """By inclusion of unit cells on an integer grid."""
    cells = product(*(range(int(edge)) for edge in reference))
    return float(sum(any((point <= cell).all() for point in points) for cell in map(np.array, cells)))


class TestHypervolume:
    @settings(deadline=None)
    @given(st.lists(st.tuples(*[st.integers(0, 6)] * 3), max_size=8))
    def test_equals_the_count_of_covered_cells(self, corners: list[tuple[int, int, int]]) -> None:
        points, reference = np.array(corners, dtype=np.float64).reshape(-1, 3), np.array([5.0, 4.0, 6.0])
        assert hypervolume(points, reference) == pytest.approx(brute_volume(points, reference))

    def test_points_that_are_not_known_in_an_objective_add_nothing(self) -> None:
        reference = np.ones(3)
        known = np.array([[0.5, 0.5, 0.5]])
        assert hypervolume(np.array([[0.0, np.nan, 0.0], *known]), reference) == hypervolume(known, reference) == 0.125


corners = st.lists(st.tuples(*[st.integers(0, 6)] * 3), max_size=8)


@given(corners, corners)
def test_gains_are_what_the_volume_grows_by(
    added: list[tuple[int, int, int]], there: list[tuple[int, int, int]]
) -> None:
    points, known = (np.array(some, dtype=np.float64).reshape(-1, 3) for some in (added, there))
    reference = np.array([5.0, 4.0, 6.0])
    grown = [hypervolume(np.vstack([known, point]), reference) for point in points]
    assert gains(points, known, reference) == pytest.approx(np.array(grown) - hypervolume(known, reference))


def test_measured_says_nan_of_what_is_not_known() -> None:
    values, low, high = measured([tried(100.0, width=0.1), failed()])
    assert np.isnan(values).tolist() == [[False, True, False], [True, True, True]]
    assert (low[0, 0], high[0, 0]) == pytest.approx((90.0, 110.0))
