"""Federated distillation: what a node gives to the sum, and the policy that comes out of it. Pure functions.

Scores are log times relative to a node's own best, so that slow and fast devices can be averaged, clipped so
that one bad run weighs no more than another.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from aggregation.catalogue import Catalogue, Spaces
from quasim.errors import DataError
from quasim.policy import Part, Policy, Topic, topic_cells
from quasim.space import Floats
from quasim.trial import Problem, Trial

CLIP_SLOWDOWN = 8.0
"""A configuration this many times slower than the best scores −1, as does one that fails: nobody wants either."""

DECAY = 0.5
"""What a cycle leaves of evidence that nobody brought again: three cycles without a node keep an eighth of its word."""

CANDIDATES = 16
"""Configurations of a topic that the fleet proposes to try first: about one generation."""

DOUBT = 0.5
"""Strength of the prior belief, in nodes, that a configuration is hopeless (−1): a single node's best (−0.33) ranks
after one that four nodes find 1.2 times slower than theirs (−0.2), and before one 1.9 times slower (−0.38)."""


def local_update(catalogue: Catalogue, spaces: Spaces, trials: Iterable[Trial]) -> Floats:
    """A node's vector: weight 1 and its score for each configuration that it measured, 0 elsewhere.

    A score is −log(time / own best of that problem) / log 8, clipped to [−1, 0]; a failed trial scores −1. The latest
    trial of a genome counts, so give ``trials`` in order of time and playoffs last. Problems that share a topic are
    scored each by its own best and averaged. Trials of problems outside ``spaces`` or the catalogue, and cells that a
    large space's topic did not sample, stay at home.

    Args:
        spaces: the node's own search spaces.
        trials: all that the node still stands by, not only this cycle's.

    Returns:
        float64 vector of ``catalogue.length`` entries, all within [−1, 1].

    Raises:
        SpaceError: a genome is not of its problem's space.
    """
    vector = np.zeros(catalogue.length)
    pieces = catalogue.split(vector)
    for (target, problem), times_ns in sorted(_latest(spaces, trials).items(), key=lambda entry: entry[0]):
        space = spaces[target, problem]
        topic = Topic.of(target, problem, space)
        if topic in pieces:
            _add_scores(pieces[topic], topic_cells(space), times_ns)
    for weight, score in pieces.values():
        score /= np.maximum(weight, 1.0)
        np.minimum(weight, 1.0, out=weight)
    return vector


def _latest(spaces: Spaces, trials: Iterable[Trial]) -> dict[tuple[str, Problem], dict[int, float]]:
    """Last time in ns of each measured cell, by (target, problem)."""
    latest: dict[tuple[str, Problem], dict[int, float]] = {}
    for trial in trials:
        key = trial.target, trial.problem
        if key in spaces:
            latest.setdefault(key, {})[spaces[key].cell(trial.genome)] = trial.time_ns
    return latest


def _add_scores(piece: Floats, sampled: npt.NDArray[np.int64], times_ns: dict[int, float]) -> None:
    cells = np.array(list(times_ns), dtype=np.int64)
    scores = _scores(np.array(list(times_ns.values())))
    at = np.minimum(np.searchsorted(sampled, cells), len(sampled) - 1)
    kept = sampled[at] == cells
    piece[:, at[kept]] += np.stack([np.ones(len(scores)), scores])[:, kept]


def _scores(times_ns: Floats) -> Floats:
    best_ns = times_ns.min()
    if math.isinf(best_ns):
        return np.full(len(times_ns), -1.0)
    scores: Floats = np.maximum(-np.log(times_ns / best_ns) / math.log(CLIP_SLOWDOWN), -1.0)
    return scores


def refine(
    previous: Policy | None,
    catalogue: Catalogue,
    sums: Floats,
    *,
    federation: str,
    cycle: int,
    participants: int,
    protocol: str,
) -> Policy:
    """The next policy from the sum of the participants' vectors; equal arguments give equal bytes.

    The mean of a cell is Σ w·s / Σ w. Nodes bring all that they stand by each time, so what the previous policy knew
    is not added to it but fills in: its weight, times ``DECAY``, counts only as far as it exceeds this cycle's. A node
    that drops out for a cycle is thus remembered, none is counted twice, and where the fleet measured anew, old
    evidence is silent. Topics that left the catalogue are dropped, new ones start empty.

    Raises:
        DataError: the sum is not finite or not of the catalogue's layout.
    """
    if not np.isfinite(sums).all():
        raise DataError("the sum of the nodes' vectors is not finite", "check the round's refusals")
    pieces = catalogue.split(sums)
    parts = tuple(
        _refine_part(topic, pieces[topic], previous.part(topic) if previous else None, participants)
        for topic in catalogue.topics
    )
    return Policy(
        federation=federation,
        version=previous.version + 1 if previous else 1,
        cycle=cycle,
        parent=previous.digest if previous else "",
        protocol=protocol,
        participants=participants,
        catalogue=catalogue.digest,
        parts=parts,
    )


def _refine_part(topic: Topic, piece: Floats, old: Part | None, participants: int) -> Part:
    # A faulty node may give what no honest one can; clipped, it spoils its own cells and not the cycle.
    weight = np.clip(piece[0], 0.0, participants)
    total = np.clip(piece[1], -weight, 0.0)
    if old is not None:
        kept = np.maximum(DECAY * old.weights - weight, 0.0)
        weight, total = weight + kept, total + kept * old.means
    mean = np.clip(total / np.where(weight > 0, weight, 1.0), -1.0, 0.0)
    weight32 = _float32(weight)
    mean32 = np.where(weight32 > 0, _float32(mean), np.float32(0.0))
    candidates = _candidates(mean32.astype(np.float64), weight32.astype(np.float64))
    return Part(topic, mean32.astype("<f4").tobytes(), weight32.astype("<f4").tobytes(), candidates)


def _float32(values: Floats) -> npt.NDArray[np.float32]:
    # Adding 0.0 turns −0.0 into 0.0, so that equal knowledge has equal bytes.
    rounded: npt.NDArray[np.float32] = values.astype(np.float32) + np.float32(0.0)
    return rounded


def _candidates(mean: Floats, weight: Floats) -> tuple[int, ...]:
    """Best cells by (w·mean − DOUBT) / (w + DOUBT), ties to the lower cell; never one that only failed."""
    worth = np.flatnonzero((weight > 0) & (mean > -1))
    pessimistic = (weight[worth] * mean[worth] - DOUBT) / (weight[worth] + DOUBT)
    order = np.argsort(-pessimistic, kind="stable")[:CANDIDATES]
    return tuple(int(cell) for cell in worth[order])
