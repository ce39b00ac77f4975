from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregation.catalogue import Catalogue
from aggregation.distill import CANDIDATES, DECAY, local_update, refine
from quasim.errors import DataError, SpaceError
from quasim.policy import MAX_CELLS, Part, Policy, Topic, topic_cells
from quasim.space import Floats, Parameter, SearchSpace
from quasim.trial import Problem, Status, Trial
from tests.aggregation.samples import (
    CATALOGUE,
    MATMUL,
    NEAR,
    ROWS,
    SOFTMAX,
    SPACE,
    SPACES,
    failed,
    ok,
    outside,
    random_vector,
)

TOPIC = Topic.of("c", MATMUL, SPACE)


def update(*trials: Trial) -> Floats:
    return local_update(CATALOGUE, SPACES, trials)


def scores(*trials: Trial) -> dict[int, float]:
    """Score of each known cell of the matmul topic."""
    weight, score = CATALOGUE.split(update(*trials))[TOPIC]
    assert set(weight) <= {0.0, 1.0}
    assert not score[weight == 0].any()
    return {int(cell): float(score[cell]) for cell in np.flatnonzero(weight)}


def refined(sums: Floats, previous: Policy | None = None, participants: int = 1, cycle: int = 0) -> Policy:
    return refine(
        previous, CATALOGUE, sums, federation="lab", cycle=cycle, participants=participants, protocol="a test"
    )


def matmul_part(policy: Policy) -> Part:
    part = policy.part(TOPIC)
    assert part is not None
    return part


def given_sums(known: dict[int, tuple[float, float]]) -> Floats:
    """Sums with (weight, weight × score) in cells of the matmul topic."""
    sums = np.zeros(CATALOGUE.length)
    for cell, channels in known.items():
        CATALOGUE.split(sums)[TOPIC][:, cell] = channels
    return sums


def test_a_score_is_the_clipped_log_slowdown_against_the_own_best() -> None:
    known = scores(ok(100.0, 0), ok(200.0, 1), ok(800.0, 2), ok(5000.0, 3))
    assert known == {0: 0.0, 1: pytest.approx(-1 / 3), 2: pytest.approx(-1.0), 3: -1.0}


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.OK])
def test_every_failure_is_known_to_be_bad(status: Status) -> None:
    assert scores(ok(100.0, 0), failed(4, status)) == {0: 0.0, 4: -1.0}


def test_failures_alone_are_all_bad() -> None:
    assert scores(failed(1), failed(2)) == {1: -1.0, 2: -1.0}


def test_the_latest_trial_of_a_genome_wins_even_where_it_was_the_best() -> None:
    assert scores(ok(50.0, 0), ok(100.0, 1), ok(200.0, 0)) == {0: pytest.approx(-1 / 3), 1: 0.0}
    assert scores(ok(100.0, 0), failed(0)) == {0: -1.0}
    assert scores(failed(0), ok(100.0, 0)) == {0: 0.0}


def test_problems_of_one_topic_are_scored_by_their_own_best_and_averaged() -> None:
    known = scores(ok(100.0, 0), ok(800.0, 1), ok(1e6, 0, NEAR), ok(2e6, 1, NEAR), ok(8e6, 2, NEAR))
    assert known == {0: 0.0, 1: pytest.approx((-1 - 1 / 3) / 2), 2: pytest.approx(-1.0)}


def test_the_order_in_which_problems_were_tuned_does_not_show() -> None:
    problems = [Problem.of("matmul", m=m, n=768, k=768) for m in (760, 768, 776)]
    spaces = {("c", problem): SPACE for problem in problems}
    tuned = [[ok(1.0, 0, p), ok(1.0 + slower, 1, p)] for p, slower in zip(problems, (0.1, 0.2, 0.3), strict=True)]
    vectors = {
        local_update(CATALOGUE, spaces, [trial for trials in order for trial in trials]).tobytes()
        for order in permutations(tuned)
    }
    assert len(vectors) == 1


def test_a_nodes_scale_of_time_does_not_show() -> None:
    slow = [ok(7000.0 * (1 + cell), cell) for cell in range(SPACE.size)]
    fast = [ok(1.0 + cell, cell) for cell in range(SPACE.size)]
    assert update(*slow) == pytest.approx(update(*fast))


def test_a_node_that_knows_nothing_gives_a_vector_of_the_same_shape() -> None:
    assert update().shape == update(ok(1.0, 0)).shape == (CATALOGUE.length,)
    assert not update().any()


def test_trials_of_other_problems_and_of_problems_outside_the_catalogue_stay_at_home() -> None:
    elsewhere = ok(1.0, 0, Problem.of("matmul", m=1, n=1, k=1))
    assert not update(elsewhere).any()
    only_rows = Catalogue.of({("c", SOFTMAX): ROWS})
    assert not local_update(only_rows, SPACES, [ok(1.0, 0)]).any()


def test_a_genome_outside_its_space_is_an_error() -> None:
    with pytest.raises(SpaceError):
        update(outside())


def test_of_a_large_space_only_sampled_cells_are_told() -> None:
    large = SearchSpace((Parameter("a", tuple(range(300))), Parameter("b", tuple(range(200)))))
    spaces = {("c", MATMUL): large}
    catalogue = Catalogue.of(spaces)
    sampled = topic_cells(large)
    absent = int(np.setdiff1d(np.arange(large.size), sampled)[0])
    trials = [ok(100.0, absent, space=large), ok(200.0, int(sampled[-1]), space=large)]
    weight, score = catalogue.split(local_update(catalogue, spaces, trials))[catalogue.topics[0]]
    assert np.flatnonzero(weight).tolist() == [MAX_CELLS - 1]
    assert score[-1] == pytest.approx(-1 / 3)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, SPACE.size - 1), st.none() | st.floats(1e-3, 1e15)), max_size=20))
