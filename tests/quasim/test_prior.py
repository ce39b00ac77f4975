from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quasim.policy import Part, Topic, topic_cells
from quasim.prior import FIRST, KINSHIP, NEARNESS, REACH, octaves, outgrown, prior_for
from quasim.space import Parameter, SearchSpace
from quasim.trial import Problem
from tests.quasim.test_policy import KNOWN, LARGE, PROBLEM, SPACE, TOPIC, floats, knowing, part, policy

FAR = Problem.of("matmul", m=768, n=1536, k=192)
"""Three octaves from PROBLEM: one in n, two in k."""


def test_a_prior_holds_the_parts_scores_by_cell_and_its_candidates_best_first() -> None:
    prior = prior_for(policy(KNOWN), "c", PROBLEM, SPACE)
    assert prior is not None
    assert prior.mean.shape == prior.weight.shape == (SPACE.size,)
    assert prior.mean[0] == -0.25
    assert np.flatnonzero(prior.weight).tolist() == [0, 3]
    # Cell 0 is next to it.
    assert prior.candidates == (SPACE.genome_at(3),)


def test_a_problem_of_the_same_shape_class_shares_the_prior() -> None:
    near = Problem.of("matmul", m=800, n=900, k=750)
    assert prior_for(policy(KNOWN), "c", near, SPACE) is not None


def test_a_policy_says_nothing_about_another_space_target_family_or_shape_class() -> None:
    other = SearchSpace((*SPACE.parameters, Parameter("threads", (1, 2))))
    known = policy(KNOWN)
    assert prior_for(known, "c", PROBLEM, other) is None
    assert prior_for(known, "replay", PROBLEM, SPACE) is None
    assert prior_for(known, "c", Problem.of("softmax", m=768, n=768, k=768), SPACE) is None
    assert prior_for(known, "c", Problem.of("matmul", m=8, n=768, k=768), SPACE) is None


def test_a_topic_of_which_nobody_knows_anything_gives_no_prior() -> None:
    assert prior_for(policy(part()), "c", PROBLEM, SPACE) is None


def test_a_topic_whose_length_does_not_fit_its_space_gives_no_prior() -> None:
    lying = knowing(msgspec.structs.replace(TOPIC, cells=TOPIC.cells + 5), {TOPIC.cells + 4: 0.0}, (TOPIC.cells + 4,))
    assert prior_for(policy(lying), "c", PROBLEM, SPACE) is None


@settings(deadline=None)
@given(st.data())
def test_no_policy_yields_a_configuration_outside_the_space(data: st.DataObject) -> None:
    cells = data.draw(st.lists(st.integers(0, TOPIC.cells - 1), unique=True, min_size=1))
    prior = prior_for(policy(knowing(TOPIC, dict.fromkeys(cells, -0.5), tuple(cells))), "c", PROBLEM, SPACE)
    assert prior is not None
    assert prior.candidates
    assert {SPACE.cell(genome) for genome in prior.candidates} <= set(cells)


def test_a_prior_of_a_sampled_space_spreads_over_the_sampled_cells() -> None:
    topic = Topic.of("c", PROBLEM, LARGE)
    prior = prior_for(policy(knowing(topic, {7: -0.5}, (7,))), "c", PROBLEM, LARGE)
    assert prior is not None
    at = int(topic_cells(LARGE)[7])
    assert prior.mean[at] == -0.5
    assert np.flatnonzero(prior.weight).tolist() == [at]
    assert prior.candidates == (LARGE.genome_at(at),)


def test_a_shape_that_nobody_had_starts_from_the_shapes_around_it() -> None:
    far = Topic.of("c", FAR, SPACE)
    known = policy(*sorted([knowing(TOPIC, {0: -0.25}, ()), knowing(far, {0: -1.0, 5: -0.5}, ())], key=_topic))
    unknown = prior_for(known, "c", Problem.of("matmul", m=768, n=1536, k=768), SPACE)
    assert unknown is not None
    near, further = NEARNESS, NEARNESS**2
    assert unknown.weight[[0, 5]] == pytest.approx([near + further, further])
    assert unknown.mean[[0, 5]] == pytest.approx([-(0.25 * near + further) / (near + further), -0.5])


def test_octaves_are_summed_over_dimensions_and_unlike_dimensions_are_infinitely_far() -> None:
    assert octaves(PROBLEM.shape_class, FAR.shape_class) == 3
    assert octaves("m~2^3,n~0", "m~2^1,n~0") == 2
    assert octaves("m~2^3", "rows~2^3") == math.inf


