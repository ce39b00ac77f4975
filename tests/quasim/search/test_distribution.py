from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasim.search.distribution import CLIP, ENTROPY_BONUS, FLOOR, Distributions
from quasim.space import Parameter, SearchSpace

SPACE = SearchSpace((Parameter("a", (1, 2, 3)), Parameter("b", (1,)), Parameter("c", (1, 2, 3, 4))))
A = slice(0, 3)


def test_starts_uniform() -> None:
    start = Distributions(SPACE)
    assert start.probabilities() == pytest.approx([1 / 3] * 3 + [1.0] + [1 / 4] * 4)
    assert start.entropy() == pytest.approx(1.0)


@given(st.integers(0, 2**32))
def test_every_update_leaves_distributions_above_the_floor(seed: int) -> None:
    rng, learned = np.random.default_rng(seed), Distributions(SPACE)
    for _ in range(50):
        rows = SPACE.rows[rng.integers(SPACE.size, size=8)]
        learned.improve(rows, rng.normal(size=8), rate=1.0)
    for at, count in ((0, 3), (3, 1), (4, 4)):
        part = learned.sampled()[at : at + count]
        assert part.sum() == pytest.approx(1)
        assert (part >= FLOOR / count - 1e-12).all()
    assert 0 <= learned.entropy() <= 1 + 1e-12


def test_values_of_good_genomes_gain_and_of_bad_ones_lose() -> None:
    learned = Distributions(SPACE)
    rows = SPACE.rows
    learned.improve(rows, np.where(rows[:, 0] == 1, 1.0, -0.5), rate=0.1)
    p = learned.probabilities()
    assert p[1] > 1 / 3 > max(p[0], p[2])
    assert p[4:] == pytest.approx([0.25] * 4)


def test_clipping_bounds_how_far_one_update_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = SPACE.rows
    advantages = np.where(rows[:, 0] == 1, 1.0, -0.5)
    clipped, free = Distributions(SPACE), Distributions(SPACE)
    clipped.improve(rows, advantages, rate=0.2)
    monkeypatch.setattr("quasim.search.distribution.CLIP", np.inf)
    free.improve(rows, advantages, rate=0.2)
    # The step that first passes the clip still counts whole; those after it do not.
    assert (1 + CLIP) / 3 < clipped.probabilities()[1] < 0.5 < 0.6 < free.probabilities()[1]


def test_surrogate_gradient_is_that_of_the_clipped_objective() -> None:
    rng = np.random.default_rng(0)
    learned = Distributions(SPACE)
    learned.logits = rng.normal(size=len(learned.logits))
    rows, advantages = SPACE.rows[rng.integers(SPACE.size, size=6)], rng.normal(size=6)
    genes = rows + SPACE.gene_offsets
    old = learned.probabilities()[genes]

    def objective(logits: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
        moved = Distributions(SPACE)
        moved.logits = logits
        p = moved.probabilities()
        ratio, gain = p[genes] / old, advantages[:, None]
        clipped = np.minimum(ratio * gain, np.clip(ratio, 1 - CLIP, 1 + CLIP) * gain)
        entropy = -(p * np.log(p)).sum()
        return float(clipped.sum() / len(rows) + ENTROPY_BONUS * entropy)

    start, step = learned.logits.copy(), 1e-6
    # A step so short that the four ascents add up to four gradients at the start.
    learned.improve(rows, advantages, rate=1e-7)
    counts = np.array(SPACE.cardinalities)[SPACE.gene_owners]
    moved = (learned.logits - start) / (4e-7 * counts)
    for at in range(len(start)):
        tip = np.where(np.arange(len(start)) == at, step, 0.0)
        slope = (objective(start + tip) - objective(start - tip)) / (2 * step)
        assert moved[at] == pytest.approx(slope, abs=1e-4)


def test_draws_follow_the_distributions() -> None:
    learned = Distributions(SPACE)
    learned.logits[A] = np.log([0.7, 0.2, 0.1])
    rows = learned.draw(np.random.default_rng(0), 20_000)
    shares = np.bincount(rows[:, 0]) / len(rows)
    assert shares == pytest.approx(learned.sampled()[A], abs=0.015)
    assert (rows[:, 1] == 0).all()


def test_log_likelihood_is_that_of_the_product() -> None:
    learned = Distributions(SPACE)
    learned.logits = np.arange(8.0) / 4
    assert np.exp(learned.log_likelihood(SPACE.rows)).sum() == pytest.approx(1)


def test_prior_favours_the_values_of_its_good_cells_by_trust() -> None:
    mean = np.where(SPACE.rows[:, 0] == 2, 0.0, -1.0)
    weight = np.full(SPACE.size, 4.0)
    steered, half, none = Distributions(SPACE), Distributions(SPACE), Distributions(SPACE)
    steered.steer(SPACE, mean, weight, trust=1.0)
    half.steer(SPACE, mean, weight, trust=0.5)
    none.steer(SPACE, mean, np.zeros(SPACE.size), trust=1.0)
    assert steered.probabilities()[2] > half.probabilities()[2] > 0.6
    assert none.entropy() == pytest.approx(1.0)
    assert steered.probabilities()[4:] == pytest.approx([0.25] * 4)


def test_value_nobody_knows_is_as_good_as_any() -> None:
    known = SPACE.rows[:, 0] < 2
    mean = np.where(SPACE.rows[:, 0] == 0, 0.0, -1.0) * known
    steered = Distributions(SPACE)
    steered.steer(SPACE, mean, known.astype(float), trust=1.0)
    p = steered.probabilities()
    assert p[0] > p[2] > p[1]


def test_softened_distributions_keep_their_order_and_are_less_sure() -> None:
    learned = Distributions(SPACE)
    learned.logits = np.arange(8.0)
    before = learned.probabilities()
    learned.soften(0.5)
    assert (np.argsort(learned.probabilities()[A]) == np.argsort(before[A])).all()
    assert learned.probabilities()[A].max() < before[A].max()


def test_space_without_a_choice_has_no_entropy() -> None:
    assert Distributions(SearchSpace((Parameter("a", (1,)),))).entropy() == 0.0
