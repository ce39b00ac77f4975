"""What one node thinks of every cell of a topic, from its own trials alone: channels that can be summed. Pure.

Scores are log times relative to the node's own best, so that slow and fast devices can be averaged, clipped so that one
bad run weighs no more than another. Where the node measured, it says what it measured; elsewhere its surrogate
predicts, with a weight that falls with the square of its doubt, as in a random-effects mean (DerSimonian & Laird 1986):

    w = DEVICES² / (DEVICES² + deviation²)

The surrogate starts without a prior: a node that repeated what the fleet told it would count the fleet twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from aggregation.catalogue import CHANNELS, Channel
from quasim.policy import topic_cells
from quasim.search.ledger import Cells
from quasim.search.surrogate import Surrogate
from quasim.space import Floats, SearchSpace

CLIP_SLOWDOWN = 8.0
"""A configuration this many times slower than the best scores −1, as does one that fails: nobody wants either."""

DEVICES = 0.25
"""Deviation of log time by which devices of a fleet differ anyway: a surrogate as unsure as that counts half."""

LEAST_TRIALS = 10
"""Working configurations from which a surrogate is believed; with fewer, a node says what it measured alone."""

LEAST_WEIGHT = 1 / 32
"""A prediction that weighs less is not given: rounding in the ring would show in its mean."""


def opinion(space: SearchSpace, times_ns: Mapping[int, float], energies_j: Mapping[int, float]) -> Floats:
    """A node's channels for the topic cells of a space.

    Args:
        times_ns: latest time of each measured cell; infinity: it failed.
        energies_j: latest joules of those that were metered.

    Returns:
        Shape (CHANNELS, topic cells), every entry in [−1, 1]; zero where the node knows nothing.
    """
    probes = topic_cells(space)
    channels = np.zeros((CHANNELS, len(probes)))
    weight, score, works = _told(space, probes, times_ns)
    channels[[Channel.WEIGHT, Channel.SCORE, Channel.SQUARE, Channel.WORKS]] = (
        weight,
        weight * score,
        weight * score**2,
        weight * works,
    )
    weight, score, _ = _told(space, probes, energies_j)
    channels[[Channel.ENERGY_WEIGHT, Channel.ENERGY]] = weight, weight * score
    return channels


def _told(space: SearchSpace, probes: Cells, measured: Mapping[int, float]) -> tuple[Floats, Floats, Floats]:
    """Weight, score and probability to work of each topic cell, of times or joules."""
    cells = np.array(list(measured), dtype=np.int64)
    figures = np.array(list(measured.values()), dtype=np.float64)
    weight, score, works = _predicted(space, probes, cells, figures)
    at = np.minimum(np.searchsorted(probes, cells), len(probes) - 1)
    kept = probes[at] == cells
    weight[at[kept]], score[at[kept]] = 1.0, _scores(figures)[kept]
    works[at[kept]] = np.isfinite(figures[kept])
    return weight, score, works


def _predicted(space: SearchSpace, probes: Cells, cells: Cells, figures: Floats) -> tuple[Floats, Floats, Floats]:
    if np.isfinite(figures).sum() < LEAST_TRIALS:
        return np.zeros(len(probes)), np.zeros(len(probes)), np.zeros(len(probes))
    surrogate = Surrogate(space)
    surrogate.fit(cells, figures)
    mean, deviation, works = surrogate.predict_once(probes)
    weight = DEVICES**2 / (DEVICES**2 + deviation**2)
    weight[weight < LEAST_WEIGHT] = 0.0
    return weight, np.clip(-mean / math.log(CLIP_SLOWDOWN), -1.0, 0.0), np.clip(works, 0.0, 1.0)


def _scores(figures: Floats) -> Floats:
    """−log(figure / best) / log 8 in [−1, 0]; −1 for what failed."""
    best = figures.min(initial=math.inf)
    if math.isinf(best):
        return np.full(len(figures), -1.0)
    scores: Floats = np.maximum(-np.log(figures / best) / math.log(CLIP_SLOWDOWN), -1.0)
    return scores