def test_every_entry_of_an_update_is_within_its_range(measured: list[tuple[int, float | None]]) -> None:
    known = scores(*(failed(cell) if time is None else ok(time, cell) for cell, time in measured))
    assert known.keys() == {cell for cell, _ in measured}
    assert all(-1 <= score <= 0 for score in known.values())
    if any(time is not None for time in dict(measured).values()):
        assert max(known.values()) == 0


def test_the_mean_is_weighted_over_the_nodes() -> None:
    sums = update(ok(100.0, 0), ok(800.0, 1)) + update(ok(9.0, 1)) + update(failed(5))
    part = matmul_part(refined(sums, participants=3))
    assert part.means.tolist()[:2] == [0.0, pytest.approx(-0.5)]
    assert part.weights.tolist() == [1.0, 2.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]


def test_versions_chain_by_the_hash_of_the_payload_before() -> None:
    first = refined(update(ok(1.0, 0)))
    second = refined(update(ok(1.0, 1)), first, cycle=1)
    assert (first.version, first.parent) == (1, "")
    assert (second.version, second.parent, second.cycle) == (2, first.digest, 1)
    assert second.catalogue == CATALOGUE.digest


def test_what_nobody_brought_again_halves_its_weight_and_keeps_its_score() -> None:
    policy = refined(given_sums({3: (4.0, -1.0)}), participants=4)
    for cycle in range(1, 4):
        policy = refined(update(), policy, cycle=cycle)
        assert matmul_part(policy).weights[3] == 4 * DECAY**cycle
        assert matmul_part(policy).means[3] == -0.25


def test_a_node_that_brings_the_same_again_is_not_counted_twice() -> None:
    sums = given_sums({3: (2.0, -1.0)})
    again = refined(sums, refined(sums, participants=2), participants=2, cycle=1)
    assert matmul_part(again).weights[3] == 2.0
    assert matmul_part(again).means[3] == -0.5


def test_old_evidence_fills_in_for_missing_nodes_and_is_silent_otherwise() -> None:
    before = refined(given_sums({0: (4.0, -4.0), 1: (4.0, -4.0)}), participants=4)
    part = matmul_part(refined(given_sums({0: (1.0, 0.0), 1: (2.0, 0.0)}), before, participants=4, cycle=1))
    assert part.weights[:2].tolist() == [2.0, 2.0]
    assert part.means[:2].tolist() == [-0.5, 0.0]


def test_decay_for_hundreds_of_cycles_ends_in_nothing_known() -> None:
    policy = refined(update(ok(1.0, 0), ok(2.0, 1)))
    for cycle in range(1, 200):
        policy = refined(update(), policy, cycle=cycle)
    assert not matmul_part(policy).weights.any()
    assert matmul_part(policy).candidates == ()


def test_topics_follow_the_catalogue_and_known_ones_keep_their_evidence() -> None:
    narrow = Catalogue.of({("c", SOFTMAX): ROWS})
    softmax = np.zeros(narrow.length)
    softmax[[0, 4]] = 1.0, -0.5
    first = refine(None, narrow, softmax, federation="lab", cycle=0, participants=1, protocol="a test")
    wider = refined(update(ok(1.0, 2)), first, cycle=1)
    rows = wider.part(narrow.topics[0])
    assert rows is not None
    assert (rows.weights[0], rows.means[0]) == (DECAY, -0.5)
    narrower = refine(wider, narrow, softmax, federation="lab", cycle=2, participants=1, protocol="a test")
    assert narrower.part(TOPIC) is None


def test_candidates_are_ranked_by_what_is_sure_and_never_known_failures() -> None:
    one_nodes_best, agreed, doubtful = (1.0, 0.0), (4.0, -0.4), (4.0, -1.6)
    sums = given_sums({0: (4.0, -4.0), 1: doubtful, 2: one_nodes_best, 5: agreed, 6: (1.0, -1.0), 7: one_nodes_best})
    assert matmul_part(refined(sums, participants=4)).candidates == (5, 2, 7, 1)


def test_a_topic_has_at_most_the_documented_number_of_candidates() -> None:
    wide = SearchSpace((Parameter("a", tuple(range(100))),))
    catalogue = Catalogue.of({("c", MATMUL): wide})
    sums = np.concatenate([np.ones(100), -np.linspace(0.9, 0, 100)])
    policy = refine(None, catalogue, sums, federation="lab", cycle=0, participants=1, protocol="a test")
    assert policy.parts[0].candidates == tuple(range(99, 99 - CANDIDATES, -1))


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 5))
def test_whatever_is_finite_refines_to_a_valid_policy_the_same_to_the_bit(seed: int, participants: int) -> None:
    sums = 10 * random_vector(seed, CATALOGUE.length)
    first = refined(sums, participants=participants)
    second = refined(-sums, first, participants=participants, cycle=1)
    assert Policy.from_payload(second.payload()) == second
    assert (
        second.payload() == refined(-sums, refined(sums.copy(), participants=participants), participants, 1).payload()
    )
    assert matmul_part(second).weights.max() <= participants


def test_the_sign_of_a_zero_does_not_show_in_a_policy() -> None:
    known = given_sums({0: (1.0, 0.0), 1: (1.0, -0.0)})
    assert refined(known).payload() == refined(np.where(known == 0, -0.0, known)).payload()
    assert not any(matmul_part(refined(known)).mean)


def test_a_sum_that_is_not_finite_or_of_another_length_is_refused() -> None:
    for wrong in (np.full(CATALOGUE.length, math.nan), np.zeros(CATALOGUE.length - 1)):
        with pytest.raises(DataError):
            refined(wrong)
