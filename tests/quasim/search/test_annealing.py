from __future__ import annotations

import subprocess
import sys

import numpy as np

from quasim.search.annealing import BETAS, STAGES, anneal
from quasim.search.qubo import PairwiseRidge, Qubo
from quasim.space import Parameter, SearchSpace

SPACE = SearchSpace((*(Parameter(f"p{i}", tuple(range(4))) for i in range(5)), Parameter("one", (7,))))


def drawn(seed: int) -> Qubo:
    """Random effects of pairs, as strong as those of a fit."""
    return PairwiseRidge(SPACE).draw(np.random.default_rng(seed))


def test_lowest_read_is_near_the_lowest_of_all_configurations() -> None:
    everything = SPACE.one_hot(SPACE.rows)
    for seed in range(8):
        energies = drawn(seed).energies(everything)
        rows, _ = anneal(SPACE, drawn(seed), reads=8, seed=seed)
        [found] = energies[SPACE.cells(rows[:1])]
        assert (energies < found).mean() < 0.01


def test_stages_cool_and_end_low_with_one_value_a_parameter() -> None:
    rows, stages = anneal(SPACE, drawn(0), reads=8, seed=0)
    assert rows.shape == (8, 6)
    assert len(stages) == STAGES
    assert [stage.beta for stage in stages] == [part[-1] for part in np.array_split(BETAS, STAGES)]
    assert stages[-1].whole == 1.0
    assert stages[-1].mean < drawn(0).energies(SPACE.one_hot(SPACE.rows)).mean() - 0.3
    assert all(stage.lowest <= stage.mean for stage in stages)


def test_rows_come_lowest_energy_first() -> None:
    rows, stages = anneal(SPACE, drawn(1), reads=8, seed=1)
    energies = drawn(1).energies(SPACE.one_hot(rows))
    assert (np.diff(energies) >= 0).all()
    assert np.isclose(energies[0], stages[-1].lowest)


def test_same_seed_gives_the_same_rows_and_another_seed_others() -> None:
    one, again, other = (anneal(SPACE, drawn(2), reads=6, seed=seed)[0] for seed in (4, 4, 5))
    assert (one == again).all()
    assert (one != other).any()


def test_space_without_a_choice_needs_no_annealing() -> None:
    only = SearchSpace((Parameter("one", (7,)),))
    rows, stages = anneal(only, Qubo(0.0, np.zeros(1), np.zeros((1, 1))), reads=3, seed=0)
    assert rows.tolist() == [[0]] * 3
    assert stages == ()


def test_importing_strategies_does_not_import_the_sampler() -> None:
    code = "import sys, quasim.search; sys.exit('dimod' in sys.modules or 'dwave' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
