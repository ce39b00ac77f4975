from __future__ import annotations

import math
from itertools import permutations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregation.catalogue import Catalogue, Channel
from aggregation.distill import CANDIDATES, DECAY, local_update, refine
from aggregation.secure import SecureClient
from quasim.errors import DataError, SpaceError
from quasim.policy import MAX_CELLS, Part, Policy, Topic, topic_cells
from quasim.space import Floats, Parameter, SearchSpace
from quasim.trial import EnergySource, Problem, Status, Trial
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
from tests.aggregation.secure.fleet import POLICY, Fleet, entropy, identity

TOPIC = Topic.of("c", MATMUL, SPACE)


def update(*trials: Trial) -> Floats:
    return local_update(CATALOGUE, SPACES, trials)


def scores(*trials: Trial) -> dict[int, float]:
    """Score of each known cell of the matmul topic."""
    weight, score, square, works, *_ = CATALOGUE.split(update(*trials))[TOPIC]
    assert np.all(square >= weight * score**2 - 1e-9)
    assert not works[weight == 0].any()
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
    """Sums with (weight, weight × score) in cells of the matmul topic, where all nodes agree and the cells work."""
    sums = np.zeros(CATALOGUE.length)
    for cell, channels in known.items():
        weight, score = channels
        square = score**2 / weight if weight else 0.0
        CATALOGUE.split(sums)[TOPIC][: Channel.ENERGY_WEIGHT, cell] = weight, score, square, weight
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
    weight, score, *_ = catalogue.split(local_update(catalogue, spaces, trials))[catalogue.topics[0]]
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
    weight, score, *_ = narrow.split(softmax)[narrow.topics[0]]
    weight[0], score[0] = 1.0, -0.5
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
    sums = np.zeros(catalogue.length)
    weight, score, _, works, *_ = catalogue.split(sums)[catalogue.topics[0]]
    weight[:], score[:], works[:] = 1.0, -np.linspace(0.9, 0, 100), 1.0
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


WIDE = SearchSpace(tuple(Parameter(name, (1, 2, 4, 8, 16)) for name in ("x", "y", "z")))
WIDE_SPACES = {("c", MATMUL): WIDE}
WIDE_CATALOGUE = Catalogue.of(WIDE_SPACES)


def searched(seed: int) -> list[Trial]:
    """What a node measured: enough to predict the rest, some of it metered."""
    rng = np.random.default_rng(seed)
    cells = rng.choice(WIDE.size, size=40, replace=False)
    times = 100 * np.exp(((WIDE.ordinal(WIDE.rows[cells]) - rng.random(3)) ** 2).sum(axis=1))
    trials = [ok(float(time), int(cell), space=WIDE) for cell, time in zip(cells, times, strict=True)]
    joules = [{"energy_j": 1e-3 * trial.time_ns, "energy_source": EnergySource.COUNTER} for trial in trials[:15]]
    metered = [msgspec.structs.replace(trial, **known) for trial, known in zip(trials, joules, strict=False)]
    return [*metered, *trials[15:]]


def test_a_policy_of_secure_sums_is_that_of_plain_sums_up_to_rounding() -> None:
    vectors = [local_update(WIDE_CATALOGUE, WIDE_SPACES, searched(seed)) for seed in range(3)]
    fleet = Fleet(3, length=WIDE_CATALOGUE.length)
    for node, vector in zip(fleet.clients, vectors, strict=True):
        fleet.clients[node] = SecureClient(
            node, identity(node), fleet.members, fleet.encoding, POLICY, vector, entropy=entropy(node)
        )
    result = fleet.run().result
    assert result is not None
    secure, plain = (
        refine(None, WIDE_CATALOGUE, sums, federation="lab", cycle=0, participants=3, protocol="a test").parts[0]
        for sums in (result.sums, np.sum(vectors, axis=0))
    )
    # Each of three entries is off by half a unit at most, and so is each weight; scores are 1 at most.
    off = 3 * 0.5 / 2.0**fleet.encoding.scale_bits
    weight, energy_weight = plain.weights, plain.energy_weights
    assert np.array_equal(weight > 0, secure.weights > 0)
    assert np.abs(secure.weights - weight).max() <= off + 1e-6
    bound = 2 * off / (weight[weight > 0] - off) + 1e-6
    for name, factor in (("means", 1), ("feasibles", 1), ("spreads", 3)):
        power = 2 if name == "spreads" else 1
        gap = np.abs(getattr(secure, name) ** power - getattr(plain, name) ** power)[weight > 0]
        assert np.all(gap <= factor * bound), name
    known = energy_weight > 0
    assert known.any()
    gap = np.abs(secure.energies - plain.energies)[known]
    assert np.all(gap <= 2 * off / (energy_weight[known] - off) + 1e-6)


