from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks.search_hostile import LIES, lying, misled, times
from benchmarks.search_spaces import Recorded, search
from benchmarks.search_warm import FLOOR, donors_of, expected, learned, started, summed, sums_of, union, within
from quasim.search import strategy
from quasim.space import Floats, Listed, Parameter, SearchSpace
from quasim.targets.replay import write_cache
from quasim.trial import Problem, Status, Timing, Trial

VALUES = (1, 2, 4, 8, 16, 32)
WHOLE: SearchSpace = SearchSpace(tuple(Parameter(name, VALUES) for name in ("x", "y", "z")))
NAME = "improvement"

COUNT = 24


def bowl(space: SearchSpace, at: tuple[float, float, float], scale: float) -> Floats:
    """Times in ns, fastest near a place in the unit cube."""
    return np.asarray(scale * np.exp(4 * ((space.ordinal(space.rows) - at) ** 2).sum(axis=1)))


def record(
    path: Path, device: str, problem: Problem, at: tuple[float, float, float], scale: float, part: int = 1
) -> Path:
    """A recording of every ``part``-th cell; each seventh one failed."""
    rows = WHOLE.rows[::part]
    space = SearchSpace(WHOLE.parameters, (Listed.of(rows),))
    trials = []
    for cell, time in enumerate(bowl(space, at, scale).tolist()):
        fails = cell % 7 == 3
        trials.append(
            Trial(
                problem=problem,
                target="replay",
                genome=space.genome_at(cell),
                status=Status.LAUNCH_ERROR if fails else Status.OK,
                timing=None if fails else Timing(time, time, time, 1),
            )
        )
    write_cache(path, device, problem, trials, space)
    return path


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three devices that nearly agree, one of them recorded in part, and another kernel."""
    folder = tmp_path_factory.mktemp("recorded")
    problem, other = Problem.of("bowl", n=1024), Problem.of("other", n=1024)
    return [
        record(folder / "bowl__fast.json", "fast", problem, (0.4, 0.6, 0.2), 10.0),
        record(folder / "bowl__slow.json", "slow", problem, (0.42, 0.55, 0.2), 900.0),
        record(folder / "bowl__part.json", "part", problem, (0.4, 0.6, 0.25), 50.0, part=2),
        record(folder / "other__fast.json", "fast", other, (0.9, 0.1, 0.9), 10.0),
    ]


def test_a_newcomer_is_near_the_optimum_much_sooner_than_from_nothing(fleet: list[Path]) -> None:
    newcomer, *donors = (Recorded.read(path) for path in fleet[:3])
    cold = search(newcomer, strategy(NAME, newcomer.space, 0), COUNT)
    run = started(newcomer, donors, NAME, 0, COUNT)
    assert run.within(0.05) <= 6
    assert run.within(0.05) < cold.within(0.05)


def test_donors_are_the_other_devices_of_the_kernel(fleet: list[Path]) -> None:
    recorded = [Recorded.read(path) for path in fleet]
    assert [donor.name for donor in donors_of(recorded[0], recorded)] == ["bowl__slow", "bowl__part"]
    assert donors_of(recorded[3], recorded) == []


def test_one_without_donors_starts_from_nothing(fleet: list[Path]) -> None:
    newcomer = Recorded.read(fleet[3])
    cold = search(newcomer, strategy(NAME, newcomer.space, 0), COUNT)
    assert started(newcomer, [], NAME, 0, COUNT).slowdowns.tolist() == cold.slowdowns.tolist()


def test_a_recording_of_a_part_of_the_space_is_asked_for_that_part_alone(fleet: list[Path]) -> None:
    newcomer, *donors = (Recorded.read(fleet[at]) for at in (2, 0, 1))
    public = union((newcomer, *donors))
    assert public.size == WHOLE.size == 2 * newcomer.space.size
    prior = expected(newcomer, public, learned(public, donors, NAME, 0, COUNT))
    assert prior.mean.shape == (newcomer.space.size,)
    mine = within(prior, np.arange(3))
    assert mine.mean.tolist() == prior.mean[:3].tolist()
    run = started(newcomer, donors, NAME, 0, COUNT)
    assert run.within(0.05) <= 10


def test_runs_repeat_and_seeds_differ(fleet: list[Path]) -> None:
    newcomer, donor = (Recorded.read(path) for path in fleet[:2])
    first, again, second = (started(newcomer, [donor], NAME, seed, COUNT).slowdowns.tolist() for seed in (0, 0, 1))
    assert again == first != second


def test_sums_are_those_of_the_ring() -> None:
    vectors = [np.array([0.1, -1.0, 0.0]), np.array([0.3, -0.5, 1.0])]
    total = summed(vectors)
    assert total == pytest.approx(np.sum(vectors, axis=0), abs=2.0**-20)
    assert (total * 2**20).tolist() == np.rint(total * 2**20).tolist()


def test_sums_below_a_fleets_floor_are_called_so() -> None:
    assert sums_of(FLOOR) == "secure"
    assert sums_of(FLOOR - 1) == "plain, below floor"
    assert sums_of(0) == "none"


def test_lies_are_told_of_every_cell_and_at_the_weight_of_a_fleet(fleet: list[Path]) -> None:
    newcomer, donor = (Recorded.read(fleet[at]) for at in (0, 1))
    policy = learned(union((newcomer, donor)), [donor], NAME, 0, COUNT)
    scores = -np.linspace(0, 1, WHOLE.size)
    part = lying(policy, scores).parts[0]
    assert part.means == pytest.approx(scores, abs=1e-6)
    assert (part.weights.min(), part.candidates[:2]) == (4.0, (0, 1))


def test_each_lie_is_what_it_says(fleet: list[Path]) -> None:
    true_ns = times(Recorded.read(fleet[0]))
    assert np.isinf(true_ns).sum() == math.ceil((WHOLE.size - 3) / 7)
    honest = -np.linspace(0, 1, WHOLE.size)
    rng = np.random.default_rng(0)
    assert LIES["inverted scores"](honest, true_ns, rng) == pytest.approx(honest[::-1])
    hidden = LIES["best 5 % suppressed"](honest, true_ns, rng)
    changed = np.flatnonzero(hidden != honest)
    assert set(changed) <= set(np.argsort(true_ns)[: WHOLE.size // 20].tolist())
    assert abs(np.corrcoef(LIES["random scores"](honest, true_ns, rng), honest)[0, 1]) < 0.3


def test_every_lie_is_told_to_the_newcomer_and_the_first_run_hears_none(fleet: list[Path]) -> None:
    newcomer, donor = (Recorded.read(fleet[at]) for at in (0, 1))
    runs = misled(newcomer, [donor], NAME, 0, COUNT)
    assert runs.keys() == {"", *LIES}
    assert runs["inverted scores"].slowdowns[0] > runs[""].slowdowns.min()
    assert all(run.slowdowns.tolist() != runs[""].slowdowns.tolist() for kind, run in runs.items() if kind)
