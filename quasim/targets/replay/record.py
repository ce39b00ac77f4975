"""Recording a space on a real device, so that it can be replayed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from quasim.targets._base import Target
from quasim.targets.replay.cachefile import write_cache
from quasim.trial import Genome, Problem, Trial

BATCH = 64
"""Genomes evaluated at a time; a batch is what a target compiles before it measures."""


def record(target: Target, problem: Problem, path: Path, genomes: Sequence[Genome] | None = None) -> list[Trial]:
    """Evaluate genomes of a problem's space and write them to ``path`` as ``write_cache`` does.

    Args:
        genomes: None: the whole space.

    Returns:
        The trials, in the order of the genomes.

    Raises:
        StorageError: the file cannot be written.
    """
    space = target.space(problem)
    if genomes is None:
        genomes = [space.genome_at(cell) for cell in range(space.size)]
    trials: list[Trial] = []
    for start in range(0, len(genomes), BATCH):
        trials += target.evaluate(problem, genomes[start : start + BATCH])
    write_cache(path, target.device.name, problem, trials, space)
    return trials
