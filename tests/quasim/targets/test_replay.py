from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from quasim.errors import ConfigError, DataError, ShapeError, UnknownNameError
from quasim.search import Prior, drift, strategy
from quasim.targets import Target
from quasim.targets.replay import ReplayTarget
from quasim.trial import EnergySource, Genome, Problem, Status, Timing, Trial
from tests.quasim.targets.recordings import Json, kernel_tuner_file, shared, write


@pytest.fixture
def target(tmp_path: Path) -> ReplayTarget:
    return ReplayTarget("replay", [(0, write(tmp_path / "a100.json", kernel_tuner_file()))])


def genome(tile: int, layout: str) -> Genome:
    return Genome({"tile": tile, "layout": layout, "pack": True})


def later(**changes: object) -> Json:
    """Another recording of the same space: all twice as slow, the first configuration lost."""
    content = kernel_tuner_file()
    cache = cast("dict[str, Json]", content["cache"])
    slower = {key: {"time": 6.0} for key in cache}
    del slower["1,row,True"]
    return {**content, "device_name": "NVIDIA RTX A4000", "cache": slower, **changes}


def test_is_a_target(target: ReplayTarget) -> None:
    as_target: Target = target
    assert as_target.name == "replay"
    target.close()
    target.close()


def test_serves_what_was_recorded_in_the_order_asked(target: ReplayTarget) -> None:
    order = [(4, "column"), (1, "row"), (2, "row"), (4, "row"), (1, "column"), (2, "column")]
    trials = target.evaluate(target.problem, [genome(*pair) for pair in order])
    assert [trial.status for trial in trials] == [
        Status.OK,
        Status.OK,
        Status.OK,
        Status.COMPILE_ERROR,
        Status.OK,
        Status.LAUNCH_ERROR,
    ]
    assert [trial.timing for trial in trials if trial.timing] == [
        Timing(1.25e6, 1.25e6, 1.25e6, 1),
        Timing(3e6, 2e6, 4e6, 3),
        Timing(2e6, 2e6, 2e6, 1),  # its repeats are of another clock
        Timing(5e6, 5e6, 5e6, 1),
    ]
    assert {trial.energy_source for trial in trials} == {EnergySource.UNMETERED}
    assert [trial.genome for trial in trials] == [genome(*pair) for pair in order]


def test_space_holds_exactly_what_was_recorded(target: ReplayTarget) -> None:
    space = target.space(target.problem)
    assert space.size == 6
    assert space.contains(genome(2, "row"))
    assert space.parameters[0].values == (1, 2, 4)


def test_configuration_that_was_not_recorded_fails_as_data(target: ReplayTarget) -> None:
    [trial] = target.evaluate(target.problem, [genome(8, "row")])
    assert (trial.status, trial.detail) == (Status.LAUNCH_ERROR, "not recorded in a100.json")


def test_only_the_recorded_problem_is_known(target: ReplayTarget) -> None:
    with pytest.raises(UnknownNameError, match=r"'matmul' is not recorded: ask for blur\[x=640,y=480\]"):
        target.space(Problem.of("matmul", m=1))
    with pytest.raises(ShapeError, match=r"blur\[x=1,y=1\] is not recorded"):
        target.evaluate(Problem.of("blur", x=1, y=1), [])


def test_playoff_repeats_the_recording(target: ReplayTarget) -> None:
    genomes = [genome(1, "row"), genome(2, "row")]
    assert target.playoff(target.problem, genomes) == target.evaluate(target.problem, genomes)


def test_optimum_is_the_least_median(target: ReplayTarget) -> None:
    assert target.optimum_ns() == 1.25e6


def test_optimum_of_a_recording_where_nothing_works_is_infinite(tmp_path: Path) -> None:
    content = {**kernel_tuner_file(), "cache": {"1,row,True": {"time": "InvalidConfig"}}}
    assert ReplayTarget("replay", [(0, write(tmp_path / "a.json", content))]).optimum_ns() == np.inf


