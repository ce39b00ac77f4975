from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from quasim.space import Parameter, SearchSpace
from quasim.targets.replay import ReplayTarget
from quasim.targets.replay.survey import METERED, SAMPLED, batches, stratified, to_meter, with_joules
from quasim.trial import EnergySource, Genome, Problem, Status, Timing, Trial

SPACE = SearchSpace((Parameter("a", tuple(range(20))), Parameter("b", tuple(range(20)))), (), Genome({"a": 7, "b": 3}))


@pytest.fixture
def device(recorded_space: Path) -> ReplayTarget:
    return ReplayTarget("c", [(0, recorded_space)])


def surveyed(device: ReplayTarget, known: dict[Genome, Trial], count: int, most: int | None = None) -> int:
    """Measure up to ``most`` batches; how many there were."""
    done = 0
    for genomes in batches(device.space(device.problem), 1, known, count, size=16):
        if done == most:
            break
        known.update({trial.genome: trial for trial in device.evaluate(device.problem, genomes)})
        done += 1
    return done


@pytest.mark.parametrize("count", [1, 40, 400, 999])
def test_strata_are_distinct_and_begin_with_the_default(count: int) -> None:
    drawn = stratified(SPACE, 0, count)
    assert len(drawn) == len(set(drawn)) == min(count, 400)
    assert drawn[0] == SPACE.default
    assert drawn == stratified(SPACE, 0, count)


def test_each_stretch_of_the_space_is_drawn_from() -> None:
    cells = np.array([SPACE.cell(genome) for genome in stratified(SPACE, 0, 40)[1:]])
    # The default takes the place of one.
    assert len(np.unique(cells // 10)) >= 39
    assert list(cells) != sorted(cells)
    assert [SPACE.cell(genome) for genome in stratified(SPACE, 1, 40)[1:]] != list(cells)


def test_what_is_measured_begins_with_strata_and_goes_on_to_faster_ones(device: ReplayTarget) -> None:
    known: dict[Genome, Trial] = {}
    assert surveyed(device, known, 224) == 14
    assert len(known) == 224
    trials = list(known.values())
    drawn = stratified(device.space(device.problem), 1, SAMPLED)
    assert [trial.genome for trial in trials[:SAMPLED]] == drawn
    assert device.optimum_ns() == min(trial.time_ns for trial in trials)
    evolved, sampled = trials[SAMPLED : SAMPLED + 16], trials[:SAMPLED]
    assert np.median([trial.time_ns for trial in evolved]) < np.median([trial.time_ns for trial in sampled])


@pytest.mark.parametrize("interruptions", [(3,), (10, 1), (11,), (0, 13)])
def test_an_interrupted_survey_goes_on_as_if_it_never_was(device: ReplayTarget, interruptions: tuple[int, ...]) -> None:
    whole: dict[Genome, Trial] = {}
    surveyed(device, whole, 224)
    parts: dict[Genome, Trial] = {}
    for most in interruptions:
        assert surveyed(device, parts, 224, most) == most
    assert len(parts) < 224
    surveyed(device, parts, 224)
    assert list(parts.items()) == list(whole.items())


def test_a_small_space_is_surveyed_whole_and_once(device: ReplayTarget) -> None:
    known: dict[Genome, Trial] = {}
    surveyed(device, known, 1000)
    assert len(known) == device.space(device.problem).size == 240
    assert surveyed(device, known, 1000) == 0


def timed(number: int, time_ns: float | None) -> Trial:
    return Trial(
        problem=Problem.of("matmul", m=1),
        target="triton",
        genome=Genome({"n": number}),
        status=Status.LAUNCH_ERROR if time_ns is None else Status.OK,
        timing=None if time_ns is None else Timing(time_ns, time_ns, time_ns, 1),
    )


def test_the_fastest_and_strata_of_the_rest_are_metered_in_turn() -> None:
    trials = [timed(n, None if n % 10 == 9 else 1000.0 - n) for n in range(200)]
    chosen = to_meter(trials, 0, 16, 32)
    assert len(chosen) == len(set(chosen)) == 48
    ranked = sorted((t for t in trials if t.timing), key=lambda t: t.time_ns)
    rank = {trial.genome: at for at, trial in enumerate(ranked)}
    turns = [[rank[genome] for genome in chosen[at : at + METERED]] for at in range(0, 48, METERED)]
    assert turns[0] == list(range(16))
    others = sorted([*turns[1], *turns[2]])
    assert min(others) >= 16
    assert others[-1] >= len(ranked) - len(ranked) // 32 - 1
    assert max(np.diff(others)) <= 2 * -(-(len(ranked) - 16) // 32)
    assert chosen == to_meter(trials, 0, 16, 32)


@pytest.mark.parametrize(("count", "metered"), [(0, 0), (5, 5), (20, 20), (60, 48)])
def test_few_that_work_are_all_metered(count: int, metered: int) -> None:
    trials = [*(timed(n, 1.0 + n) for n in range(count)), timed(-1, None)]
    assert len(set(to_meter(trials, 0, 16, 32))) == metered


def test_joules_are_added_and_times_kept() -> None:
    trial = timed(0, 1.0)
    played = msgspec.structs.replace(
        timed(0, 2.0), energy_j=3.0, energy_source=EnergySource.COUNTER, energy_low_j=2.5, energy_high_j=3.5
    )
    found = with_joules(trial, played)
    assert found.timing == trial.timing
    assert (found.energy_j, found.energy_source) == (3.0, EnergySource.COUNTER)
    assert (found.energy_low_j, found.energy_high_j, found.energy_above_idle_j) == (2.5, 3.5, None)


def test_why_there_are_no_joules_is_kept() -> None:
    trial = timed(0, 1.0)
    voided = msgspec.structs.replace(timed(0, 2.0), detail="unmetered: the clock fell")
    assert with_joules(trial, voided).detail == "unmetered: the clock fell"
    assert with_joules(trial, timed(0, None)).detail == "unmetered: launch_error in the playoff"
    assert with_joules(trial, timed(0, None)).status is Status.OK
    assert with_joules(trial, timed(0, 2.0)) == trial
