"""Which configurations of a space are recorded, and in which order: useful wherever it stops, the same when resumed.

default ─► random ones, one of each stratum ─► what an evolution asks for ─► joules: the best and one of each stratum
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec
import numpy as np

from quasim.search import strategy
from quasim.space import SearchSpace
from quasim.trial import Genome, Status, Trial

BATCH = 32
"""Genomes measured at a time: two compilations for each core of a machine with a GPU."""

METERED = 16
"""Genomes metered at a time, so that their compilations share the cores; each takes two seconds and more."""

SAMPLED = 160
"""Configurations drawn before an evolution begins: half of a recording shows the space, half the way to its best."""

STRATEGY = "evolution"


def stratified(space: SearchSpace, seed: int, count: int) -> list[Genome]:
    """The default, and one random configuration of each of ``count`` equal stretches of the enumeration, shuffled.

    Returns:
        ``count`` distinct genomes or the whole space, the default first, so that every beginning of the list covers
        the space.
    """
    rng = np.random.default_rng(seed)
    bounds = np.linspace(0, space.size, min(count, space.size) + 1).astype(np.int64)
    drawn = rng.permutation(rng.integers(bounds[:-1], bounds[1:]))
    first = [] if space.default is None else [space.default]
    return list(dict.fromkeys([*first, *(space.genome_at(int(cell)) for cell in drawn)]))[: len(drawn)]


def batches(
    space: SearchSpace, seed: int, known: Mapping[Genome, Trial], count: int, size: int = BATCH
) -> Iterator[list[Genome]]:
    """What is to be measured next, until ``count`` configurations are known or the space is exhausted.

    The caller adds what it measured to ``known`` before it asks for more. What was known at the start is not asked
    again, and the evolution is told of it where it comes, so that an interrupted recording goes on as if it never was.

    Args:
        size: of a batch.
    """
    search = strategy(STRATEGY, space, seed)
    drawn = stratified(space, seed, min(SAMPLED, count))
    asked = 0
    while batch := (drawn[asked : asked + size] or search.ask(min(size, count - asked))):
        asked += len(batch)
        if missing := [genome for genome in batch if genome not in known]:
            yield missing
        search.tell([known[genome] for genome in batch])
        if asked >= count:
            return


def to_meter(trials: Sequence[Trial], seed: int, best: int, others: int) -> list[Genome]:
    """Whose joules are read: the fastest, and one random of each stratum of the times of the rest.

    Returns:
        Up to ``best + others`` genomes, in turn so many of the fastest and of the rest as are metered at a time.
    """
    worked = sorted((trial for trial in trials if trial.status is Status.OK), key=lambda trial: trial.time_ns)
    rng = np.random.default_rng(seed)
    rest = worked[best:]
    strata = np.array_split(np.arange(len(rest)), min(others, len(rest)) or 1)
    spread = [rest[int(rng.choice(stratum))] for stratum in strata if len(stratum)]
    spread = [spread[int(at)] for at in rng.permutation(len(spread))]
    turns = range(0, max(best, others), METERED)
    return [trial.genome for at in turns for part in (worked[:best], spread) for trial in part[at : at + METERED]]


def with_joules(trial: Trial, metered: Trial) -> Trial:
    """A trial with the energy that was read later; its time stays that of the search, as all others' is.

    Where the playoff read none, ``detail`` says why, if the device does.
    """
    if metered.energy_j is None:
        why = metered.detail if metered.status is Status.OK else f"unmetered: {metered.status.value} in the playoff"
        return msgspec.structs.replace(trial, detail=why)
    return msgspec.structs.replace(
        trial,
        energy_j=metered.energy_j,
        energy_source=metered.energy_source,
        energy_low_j=metered.energy_low_j,
        energy_high_j=metered.energy_high_j,
        energy_above_idle_j=metered.energy_above_idle_j,
        detail="",
    )
