"""Federated distillation: what a node gives to the sum, and the policy that comes out of it. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf

import numpy as np
import numpy.typing as npt

from aggregation.catalogue import CHANNELS, Catalogue, Channel, Spaces
from aggregation.opinion import opinion
from quasim.errors import DataError
from quasim.policy import Part, Policy, Topic, leading
from quasim.space import Floats, SearchSpace
from quasim.trial import Problem, Trial

DECAY = 0.5
"""What a cycle leaves of evidence that nobody brought again: three cycles without a node keep an eighth of its word."""

CANDIDATES = 16
"""Configurations of a topic that the fleet proposes to try first: about one generation."""


def local_update(catalogue: Catalogue, spaces: Spaces, trials: Iterable[Trial], cohort: str = "") -> Floats:
    """A node's vector: its opinion of every cell of every topic that it tunes, 0 elsewhere.

    The latest trial of a genome counts, so give ``trials`` in order of time and playoffs last. Problems that share a
    topic are scored each by its own best and averaged by weight; a cell weighs 1 at most. Trials of problems outside
    ``spaces`` or the catalogue stay at home. A topic of the node's cohort gets the same as that of all.

    Args:
        spaces: the node's own search spaces.
        trials: all that the node still stands by, not only this cycle's.
        cohort: device family of the node.

    Returns:
        float64 vector of ``catalogue.length`` entries, all within [−1, 1].

    Raises:
        SpaceError: a genome is not of its problem's space.
    """
    vector = np.zeros(catalogue.length)
    pieces = catalogue.split(vector)
    latest = _latest(spaces, trials)
    for target, problem in sorted(latest):
        space = spaces[target, problem]
        topic = Topic.of(target, problem, space)
        if topic in pieces:
            pieces[topic] += _opinion(space, latest[target, problem])
    for piece in pieces.values():
        piece[: Channel.ENERGY_WEIGHT] /= np.maximum(piece[Channel.WEIGHT], 1.0)
        piece[Channel.ENERGY_WEIGHT :] /= np.maximum(piece[Channel.ENERGY_WEIGHT], 1.0)
    for topic, piece in pieces.items():
        if topic.cohort and topic.cohort == cohort:
            piece[:] = pieces[topic.of_all]
    return vector


def _latest(spaces: Spaces, trials: Iterable[Trial]) -> dict[tuple[str, Problem], dict[int, Trial]]:
    """Last trial of each measured cell, by (target, problem)."""
    latest: dict[tuple[str, Problem], dict[int, Trial]] = {}
    for trial in trials:
        key = trial.target, trial.problem
        if key in spaces:
            latest.setdefault(key, {})[spaces[key].cell(trial.genome)] = trial
    return latest


def _opinion(space: SearchSpace, trials: Mapping[int, Trial]) -> Floats:
    times_ns = {cell: trial.time_ns for cell, trial in trials.items()}
    # A counter too coarse for a launch may say 0, which has no logarithm.
    energies_j = {cell: trial.energy_j for cell, trial in trials.items() if trial.energy_j and 0 < trial.energy_j < inf}
    return opinion(space, times_ns, energies_j)


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

    The mean of a cell is Σ w·s / Σ w, its spread √(Σ w·s² / Σ w − mean²). Nodes bring all that they stand by each time,
    so what the previous policy knew is not added to it but fills in: its weight, times ``DECAY``, counts only as far as
    it exceeds this cycle's. A node that drops out for a cycle is thus remembered, none is counted twice, and where the
    fleet measured anew, old evidence is silent. Topics that left the catalogue are dropped, new ones start empty.

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
    sums = _honest(piece, participants)
    if old is not None:
        sums += _remembered(old, sums)
    weight, energy_weight = sums[Channel.WEIGHT], sums[Channel.ENERGY_WEIGHT]
    shares = sums[: Channel.ENERGY_WEIGHT] / np.where(weight > 0, weight, 1.0)
    mean = _float32(shares[Channel.SCORE], weight)
    variance = np.clip(shares[Channel.SQUARE] - shares[Channel.SCORE] ** 2, 0.0, 1.0)
    feasible = _float32(shares[Channel.WORKS], weight)
    known = _float32(weight, weight)
    candidates = leading(mean.astype(np.float64), known.astype(np.float64), feasible.astype(np.float64), CANDIDATES)
    energy = _float32(sums[Channel.ENERGY] / np.where(energy_weight > 0, energy_weight, 1.0), energy_weight)
    metered = bool(_float32(energy_weight, energy_weight).any())
    return Part(
        topic,
        mean.tobytes(),
        known.tobytes(),
        _float32(np.sqrt(variance), weight).tobytes(),
        feasible.tobytes(),
        tuple(int(cell) for cell in candidates),
        energy.tobytes() if metered else b"",
        _float32(energy_weight, energy_weight).tobytes() if metered else b"",
    )


def _honest(piece: Floats, participants: int) -> Floats:
    """Sums such as honest nodes can give. A faulty one, clipped, spoils its own cells and not the cycle."""
    sums: Floats = piece.copy()
    for weight in (Channel.WEIGHT, Channel.ENERGY_WEIGHT):
        sums[weight] = np.clip(piece[weight], 0.0, participants)
    weight, energy_weight = sums[Channel.WEIGHT], sums[Channel.ENERGY_WEIGHT]
    sums[Channel.SCORE] = np.clip(piece[Channel.SCORE], -weight, 0.0)
    sums[Channel.SQUARE] = np.clip(piece[Channel.SQUARE], 0.0, weight)
    sums[Channel.WORKS] = np.clip(piece[Channel.WORKS], 0.0, weight)
    sums[Channel.ENERGY] = np.clip(piece[Channel.ENERGY], -energy_weight, 0.0)
    return sums


def _remembered(old: Part, sums: Floats) -> Floats:
    """What the previous policy adds: its weight, times ``DECAY``, as far as that exceeds this cycle's."""
    kept = np.maximum(DECAY * old.weights - sums[Channel.WEIGHT], 0.0)
    added = np.zeros((CHANNELS, old.topic.cells))
    added[: Channel.ENERGY_WEIGHT] = kept * np.stack(
        [np.ones_like(kept), old.means, old.means**2 + old.spreads**2, old.feasibles]
    )
    if old.energy:
        kept = np.maximum(DECAY * old.energy_weights - sums[Channel.ENERGY_WEIGHT], 0.0)
        added[Channel.ENERGY_WEIGHT :] = kept, kept * old.energies
    return added


def _float32(values: Floats, weight: Floats) -> npt.NDArray[np.float32]:
    """Rounded, and 0 where the weight rounds to 0, so that no cell is known by nobody."""
    # Adding 0.0 turns −0.0 into 0.0, so that equal knowledge has equal bytes.
    rounded = np.where(weight.astype("<f4") > 0, values.astype("<f4"), np.float32(0.0)) + np.float32(0.0)
    return np.asarray(rounded, dtype="<f4")
