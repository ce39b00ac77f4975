"""Costs of trials, and strategies that are aimed at them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasim.energy.aimed import Aimed, aimed, carried
from quasim.energy.objective import LATENCY, Objective, best_of, gflops_per_watt, ranked
from quasim.errors import ConfigError, DataError
from quasim.search import strategy
from quasim.space import Parameter, SearchSpace
from quasim.trial import EnergySource, Genome, Problem, Status, Timing, Trial

PROBLEM = Problem.of("table", n=64)
SPACE = SearchSpace((Parameter("tile", tuple(range(1, 13))), Parameter("warps", (1, 2, 4, 8))))
ENERGY = Objective("energy")


def trial(tile: int, time_ns: float, energy_j: float | None = None, warps: int = 1) -> Trial:
    return Trial(
        problem=PROBLEM,
        target="table",
        genome=Genome({"tile": tile, "warps": warps}),
        status=Status.OK,
        timing=Timing(time_ns, time_ns * 0.9, time_ns * 1.1, 9),
        energy_j=energy_j,
        energy_source=EnergySource.UNMETERED if energy_j is None else EnergySource.COUNTER,
    )


FAILED = Trial(problem=PROBLEM, target="table", genome=Genome({"tile": 12, "warps": 1}), status=Status.CRASHED)


def test_weighted_needs_its_weight_and_no_other_takes_one() -> None:
    assert Objective("weighted", 0.3).weight == 0.3
    for bad in (("weighted", None), ("energy", 0.5), ("weighted", 1.5)):
        with pytest.raises(ConfigError):
            Objective(*bad)


def test_half_and_half_ranks_as_the_energy_delay_product() -> None:
    trials = [trial(n, 100.0 * n, 7.0 / n**2) for n in range(1, 7)]
    by_product = sorted(trials, key=lambda t: t.time_ns * (t.energy_j or 0))
    assert ranked(trials, Objective("weighted", 0.5)) == by_product


def test_joules_that_nobody_read_count_as_time_at_the_median_power() -> None:
    slow_but_frugal, fast, unread = trial(1, 200.0, 1e-5), trial(2, 100.0, 4e-5), trial(3, 90.0)
    assert ranked([fast, unread, slow_but_frugal], ENERGY) == [slow_but_frugal, unread, fast]
    assert best_of([FAILED, fast, unread], LATENCY) is unread
    assert best_of([FAILED], ENERGY) is None


@given(st.lists(st.floats(1, 1e9), min_size=1, max_size=8))
def test_where_nothing_is_metered_energy_ranks_by_time(times: list[float]) -> None:
    trials = [trial(1 + n, time_ns) for n, time_ns in enumerate(times)]
    assert [t.time_ns for t in ranked(trials, ENERGY)] == sorted(times)


def test_gflops_per_watt_are_gflop_per_joule_and_unknown_without_a_meter() -> None:
    assert gflops_per_watt(2 * 4096**3, trial(1, 8e5, 0.5)) == pytest.approx(2 * 4096**3 / 0.5 / 1e9)
    assert gflops_per_watt(1, trial(1, 8e5)) is None
    assert gflops_per_watt(1, None) is None


def test_a_failed_trial_costs_more_than_any() -> None:
    assert ENERGY.cost_ns(FAILED, 300.0) == math.inf


def test_joules_are_carried_over_a_timing_of_the_same_genome() -> None:
    again = carried(trial(1, 100.0, 3e-5), trial(1, 110.0))
    assert (again.time_ns, again.energy_j) == (110.0, 3e-5)
    assert carried(trial(1, 100.0, 3e-5), trial(1, 110.0, 2e-5)).energy_j == 2e-5
    assert carried(trial(1, 100.0, 3e-5), FAILED) is FAILED


def test_time_alone_needs_no_other_strategy() -> None:
    plain = strategy("random", SPACE, 1)
    assert aimed(plain, LATENCY) is plain


def test_an_aimed_strategy_prefers_joules_and_gives_trials_back_as_measured() -> None:
    search = Aimed(strategy("random", SPACE, 1), ENERGY)
    frugal, fast = trial(1, 200.0, 1e-5), trial(2, 100.0, 4e-5)
    search.tell([frugal, fast, FAILED])
    assert search.best(2) == [frugal, fast]
    search.tell([trial(1, 210.0)])
    assert search.best()[0].energy_j == 1e-5
    assert search.best()[0].time_ns == 210.0


def test_a_changed_device_takes_joules_along_with_times() -> None:
    search = Aimed(strategy("evolution", SPACE, 1), ENERGY)
    search.tell([trial(1, 200.0, 1e-5)])
    search.forget()
    assert search.best(3) == []


def joules(genome: Genome) -> float:
    return 1e-5 * (1 + abs(genome.integer("tile") - 7) + abs(genome.integer("warps") - 4))


def searched(search: Aimed, rounds: int) -> list[Genome]:
    asked = []
    for _ in range(rounds):
        genomes = search.ask(4)
        asked += genomes
        search.tell([trial(g.integer("tile"), 100.0, joules(g), g.integer("warps")) for g in genomes])
    return asked


def test_a_restored_one_goes_on_as_if_never_stopped() -> None:
    one, other = (Aimed(strategy("evolution", SPACE, seed), ENERGY) for seed in (3, 9))
    searched(one, 3)
    other.restore(one.state())
    assert searched(one, 4) == searched(other, 4)
    assert one.best(5) == other.best(5)


def test_a_state_of_another_kind_is_refused() -> None:
    with pytest.raises(DataError):
        Aimed(strategy("random", SPACE, 3), ENERGY).restore(strategy("random", SPACE, 3).state())


def test_it_finds_the_fewest_joules_where_all_are_equally_fast() -> None:
    search = Aimed(strategy("evolution", SPACE, 5), ENERGY)
    searched(search, 10)
    assert search.best()[0].energy_j == pytest.approx(1e-5)
