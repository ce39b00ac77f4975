from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

from quasim.errors import DataError
from quasim.search import Prior, Strategy, strategy
from quasim.search.evolution import rank_advantages
from quasim.search.first import FIRST
from quasim.search.recording import niches
from quasim.space import Divides, Parameter, SearchSpace
from quasim.trial import Genome
from tests.quasim.search.conformance import SPACE, StrategyConformance, failed, run, trial

WIDE = SearchSpace(
    (*(Parameter(f"p{i}", tuple(range(1, 9))) for i in range(4)), Parameter("divisor", (1, 2, 3))),
    (Divides("divisor", ("p0",)),),
)


def evaluations_to(search: Strategy, cost: Callable[[Genome], float], goal: float, cap: int = 600) -> int:
    """Evaluations until something as good as ``goal`` was seen."""
    for done in range(0, cap, 8):
        genomes = search.ask(8)
        search.tell([trial(genome, 1000 * cost(genome)) for genome in genomes])
        good = [at for at, genome in enumerate(genomes) if cost(genome) <= goal]
        if good:
            return done + good[0] + 1
    return cap


def failing_share(search: Strategy) -> float:
    """Share of what is asked after the start that fails where half of the space does."""
    asked: list[Genome] = []
    for _ in range(FIRST + 40):
        [genome] = search.ask(1)
        search.tell([failed(genome) if genome.integer("p1") > 4 else trial(genome, 1000 * valley(genome))])
        asked.append(genome)
    return float(np.mean([genome.integer("p1") > 4 for genome in asked[FIRST:]]))


def valley(genome: Genome) -> float:
    """A bowl at 6, 3, 7, 2, 3 with a ridge across."""
    target = (6, 3, 7, 2, 3)
    distance = sum(abs(int(v) - t) for v, t in zip(genome.values(), target, strict=True))
    return 1 + distance + (genome.integer("p1") == 4)


class TestEvolution(StrategyConformance):
    name = "evolution"

    def test_finds_the_optimum_far_sooner_than_random(self) -> None:
        seeds = range(6)
        evolved = [evaluations_to(strategy("evolution", WIDE, seed), valley, 1.0) for seed in seeds]
        drawn = [evaluations_to(strategy("random", WIDE, seed), valley, 1.0) for seed in seeds]
        assert max(evolved) <= 120
        assert 3 * np.exp(np.log(evolved).mean()) < np.exp(np.log(drawn).mean())

    def test_failing_configurations_are_avoided(self) -> None:
        assert failing_share(strategy("evolution", WIDE, 1)) < 0.25

    def test_entropy_falls_while_it_learns(self) -> None:
        search = strategy("evolution", WIDE, 0)
        for _ in range(15):
            search.tell([trial(genome, 1000 * valley(genome)) for genome in search.ask(10)])
        assert search.entropy() < 0.9

    def test_start_is_spread_but_a_prior_saves_it(self) -> None:
        costs = np.array([valley(WIDE.genome_at(cell)) for cell in range(WIDE.size)])
        led = strategy("evolution", WIDE, 0)
        led.adopt(Prior(-np.minimum(costs / costs.max(), 1.0), np.full(WIDE.size, 4.0), ()))
        spread = strategy("evolution", WIDE, 0).ask(FIRST)
        assert np.mean([valley(g) for g in led.ask(FIRST)]) < np.mean([valley(g) for g in spread]) - 3

    def test_wrong_prior_is_overcome(self) -> None:
        worst = max(range(WIDE.size), key=lambda cell: valley(WIDE.genome_at(cell)))
        scores = -np.array([valley(WIDE.genome_at(WIDE.size - 1 - cell)) for cell in range(WIDE.size)])
        misled = strategy("evolution", WIDE, 0)
        misled.adopt(Prior(scores / -scores.min(), np.full(WIDE.size, 4.0), (WIDE.genome_at(worst),)))
        assert evaluations_to(misled, valley, 2.0) <= 160

    def test_good_prior_needs_few_evaluations(self) -> None:
        costs = np.array([valley(WIDE.genome_at(cell)) for cell in range(WIDE.size)])
        told = strategy("evolution", WIDE, 0)
        told.adopt(Prior(-np.minimum(np.log(costs) / np.log(8), 1.0), np.full(WIDE.size, 4.0), ()))
        assert evaluations_to(told, valley, 1.0) <= 24

    def test_follows_a_device_that_changes(self) -> None:
        search = strategy("evolution", WIDE, 0)
        evaluations_to(search, valley, 1.0)
        search.forget()
        # The old optimum has become the worst of its kind; the new one lies at p0=3.
        assert evaluations_to(search, lambda g: valley(g) + 6 * (g.integer("p0") > 3), 4.0) <= 120

    @pytest.mark.parametrize("own", [{}, {"logits": [0.0]}, {"logits": [0.0] * 14, "more": [0.0]}])
    def test_state_with_parts_of_another_size_is_refused(self, own: dict[str, list[float]]) -> None:
        search = self.make()
        before = search.state()
        with pytest.raises(DataError, match="do not fit"):
            search.restore(json.dumps({**json.loads(before), "own": own}).encode())
        assert search.state() == before

    def test_space_beyond_what_one_draw_looks_at_is_searched_too(self) -> None:
        big = SearchSpace(tuple(Parameter(f"p{i}", tuple(range(16))) for i in range(4)))
        search = strategy("evolution", big, 0)
        cost = [evaluations_to(search, lambda g: 1 + sum(abs(int(v) - 9) for v in g.values()), 3.0)]
        assert cost[0] <= 200

    def test_singly_told_trials_teach_like_generations(self) -> None:
        whole, single = self.make(), self.make()
        for _ in range(6):
            genomes = whole.ask(5)
            whole.tell([trial(g) for g in genomes])
            for genome in genomes:
                single.tell([trial(genome)])
        assert single.entropy() == pytest.approx(whole.entropy(), abs=0.05)
        assert single.best(30) == whole.best(30)


def test_advantages_go_by_rank_alone() -> None:
    times = np.array([5.0, 1.0, np.inf, 3.0, np.inf])
    advantages = rank_advantages(times)
    assert advantages.argmax() == 1
    assert advantages[2] == advantages[4] == advantages.min()
    assert rank_advantages(np.exp(times)) == pytest.approx(advantages)
    assert (advantages.mean(), advantages.std()) == pytest.approx((0, 1))


@pytest.mark.parametrize("times", [[], [3.0], [np.inf, np.inf]])
def test_where_all_are_alike_nothing_is_an_advantage(times: list[float]) -> None:
    assert rank_advantages(np.array(times)).tolist() == [0.0] * len(times)


def test_niches_differ_in_two_values_or_more() -> None:
    rows = np.array([[0, 0, 0], [0, 0, 1], [0, 1, 1], [1, 1, 1], [2, 2, 2]], dtype=np.int32)
    assert niches(rows, 9).tolist() == [0, 2, 4]
    assert niches(rows, 2).tolist() == [0, 2]
    assert niches(rows[:0], 2).tolist() == []


def test_run_keeps_failed_trials_out_of_the_best() -> None:
    search = strategy("evolution", SPACE, 3)
    run(search, 10)
    assert all(t.genome["tile"] != 128 for t in search.best(100))
