from __future__ import annotations

import numpy as np
import pytest

from quasim.search.ledger import Cells
from quasim.search.qubo import MAIN_SHARE, NEARNESS, NOISE, PairwiseRidge, Qubo
from quasim.space import Floats, Kind, Parameter, Rows, SearchSpace
from tests.quasim.search.conformance import SPACE

FREE = SearchSpace(
    (
        Parameter("a", (1, 2, 4)),
        Parameter("one", (7,)),
        Parameter("k", ("x", "y"), Kind.CATEGORICAL),
        Parameter("b", tuple(range(4))),
    )
)
"""Without constraints; one parameter has no choice."""

ALL = np.arange(FREE.size)


def kernel(left: Rows, right: Rows) -> float:
    """Covariance of the costs of two rows of ``FREE``, pair by pair."""
    near = [NEARNESS ** abs(left[p] - right[p]) for p in (0, 3)] + [float(left[2] == right[2])]
    pairs = near[0] * near[1] + near[0] * near[2] + near[1] * near[2]
    return float(MAIN_SHARE * sum(near) / 3 + (1 - MAIN_SHARE) * pairs / 3)


def covariance(left: Rows, right: Rows) -> Floats:
    return np.array([[kernel(one, other) for other in right] for one in left])


def fitted(guide: Qubo | None = None) -> tuple[PairwiseRidge, Cells, Floats]:
    """A model of nine trials, their cells and their costs."""
    rng = np.random.default_rng(3)
    cells, costs = rng.choice(FREE.size, 9, replace=False), rng.standard_normal(9)
    model = PairwiseRidge(FREE)
    model.expect(guide)
    model.fit(cells, costs)
    return model, cells, costs


class TestQubo:
    def test_energies_are_the_predictions_of_the_ridge_fit(self) -> None:
        model, cells, costs = fitted()
        shared = covariance(FREE.rows, FREE.rows[cells])
        weights = np.linalg.solve(covariance(FREE.rows[cells], FREE.rows[cells]) + NOISE * np.eye(9), costs)
        assert model.mean().energies(FREE.one_hot(FREE.rows)) == pytest.approx(shared @ weights)

    def test_energies_sum_effects_of_genes_and_of_pairs(self) -> None:
        rng = np.random.default_rng(0)
        loose = np.triu(rng.standard_normal((5, 5)), 1)
        model = Qubo(0.5, rng.standard_normal(5), loose + loose.T)
        hot = (rng.random((20, 5)) < 0.5).astype(float)
        by_hand = [
            0.5 + sum(model.linear[g] for g in on) + sum(loose[g, h] for g in on for h in on if g < h)
            for on in (np.flatnonzero(row) for row in hot)
        ]
        assert model.energies(hot) == pytest.approx(np.array(by_hand))

    def test_constraints_leave_configurations_alone_and_lift_all_else_above_the_best(self) -> None:
        rng = np.random.default_rng(1)
        owners = np.array([0, 0, 0, 1, 1, 2, 2])
        loose = np.triu(rng.standard_normal((7, 7)), 1)
        loose[owners[:, None] == owners] = 0.0
        model = Qubo(0.0, rng.standard_normal(7), loose + loose.T)
        bound = model.constrained(owners)
        every = (np.arange(2**7)[:, None] >> np.arange(7) & 1).astype(float)
        held = np.stack([every[:, owners == p].sum(axis=1) for p in range(3)], axis=1)
        whole = (held == 1).all(axis=1)
        assert bound.energies(every[whole]) == pytest.approx(model.energies(every[whole]))
        assert whole[np.argmin(bound.energies(every))]


class TestPairwiseRidge:
    def test_draws_have_the_mean_and_the_covariance_of_the_posterior(self) -> None:
        model, cells, _ = fitted()
        rng = np.random.default_rng(5)
        hot = FREE.one_hot(FREE.rows)
        drawn = np.array([model.draw(rng).energies(hot) for _ in range(4000)])
        shared = covariance(FREE.rows, FREE.rows[cells])
        inverse = np.linalg.inv(covariance(FREE.rows[cells], FREE.rows[cells]) + NOISE * np.eye(9))
        expected = covariance(FREE.rows, FREE.rows) - shared @ inverse @ shared.T
        # 4000 draws of variance below 1: the standard error of a mean is 0.016, of a covariance below 0.023.
        assert np.abs(drawn.mean(axis=0) - model.mean().energies(hot)).max() < 0.07
        assert np.abs(np.cov(drawn.T) - expected).max() < 0.1

    def test_knows_nothing_at_first(self) -> None:
        assert PairwiseRidge(FREE).mean().energies(FREE.one_hot(FREE.rows)).tolist() == [0.0] * FREE.size

    def test_finds_effects_of_pairs(self) -> None:
        rows = FREE.rows
        costs = np.where((rows[:, 0] == 2) & (rows[:, 3] == 1), -2.0, 0.3)
        model = PairwiseRidge(FREE)
        model.fit(ALL[rows[:, 2] == 0], costs[rows[:, 2] == 0])
        unseen = model.mean().energies(FREE.one_hot(rows[rows[:, 2] == 1]))
        assert costs[rows[:, 2] == 1][unseen.argmin()] == -2.0

    def test_believes_a_guide_until_it_was_wrong(self) -> None:
        hot = FREE.one_hot(FREE.rows)
        guide, _, _ = fitted()
        told = guide.mean().energies(hot)
        model = PairwiseRidge(FREE)
        model.expect(guide.mean())
        assert model.mean().energies(hot) == pytest.approx(told)
        model.fit(ALL, -told)
        assert np.corrcoef(model.mean().energies(hot), told)[0, 1] < -0.9

    def test_single_values_have_no_effect(self) -> None:
        model, _, _ = fitted()
        gene = int(FREE.gene_offsets[1])
        assert model.mean().linear[gene] == 0.0
        assert not model.mean().coupling[gene].any()
        assert model.draw(np.random.default_rng(0)).linear[gene] == 0.0

    def test_couplings_within_a_parameter_are_0(self) -> None:
        model = PairwiseRidge(SPACE)
        model.fit(np.arange(12), np.linspace(-1, 1, 12))
        same = SPACE.gene_owners[:, None] == SPACE.gene_owners
        for effects in (model.mean(), model.draw(np.random.default_rng(0))):
            assert not effects.coupling[same].any()
            assert effects.coupling == pytest.approx(effects.coupling.T)
