from __future__ import annotations

import math

import numpy as np
import pytest

from quasim.search import strategy, surrogate
from quasim.search.first import FIRST
from quasim.search.improvement import improvement
from quasim.search.surrogate import Prediction
from quasim.space import Parameter, SearchSpace
from tests.quasim.search.conformance import SPACE, StrategyConformance, prior, run, slowness, trial
from tests.quasim.search.test_evolution import WIDE, evaluations_to, failing_share, valley


class TestImprovement(StrategyConformance):
    name = "improvement"

    def test_finds_the_optimum_in_few_evaluations(self) -> None:
        assert max(evaluations_to(strategy("improvement", WIDE, seed), valley, 1.0) for seed in range(3)) <= 80

    def test_a_prior_saves_the_spread_start(self) -> None:
        best = min(range(SPACE.size), key=lambda cell: slowness(SPACE.genome_at(cell)))
        led = self.make()
        led.adopt(prior(SPACE, weight=4.0, best=best))
        assert led.ask(1) == [SPACE.genome_at(best)]

    def test_failing_configurations_are_left_alone(self) -> None:
        assert failing_share(strategy("improvement", WIDE, 1)) < 0.3

    def test_what_is_asked_at_once_is_kept_apart(self) -> None:
        search = strategy("improvement", WIDE, 1)
        search.tell([trial(genome, 1000 * valley(genome)) for genome in search.ask(FIRST)])
        rows = np.array([WIDE.encode(genome) for genome in search.ask(6)])
        assert (rows[:, None] != rows).sum(axis=2)[np.triu_indices(6, 1)].min() >= 1
        assert len(np.unique(rows, axis=0)) == 6

    def test_space_beyond_the_table_is_searched_by_parts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("quasim.search.improvement.TABLE", 64)
        monkeypatch.setattr(surrogate, "TABLE", 64)
        space = SearchSpace(tuple(Parameter(f"p{i}", tuple(range(1, 9))) for i in range(3)))
        search = strategy("improvement", space, 2)
        assert evaluations_to(search, lambda g: 1 + sum(abs(int(v) - 6) for v in g.values()), 2.0, cap=120) <= 80

    def test_asks_among_those_that_are_left_when_few_are(self) -> None:
        search = self.make()
        asked = run(search, 12)
        assert len(search.ask(100)) == SPACE.size - len(asked)


@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 1.0), (1.0, 0.5), (-0.3, 0.2), (2.0, 0.25), (6.0, 1.0)])
def test_improvement_is_the_expectation_of_what_is_below_the_best(mean: float, deviation: float) -> None:
    times = np.linspace(mean - 12 * deviation, 0, 400_001) if mean - 12 * deviation < 0 else np.zeros(2)
    density = np.exp(-0.5 * ((times - mean) / deviation) ** 2) / (deviation * math.sqrt(2 * math.pi))
    gain = -times * density
    expected = float(((gain[1:] + gain[:-1]) / 2 * np.diff(times)).sum())
    one = Prediction(np.array([mean]), np.array([deviation]), np.array([0.5]))
    assert improvement(one)[0] == pytest.approx(0.5 * expected, rel=0.03)


def test_improvement_falls_with_the_mean_however_hopeless() -> None:
    means = np.linspace(-2, 30, 300)
    gains = improvement(Prediction(means, np.ones(300), np.ones(300)))
    assert (np.diff(gains) < 0).all()
