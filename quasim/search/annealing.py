"""Simulated annealing of a QUBO with dwave-samplers, stage by stage, so that it is known how the cooling went."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from quasim.search.ledger import Cells
from quasim.search.qubo import Qubo
from quasim.space import Floats, Rows, SearchSpace

BETAS = np.geomspace(1.0, 15.0, 120)
"""Inverse temperatures, one sweep each, from as warm as the costs' deviation of 1; hotter is time lost to penalties."""

STAGES = 2
"""Calls of the sampler that share the schedule and are looked at; one costs more than a hundred sweeps do."""

SEEDS = 1 << 31
"""The sampler takes seeds below this."""


class Stage(msgspec.Struct, frozen=True):
    """What the states of an anneal were like at one temperature.

    Attributes:
        beta: inverse temperature of the last sweep.
        lowest, mean: energy over the reads, penalties included.
        whole: share of the reads in which every parameter has exactly one value.
    """

    beta: float
    lowest: float
    mean: float
    whole: float


def anneal(space: SearchSpace, qubo: Qubo, reads: int, seed: int) -> tuple[Rows, tuple[Stage, ...]]:
    """Cool ``reads`` random states of a QUBO over the genes of a space.

    Args:
        seed: same seed, same answer.

    Returns:
        Value indices at the end, shape (reads, parameters), lowest energy first, and the stages. The constraints of the
        space are not in the QUBO, so rows may break them; of a parameter left with several values or none, the first
        of the most present is taken.
    """
    # Imported here: it takes half a second, and few who import the strategies anneal.
    from dimod import SPIN, BinaryQuadraticModel
    from dwave.samplers import SimulatedAnnealingSampler

    genes = np.flatnonzero(np.array(space.cardinalities)[space.gene_owners] > 1)
    if not len(genes):
        return np.zeros((reads, len(space.parameters)), dtype=np.int32), ()
    owners = np.unique(space.gene_owners[genes], return_inverse=True)[1].astype(np.int64)
    bound = qubo.part(genes).constrained(owners)
    binary = BinaryQuadraticModel(bound.linear, np.triu(bound.coupling, 1), bound.offset, "BINARY")
    spins = binary.change_vartype(SPIN)
    states: npt.NDArray[np.int8] = np.where(np.random.default_rng(seed).random((reads, len(genes))) < 0.5, -1, 1)
    states = states.astype(np.int8)
    stages = []
    for index, betas in enumerate(np.array_split(BETAS, STAGES)):
        found = SimulatedAnnealingSampler().sample(
            spins,
            num_reads=reads,
            beta_schedule_type="custom",
            beta_schedule=betas,
            seed=(seed + index) % SEEDS,
            initial_states=(states, list(range(len(genes)))),
        )
        states = found.record.sample[:, np.argsort(found.variables)]
        stages.append(_stage(float(betas[-1]), bound, _hot(states), owners))
    order = np.argsort(bound.energies(_hot(states)), kind="stable")
    return _rows(space, genes, _hot(states)[order]), tuple(stages)


def _hot(states: npt.NDArray[np.int8]) -> Floats:
    return (states > 0).astype(np.float64)


def _stage(beta: float, bound: Qubo, hot: Floats, owners: Cells) -> Stage:
    energies = bound.energies(hot)
    held = np.add.reduceat(hot, np.flatnonzero(np.diff(owners, prepend=-1)), axis=1)
    return Stage(beta, float(energies.min()), float(energies.mean()), float((held == 1).all(axis=1).mean()))


def _rows(space: SearchSpace, genes: Cells, hot: Floats) -> Rows:
    complete = np.ones((len(hot), len(space.gene_owners)))
    complete[:, genes] = hot
    parts = np.split(complete, space.gene_offsets[1:], axis=1)
    return np.stack([part.argmax(axis=1) for part in parts], axis=1).astype(np.int32)
