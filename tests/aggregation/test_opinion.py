from __future__ import annotations

import math

import numpy as np
import pytest

from aggregation.catalogue import Channel
from aggregation.opinion import CLIP_SLOWDOWN, LEAST_TRIALS, LEAST_WEIGHT, opinion
from quasim.policy import MAX_CELLS, topic_cells
from quasim.space import Floats, Parameter, SearchSpace

VALUES = tuple(2**at for at in range(8))
SPACE = SearchSpace(tuple(Parameter(name, VALUES) for name in ("x", "y", "z")))
LARGE = SearchSpace(tuple(Parameter(name, tuple(range(1, 16))) for name in "abcd"))


def bowl(space: SearchSpace) -> Floats:
    """Times in ns, fastest at one place, smooth around it, shape (size,)."""
    return np.asarray(1000.0 * np.exp(3 * ((space.ordinal(space.rows) - 0.4) ** 2).sum(axis=1)))


def measured(space: SearchSpace, count: int, seed: int = 0) -> dict[int, float]:
    cells = np.random.default_rng(seed).choice(space.size, size=count, replace=False)
    return dict(zip(cells.tolist(), bowl(space)[cells].tolist(), strict=True))


def test_a_node_says_of_every_cell_what_its_surrogate_expects() -> None:
    told = measured(SPACE, 60)
    channels = opinion(SPACE, told, {})
    weight, score = channels[Channel.WEIGHT], channels[Channel.SCORE]
    unmeasured = np.setdiff1d(np.flatnonzero(weight), list(told))
    assert len(unmeasured) > SPACE.size / 2
    truth = -np.log(bowl(SPACE) / min(told.values())) / math.log(CLIP_SLOWDOWN)
    # The tail of the slow is cut off; what matters is who is fast.
    fast = unmeasured[truth[unmeasured] > -0.3]
    assert np.abs(score[fast] / weight[fast] - truth[fast]).mean() < 0.05


def test_what_was_measured_counts_in_full_and_as_measured() -> None:
    told = measured(SPACE, 60)
    cells = np.array(list(told))
    channels = opinion(SPACE, told, {})
    expected = -np.log(np.array(list(told.values())) / min(told.values())) / math.log(CLIP_SLOWDOWN)
    assert channels[Channel.WEIGHT, cells].tolist() == [1.0] * len(cells)
    assert channels[Channel.SCORE, cells] == pytest.approx(np.maximum(expected, -1.0))
    assert channels[Channel.WORKS, cells].tolist() == [1.0] * len(cells)


def test_weight_falls_with_distance_from_what_was_tried() -> None:
    near = {cell: time for cell, time in measured(SPACE, SPACE.size).items() if SPACE.rows[cell].max() < 4}
    weight = opinion(SPACE, near, {})[Channel.WEIGHT]
    edge, corner = SPACE.cells(np.array([[4, 3, 3], [7, 7, 7]]))
    assert 1.0 > weight[edge] > weight[corner]


def test_few_trials_speak_for_themselves_alone() -> None:
    told = measured(SPACE, LEAST_TRIALS - 1)
    weight = opinion(SPACE, told, {})[Channel.WEIGHT]
    assert sorted(np.flatnonzero(weight)) == sorted(told)
    failed = dict.fromkeys(range(LEAST_TRIALS, 3 * LEAST_TRIALS), math.inf)
    assert np.count_nonzero(opinion(SPACE, failed, {})[Channel.WEIGHT]) == len(failed)


def test_a_failure_tells_where_configurations_fail_and_hardly_anything_of_times_elsewhere() -> None:
    worked = {cell: time for cell, time in measured(SPACE, 120).items() if SPACE.rows[cell, 0] < 6}
    failed = dict.fromkeys((cell for cell in range(SPACE.size) if SPACE.rows[cell, 0] == 7), math.inf)
    plain, channels = opinion(SPACE, worked, {}), opinion(SPACE, worked | failed, {})
    others = np.setdiff1d(np.arange(SPACE.size), list(failed))
    kept = np.array([Channel.WEIGHT, Channel.SCORE, Channel.SQUARE])
    assert channels[np.ix_(kept, others)] == pytest.approx(plain[np.ix_(kept, others)], abs=0.03)
    assert not channels[Channel.WORKS, list(failed)].any()
    assert channels[Channel.SCORE, list(failed)].tolist() == [-1.0] * len(failed)
    unmeasured = np.setdiff1d(others, list(worked))
    works = channels[Channel.WORKS, unmeasured] / channels[Channel.WEIGHT, unmeasured]
    beside, away = SPACE.rows[unmeasured, 0] == 6, SPACE.rows[unmeasured, 0] < 4
    assert works[beside].max() < works[away].min()


def test_every_entry_is_within_what_rounds_clip_to() -> None:
    told = measured(SPACE, 100)
    told |= dict.fromkeys(list(told)[:20], math.inf)
    channels = opinion(SPACE, told, {cell: 1e-3 * time for cell, time in told.items() if math.isfinite(time)})
    assert np.abs(channels).max() <= 1
    weight, score = channels[Channel.WEIGHT], channels[Channel.SCORE]
    assert np.all((weight == 0) | (weight >= LEAST_WEIGHT))
    assert np.all((-weight <= score) & (score <= 0))
    assert np.all((channels[Channel.WORKS] >= 0) & (channels[Channel.WORKS] <= weight))


def test_a_surrogate_that_knows_next_to_nothing_is_not_heard() -> None:
    cells = np.random.default_rng(0).choice(SPACE.size, size=30, replace=False)
    told = {int(cell): (1.0, 1e6)[at % 2] for at, cell in enumerate(cells)}
    assert sorted(np.flatnonzero(opinion(SPACE, told, {})[Channel.WEIGHT])) == sorted(told)


def test_joules_have_weights_of_their_own() -> None:
    told = measured(SPACE, 60)
    metered = dict(list(told.items())[:3])
    channels = opinion(SPACE, told, metered)
    assert sorted(np.flatnonzero(channels[Channel.ENERGY_WEIGHT])) == sorted(metered)
    best = min(metered, key=lambda cell: metered[cell])
    assert channels[Channel.ENERGY, best] == 0
    assert not opinion(SPACE, told, {})[[Channel.ENERGY_WEIGHT, Channel.ENERGY]].any()


def test_a_nodes_scale_of_time_does_not_show() -> None:
    told = measured(SPACE, 40)
    slower = {cell: 7.0 * time for cell, time in told.items()}
    assert opinion(SPACE, slower, {}) == pytest.approx(opinion(SPACE, told, {}), abs=1e-4)


def test_of_a_large_space_the_sampled_cells_are_predicted_from_all_that_was_measured() -> None:
    told = {cell: time for cell, time in measured(LARGE, 80).items() if cell not in set(topic_cells(LARGE).tolist())}
    channels = opinion(LARGE, told, {})
    assert channels.shape == (len(Channel), MAX_CELLS)
    assert np.count_nonzero(channels[Channel.WEIGHT]) > MAX_CELLS / 2


def test_the_same_trials_give_the_same_bytes() -> None:
    told = measured(SPACE, 60)
    assert opinion(SPACE, told, told).tobytes() == opinion(SPACE, dict(told), dict(told)).tobytes()
