from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest

from quasim.codec import from_json, to_json
from quasim.search import strategy
from quasim.search.gradient import STEPS, Gradient, descend, loss, project
from quasim.search.relaxed import normalised
from quasim.search.surrogate import Surrogate
from quasim.search.trace import GradientTrace
from quasim.space import Floats
from quasim.trial import EnergySource, Genome, Status, Trial
from tests.quasim.search.conformance import SPACE, StrategyConformance, prior, run, slowness, trial
from tests.quasim.search.test_evolution import WIDE, evaluations_to, valley

SLOW = np.array([slowness(SPACE.genome_at(cell)) for cell in range(SPACE.size)])


def models() -> list[tuple[Surrogate, float]]:
    """A surrogate of time and one of energy, which falls where time rises, fitted to half of the space."""
    cells = np.random.default_rng(0).choice(SPACE.size, 32, replace=False)
    time, energy = Surrogate(SPACE), Surrogate(SPACE)
    time.fit(cells, 1e3 * SLOW[cells])
    energy.fit(cells, 1 / SLOW[cells])
    return [(time, 1.0), (energy, 0.3)]


def relaxed(count: int, seed: int = 0) -> Floats:
    return normalised(SPACE, np.random.default_rng(seed).exponential(size=(count, len(SPACE.gene_owners))))


def metered(genome: Genome) -> Trial:
    """A trial whose joules are least in column layout with one thread."""
    return msgspec.structs.replace(trial(genome), energy_j=joules_of(genome), energy_source=EnergySource.COUNTER)


def joules_of(genome: Genome) -> float:
    return 1.0 + (genome["layout"] == "row") + genome.integer("threads")


class TestLoss:
    def test_gradient_is_that_of_finite_differences(self) -> None:
        weights, step = relaxed(3), 1e-6
        _, slopes = loss(models(), weights)
        fitted = models()
        for gene in range(weights.shape[1]):
            nudge = np.zeros_like(weights)
            nudge[:, gene] = step
            ahead, behind = loss(fitted, weights + nudge)[0], loss(fitted, weights - nudge)[0]
            assert slopes[:, gene] == pytest.approx((ahead - behind) / (2 * step), rel=1e-4, abs=1e-6)

    def test_of_a_configuration_is_what_the_surrogates_predict(self) -> None:
        cells = np.arange(0, SPACE.size, 7)
        values, _ = loss(models(), SPACE.one_hot(SPACE.rows[cells]))
        expected = sum(weight * model.predict(cells).mean for model, weight in models())
        assert values == pytest.approx(expected, abs=1e-3)


class TestDescent:
    def test_falls_and_stays_on_the_simplices(self) -> None:
        weights, losses = descend(SPACE, models(), relaxed(6))
        assert len(losses) == STEPS + 1
        assert losses[-1] < losses[0]
        sums = np.add.reduceat(weights, SPACE.gene_offsets, axis=1)
        assert sums == pytest.approx(np.ones_like(sums))
        assert (weights > 0).all()
        values, _ = loss(models(), weights)
        assert (np.diff(values) >= 0).all()

    def test_ends_where_the_surrogate_has_its_lowest_configurations(self) -> None:
        weights, _ = descend(SPACE, models()[:1], relaxed(8))
        nearest = project(SPACE, weights[:1], np.arange(SPACE.size), 1)
        assert SLOW[nearest[0, 0]] <= np.quantile(SLOW, 0.1)


def test_projection_is_the_likeliest_valid_configuration() -> None:
    weights = relaxed(4, seed=2)
    logs = np.log(weights)
    likelihood = np.array([[row @ hot for hot in SPACE.one_hot(SPACE.rows)] for row in logs])
    found = project(SPACE, weights, np.arange(SPACE.size), 5)
    assert found.tolist() == np.argsort(-likelihood, axis=1)[:, :5].tolist()
    few = np.array([3, 9])
    assert set(project(SPACE, weights, few, 5)[0].tolist()) == {3, 9}


class TestGradient(StrategyConformance):
    name = "gradient"

    def test_finds_the_optimum_far_sooner_than_random(self) -> None:
        seeds = range(4)
        found = [evaluations_to(strategy("gradient", WIDE, seed), valley, 1.0) for seed in seeds]
        drawn = [evaluations_to(strategy("random", WIDE, seed), valley, 1.0) for seed in seeds]
        assert max(found) <= 120
        assert 3 * np.exp(np.log(found).mean()) < np.exp(np.log(drawn).mean())

    def test_energy_weighs_in_once_trials_were_metered(self) -> None:
        joules = {}
        for weight in (0.0, 20.0):
            search = Gradient(SPACE, 3, energy_weight=weight)
            asked: list[Genome] = []
            for _ in range(6):
                genomes = search.ask(5)
                search.tell([metered(genome) for genome in genomes])
                asked += genomes
            joules[weight] = float(np.mean([joules_of(genome) for genome in asked[10:]]))
        assert joules[20.0] < joules[0.0] - 0.3

    def test_plan_made_without_a_prior_is_dropped_when_one_is_adopted(self) -> None:
        search = self.make()
        run(search, 3)
        search.ask(1)
        assert json.loads(search.state())["own"]["plan"]
        search.adopt(prior(SPACE, weight=1.0, best=3))
        assert not json.loads(search.state())["own"]["plan"]

    def test_joules_that_have_no_logarithm_do_not_count(self) -> None:
        search = Gradient(SPACE, 3, energy_weight=20.0)
        asked: list[Genome] = []
        for joules in (1.0, 0.0, -1.0, np.nan, np.inf, 2.0):
            asked = search.ask(5)
            search.tell([msgspec.structs.replace(metered(genome), energy_j=joules) for genome in asked])
        assert len(asked) == 5

    def test_trace_has_the_schedule_the_losses_and_the_measurements(self) -> None:
        search = self.make()
        assert isinstance(search, Gradient)
        asked = run(search, 6)
        trace = from_json(to_json(search.traces()["gradient"]), GradientTrace, "trace")
        assert trace.schedule == search.best()[0].genome
        assert [entry.genome for entry in trace.evaluations] == asked
        assert all((entry.time_ns is None) == (entry.status is not Status.OK) for entry in trace.evaluations)
        assert [entry.expected_ns is None for entry in trace.evaluations[:8]] == [True] * 8
        guessed = [(e.expected_ns, e.time_ns) for e in trace.evaluations if e.expected_ns and e.time_ns]
        assert np.corrcoef(np.log(np.array(guessed).T))[0, 1] > 0.3
        assert all(descent.losses[-1] <= descent.losses[0] for descent in trace.descents)
        assert len(trace.weights) == len(trace.genes) == len(SPACE.gene_owners)

    def test_trace_of_a_search_that_has_not_begun_is_empty(self) -> None:
        search = self.make()
        assert isinstance(search, Gradient)
        trace = search.traces()["gradient"]
        assert isinstance(trace, GradientTrace)
        assert (trace.schedule, trace.weights, trace.descents, trace.evaluations) == (None, (), (), ())