def test_chain_switches_at_its_cycles_and_back(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a.json", kernel_tuner_file()), write(tmp_path / "b.json", later())
    chained = ReplayTarget("replay", [(5, second), (0, first)])
    seen = []
    for cycle in (None, 0, 4, 5, 9, 4):
        if cycle is not None:
            chained.start_cycle(cycle)
        seen.append([t.time_ns for t in chained.evaluate(chained.problem, [genome(4, "column"), genome(1, "row")])])
    assert seen == [[1.25e6, 3e6]] * 3 + [[6e6, np.inf]] * 2 + [[1.25e6, 3e6]]


def test_chained_space_is_the_union_and_the_device_keeps_its_name(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a.json", later()), write(tmp_path / "b.json", kernel_tuner_file())
    chained = ReplayTarget("replay", [(0, first), (3, second)])
    assert chained.space(chained.problem).size == 6
    [trial] = chained.evaluate(chained.problem, [genome(1, "row")])
    assert (trial.status, trial.detail) == (Status.LAUNCH_ERROR, "not recorded in a.json")
    before = chained.device
    chained.start_cycle(3)
    assert chained.device == before
    assert (before.name, before.family) == ("NVIDIA RTX A4000", "replay-nvidia-rtx-a4000")
    assert [name for name, _ in before.versions] == [
        "recording-0 of blur[x=640,y=480]",
        "recording-3 of blur[x=640,y=480]",
    ]


def test_device_without_a_name_is_called_after_its_file(tmp_path: Path) -> None:
    path = write(tmp_path / "blur__MI250X.json.gz", {**kernel_tuner_file(), "device_name": ""})
    assert ReplayTarget("replay", [(0, path)]).device.name == "blur__MI250X"


def test_a_target_without_recordings_is_refused() -> None:
    with pytest.raises(ConfigError, match="no recordings"):
        ReplayTarget("replay", [])


@pytest.mark.parametrize("cycles", [[1], [0, 0], [-1, 0]])
def test_chain_must_begin_at_cycle_0_and_not_collide(cycles: list[int], tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", kernel_tuner_file())
    with pytest.raises(ConfigError, match=r"recordings of blur.*a\.json.* hold from cycles"):
        ReplayTarget("replay", [(cycle, path) for cycle in cycles])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"tune_params": {"tile": [1, 2, 4, 8], "layout": ["row", "column"], "pack": [True]}},
            r"parameters of .*b\.json differ from .*a\.json in tile",
        ),
        ({"tune_params_keys": ["layout", "tile", "pack"], "cache": {"row,1,True": {"time": 1}}}, r"in their order"),
    ],
)
def test_chained_recordings_must_agree(changes: Json, message: str, tmp_path: Path) -> None:
    first, second = write(tmp_path / "a.json", kernel_tuner_file()), write(tmp_path / "b.json", later(**changes))
    with pytest.raises(DataError, match=message):
        ReplayTarget("replay", [(0, first), (1, second)])


def adapt(target: ReplayTarget, seed: int) -> tuple[list[Trial], bytes, list[int]]:
    """Ten cycles of 40 evaluations; the trials, the last state, and the cycles in which drift was seen."""
    problem, known, trials, drifted = target.problem, dict[Genome, Trial](), list[Trial](), list[int]()
    search = strategy("evolution", target.space(problem), seed)
    for cycle in range(10):
        target.start_cycle(cycle)
        again = target.playoff(problem, [trial.genome for trial in search.best(3)])
        if drift.changed([known[trial.genome] for trial in again], again):
            search.forget()
            known.clear()
            drifted.append(cycle)
        search.tell(again)
        for _ in range(5):
            batch = target.evaluate(problem, search.ask(8))
            search.tell(batch)
            trials += batch
            known.update({trial.genome: trial for trial in (*again, *batch)})
    return trials, search.state(), drifted


def test_recorded_device_that_changes_is_noticed_and_followed() -> None:
    target = ReplayTarget("replay", [(0, shared("pnpoly__RTX_2080_Ti")), (5, shared("pnpoly__RTX_3060_laptop"))])
    for seed in range(3):
        trials, _, drifted = adapt(target, seed)
        assert drifted == [5]
        assert min(trial.time_ns for trial in trials[200:]) <= 1.05 * target.optimum_ns()


def test_replay_repeats_to_the_bit() -> None:
    chain = [(0, shared("pnpoly__RTX_2080_Ti")), (5, shared("pnpoly__RTX_3060_laptop"))]
    once, again = (adapt(ReplayTarget("replay", chain), 4) for _ in range(2))
    assert once == again


@pytest.mark.parametrize("name", ["pnpoly__RTX_2080_Ti", "convolution_milo__A100", "convolution__RTX_3060_laptop"])
def test_recorded_space_of_others_is_served_faithfully(name: str) -> None:
    path = shared(name)
    target = ReplayTarget("replay", [(0, path)])
    raw = json.loads(gzip.decompress(path.read_bytes()))
    space = target.space(target.problem)
    assert space.size == len(raw["cache"])
    trials = target.evaluate(target.problem, [space.genome_at(cell) for cell in range(space.size)])
    for trial in trials:
        entry = raw["cache"][",".join(str(value) for value in trial.genome.values())]
        assert (trial.timing is None) == isinstance(entry["time"], str)
        if trial.timing:
            # The mean of skewed repeats is not their median, but it lies among them.
            times = [*entry["times"], entry["time"]] if name != "pnpoly__RTX_2080_Ti" else [entry["time"]]
            assert min(times) <= trial.timing.median_ns / 1e6 * (1 + 1e-12)
            assert trial.timing.median_ns / 1e6 <= max(times) * (1 + 1e-12)


def test_what_another_device_learned_shortens_the_search() -> None:
    there = ReplayTarget("replay", [(0, shared("convolution_milo__A4000"))])
    here = ReplayTarget("replay", [(0, shared("convolution_milo__MI250X"))])
    space = here.space(here.problem)
    genomes = [space.genome_at(cell) for cell in range(space.size)]
    assert there.space(there.problem).digest == space.digest
    times = np.array([trial.time_ns for trial in there.evaluate(there.problem, genomes)])
    mean = np.maximum(-np.log(times / times.min()) / np.log(8), -1.0)
    best = tuple(genomes[cell] for cell in np.argsort(times, kind="stable")[:8])
    needed = []
    for prior in (None, Prior(mean, np.ones(space.size), best)):
        search = strategy("evolution", space, 0)
        if prior is not None:
            search.adopt(prior)
        done, goal = 0, 1.10 * here.optimum_ns()
        while not search.best() or search.best()[0].time_ns > goal:
            search.tell(here.evaluate(here.problem, search.ask(4)))
            done += 4
        needed.append(done)
    assert 2 * needed[1] < needed[0]