def test_spread_is_that_of_the_nodes_and_feasibility_their_share() -> None:
    sums = update(ok(100.0, 0), ok(800.0, 1)) + update(ok(100.0, 1), ok(300.0, 0)) + update(ok(9.0, 1), failed(0))
    part = matmul_part(refined(sums, participants=3))
    scores = np.array([0.0, -math.log(3) / math.log(8), -1.0])
    assert part.means[0] == pytest.approx(scores.mean())
    assert part.spreads[0] == pytest.approx(scores.std())
    assert part.feasibles[:3].tolist() == [pytest.approx(2 / 3), 1.0, 0.0]


def test_what_is_remembered_keeps_its_spread_feasibility_and_joules() -> None:
    trials = [ok(100.0, 0), ok(800.0, 1), failed(5)]
    metered = [msgspec.structs.replace(trials[0], energy_j=2.0, energy_source=EnergySource.COUNTER), *trials[1:]]
    sums = update(*metered) + update(ok(100.0, 1), ok(300.0, 0))
    before = matmul_part(refined(sums, participants=2))
    after = matmul_part(refined(update(), refined(sums, participants=2), cycle=1))
    assert after.spreads == pytest.approx(before.spreads, abs=1e-4)
    assert after.feasibles == pytest.approx(before.feasibles)
    assert (after.energies[0], after.energy_weights[0]) == (0.0, DECAY)
    again = matmul_part(refined(sums, refined(sums, participants=2), participants=2, cycle=1))
    assert again.energy_weights[0] == before.energy_weights[0] == 1.0


@pytest.mark.parametrize("joules", [0.0, -1.0, math.nan, math.inf])
def test_joules_that_have_no_logarithm_are_as_if_not_metered(joules: float) -> None:
    counted = [msgspec.structs.replace(ok(100.0, 0), energy_j=2.0, energy_source=EnergySource.COUNTER)]
    broken = msgspec.structs.replace(ok(200.0, 1), energy_j=joules, energy_source=EnergySource.COUNTER)
    assert np.array_equal(update(*counted, broken), update(*counted, ok(200.0, 1)))


def test_a_cohort_gets_what_all_get_and_other_cohorts_nothing() -> None:
    catalogue = Catalogue.agreed([(cohort, CATALOGUE) for cohort in ("old", "new")], floor=1)
    trials = [ok(100.0, 0), ok(200.0, 1)]
    pieces = catalogue.split(local_update(catalogue, SPACES, trials, "old"))
    of = {topic.cohort: piece for topic, piece in pieces.items() if topic.kernel == "matmul"}
    assert of[""].any()
    assert np.array_equal(of["old"], of[""])
    assert not of["new"].any()


def test_an_honest_round_cannot_give_more_than_its_weights() -> None:
    wild = np.full(CATALOGUE.length, 50.0)
    part = matmul_part(refined(wild, participants=2))
    assert part.weights.tolist() == [2.0] * SPACE.size
    assert part.feasibles.tolist() == [1.0] * SPACE.size
    assert part.means.tolist() == [0.0] * SPACE.size