def test_a_topic_of_an_extent_beyond_all_floats_says_nothing() -> None:
    absurd = msgspec.structs.replace(TOPIC, shape_class=f"k~2^{'9' * 330},m~0,n~0")
    assert octaves(absurd.shape_class, PROBLEM.shape_class) > REACH
    assert prior_for(policy(knowing(absurd, {0: -0.5})), "c", PROBLEM, SPACE) is None


def test_a_node_of_a_cohort_hears_its_own_kind_louder_and_no_other_kind() -> None:
    ours, theirs = (msgspec.structs.replace(TOPIC, cohort=cohort) for cohort in ("ours", "theirs"))
    parts = (knowing(TOPIC, {0: -0.5}), knowing(ours, {0: -0.1}), knowing(theirs, {0: -0.9, 1: 0.0}))
    known = policy(*sorted(parts, key=_topic))
    mine, foreign = prior_for(known, "c", PROBLEM, SPACE, "ours"), prior_for(known, "c", PROBLEM, SPACE)
    assert mine is not None
    assert foreign is not None
    assert mine.weight[0] == pytest.approx(KINSHIP)
    assert mine.mean[0] == pytest.approx((-0.5 - 0.1 * (KINSHIP - 1)) / KINSHIP)
    assert (foreign.weight[0], foreign.mean[0], foreign.weight[1]) == (1.0, -0.5, 0.0)


def test_spread_over_topics_is_that_of_all_their_nodes() -> None:
    near = Topic.of("c", Problem.of("matmul", m=768, n=768, k=1536), SPACE)
    known = policy(*sorted([knowing(TOPIC, {0: -0.2}), knowing(near, {0: -0.8})], key=_topic))
    prior = prior_for(known, "c", PROBLEM, SPACE)
    assert prior is not None
    assert prior.spread is not None
    assert prior.spread[0] == pytest.approx(0.6 * math.sqrt(2) / 3)


def test_candidates_differ_in_two_values_or_more() -> None:
    wide = SearchSpace(tuple(Parameter(name, (1, 2, 4, 8)) for name in "abc"))
    topic = Topic.of("c", PROBLEM, wide)
    known = knowing(topic, {cell: -0.9 * cell / wide.size for cell in range(wide.size)})
    prior = prior_for(policy(known), "c", PROBLEM, wide)
    assert prior is not None
    rows = np.array([wide.encode(genome) for genome in prior.candidates])
    assert len(rows) == FIRST
    assert wide.cell(prior.candidates[0]) == 0
    assert all((one != other).sum() > 1 for at, one in enumerate(rows) for other in rows[:at])


def test_a_cell_that_works_nowhere_is_no_candidate() -> None:
    fails = floats(*[0.0 if cell == 3 else 1.0 for cell in range(TOPIC.cells)])
    prior = prior_for(policy(msgspec.structs.replace(KNOWN, feasible=fails)), "c", PROBLEM, SPACE)
    assert prior is not None
    assert prior.candidates == (SPACE.genome_at(0),)


def test_joules_give_a_prior_of_their_own_where_someone_metered() -> None:
    scores, weights = np.full(TOPIC.cells, -0.5), np.arange(TOPIC.cells)
    metered = msgspec.structs.replace(KNOWN, energy=floats(*(scores * (weights > 0))), energy_weight=floats(*weights))
    prior = prior_for(policy(metered), "c", PROBLEM, SPACE)
    assert prior is not None
    assert prior.energy is not None
    assert prior.energy.weight.tolist() == weights.tolist()
    assert prior.energy.mean[1:].tolist() == [-0.5] * (TOPIC.cells - 1)
    without = prior_for(policy(KNOWN), "c", PROBLEM, SPACE)
    assert without is not None
    assert without.energy is None


def _topic(one: Part) -> Topic:
    return one.topic


def test_an_outgrown_prior_leaves_candidates_and_no_scores() -> None:
    prior = prior_for(policy(KNOWN), "c", PROBLEM, SPACE)
    assert prior is not None
    left = outgrown(prior)
    assert left.candidates == prior.candidates
    assert not left.weight.any()
    assert (left.feasible, left.energy) == (None, None)


def test_a_shape_of_another_regime_says_nothing() -> None:
    reach = Problem.of("matmul", m=768, n=768, k=768 * 2**REACH)
    beyond = Problem.of("matmul", m=768, n=768, k=768 * 2 ** (REACH + 1))
    assert prior_for(policy(KNOWN), "c", reach, SPACE) is not None
    assert prior_for(policy(KNOWN), "c", beyond, SPACE) is None
