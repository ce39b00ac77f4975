from __future__ import annotations

import numpy as np

from quasim.codec import from_json, to_json
from quasim.search import Prior, strategy
from quasim.search.ising import MEMORY, Ising
from quasim.search.qubo import Qubo
from quasim.search.trace import IsingTrace
from quasim.space import Parameter, SearchSpace
from tests.quasim.search.conformance import SPACE, StrategyConformance, prior, run, slowness, trial
from tests.quasim.search.test_evolution import WIDE, evaluations_to, valley


class TestIsing(StrategyConformance):
    name = "ising"

    def test_finds_the_optimum_far_sooner_than_random(self) -> None:
        seeds = range(4)
        found = [evaluations_to(strategy("ising", WIDE, seed), valley, 1.0) for seed in seeds]
        drawn = [evaluations_to(strategy("random", WIDE, seed), valley, 1.0) for seed in seeds]
        assert max(found) <= 120
        assert 3 * np.exp(np.log(found).mean()) < np.exp(np.log(drawn).mean())

    def test_entropy_falls_while_it_learns(self) -> None:
        search = self.make()
        run(search, 8)
        assert search.entropy() < 0.99

    def test_a_prior_without_candidates_guides_the_first_asks(self) -> None:
        slow = np.array([slowness(SPACE.genome_at(cell)) for cell in range(SPACE.size)])
        scores = -(slow - slow.min()) / (slow.max() - slow.min())
        guided = []
        for seed in range(5):
            search = self.make(seed)
            search.adopt(Prior(scores, np.ones(SPACE.size), ()))
            guided += [slowness(genome) for genome in search.ask(4)]
        assert np.mean(guided) < np.quantile(slow, 0.3)

    def test_a_prior_that_tells_nothing_changes_nothing(self) -> None:
        search, same = self.make(), self.make()
        search.adopt(prior(SPACE))
        assert run(search, 6) == run(same, 6)

    def test_trace_has_the_model_and_how_it_was_annealed(self) -> None:
        search = self.make()
        assert isinstance(search, Ising)
        run(search, 6)
        trace = from_json(to_json(search.traces()["ising"]), IsingTrace, "trace")
        assert trace.space == SPACE.digest
        assert trace.genes[:2] == (("tile", 8), ("tile", 16))
        coupling = np.array(trace.coupling)
        fitted = Qubo(0.0, np.array(trace.linear), coupling).energies(SPACE.one_hot(SPACE.rows))
        slow = np.array([slowness(SPACE.genome_at(cell)) for cell in range(SPACE.size)])
        assert np.corrcoef(fitted, np.log(slow))[0, 1] > 0.7
        assert trace.anneals
        assert all(5 <= anneal.trials <= 30 for anneal in trace.anneals)
        assert all(anneal.stages[-1].whole == 1.0 for anneal in trace.anneals)

    def test_what_is_fitted_of_many_trials_still_has_the_best(self) -> None:
        long = SearchSpace((Parameter("p0", tuple(range(1, 41))), Parameter("p1", tuple(range(1, 41)))))
        every_other = range(0, long.size, 2)
        assert len(every_other) > 2 * MEMORY
        search = self.make(space=long)
        search.tell([trial(long.genome_at(cell), 100.0 + cell) for cell in every_other])
        # The fastest were told first, the slowest last.
        assert np.mean([genome.integer("p0") for genome in search.ask(8)]) < 10
