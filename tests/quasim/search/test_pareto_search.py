from __future__ import annotations

import msgspec
import numpy as np

from quasim.search import Strategy, strategy
from quasim.search.pareto import front, hypervolume, measured
from quasim.trial import EnergySource, Genome, Trial
from tests.quasim.search.conformance import SPACE, StrategyConformance, trial

EVERY = [SPACE.genome_at(cell) for cell in range(SPACE.size)]


def rival(genome: Genome, *, metered: bool = True) -> Trial:
    """A trial whose joules fall and whose error rises with the tile, whatever its time."""
    tile = genome.integer("tile")
    told = msgspec.structs.replace(trial(genome), error_frobenius=1e-8 * tile)
    if not metered:
        return told
    return msgspec.structs.replace(
        told, energy_j=256 / tile + genome.integer("threads"), energy_source=EnergySource.COUNTER
    )


def share(search: Strategy, budget: int) -> float:
    """Share of the whole front's volume that a search found."""
    told: list[Trial] = []
    while len(told) < budget:
        told += [rival(genome) for genome in search.ask(4)]
        search.tell(told[-4:])
    every = np.log(measured([rival(genome) for genome in EVERY])[0])
    found = np.log(measured(front(told))[0])
    reference = every.max(axis=0) + 1e-9
    return hypervolume(found, reference) / hypervolume(every, reference)


class TestPareto(StrategyConformance):
    name = "pareto"

    def test_finds_a_front_sooner_than_chance(self) -> None:
        found = np.mean([share(self.make(seed), 24) for seed in range(4)])
        assert found > 0.85
        assert found > np.mean([share(strategy("random", SPACE, seed), 24) for seed in range(4)]) + 0.05

    def test_goes_on_where_nothing_was_metered(self) -> None:
        search, asked = self.make(), []
        for _ in range(6):
            genomes = search.ask(4)
            asked += genomes
            search.tell([rival(genome, metered=False) for genome in genomes])
        assert len(set(asked)) == 24
