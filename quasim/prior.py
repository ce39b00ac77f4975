"""What a node reads from a policy about one of its problems: every topic that bears on it, as one prior.

Topics of the same kernel, target and space are added up: those of the node's own cohort count more than the fleet's,
those of other shape classes the less, the further off they are. So a node starts from its own kind where that is known,
from all kinds otherwise, and at a shape that nobody had from the shapes around it.
"""

from __future__ import annotations

import math
import re

import numpy as np

from quasim.policy import Part, Policy, Topic, leading, topic_cells
from quasim.search._base import Prior
from quasim.search.recording import niches
from quasim.space import Floats, SearchSpace
from quasim.trial import Problem

KINSHIP = 3.0
"""How much more a node of one's own device family counts than another."""

NEARNESS = 0.5
"""What is left of a topic's weight for each octave by which its shape class lies away."""

REACH = 6
"""Octaves beyond which a shape says nothing of another: that is another regime, such as a few rows and a square."""

LEADERS = 64
"""Leading cells among which candidates that differ are looked for."""

FIRST = 4
"""Candidates to try first; where they fail, the fleet has said enough, and one's own measurements go on."""

VETERAN = 20
"""Genomes of a problem that a node has searched when it no longer leans on the fleet's scores: one generation."""

_EXTENT = re.compile(r"(\w+)~(?:2\^)?(\d+)")


def prior_for(policy: Policy, target_name: str, problem: Problem, space: SearchSpace, cohort: str = "") -> Prior | None:
    """What the policy says about a problem, in the node's own space.

    The digest of ``space`` is part of the topics that are looked up: a policy about another space of the same name says
    nothing here (None), as in a mixed fleet, where both occur. Configurations are read from ``space`` by position, so
    none outside it can come out. Cells of a large space that its topics did not sample have weight 0.

    Args:
        cohort: device family of the node.

    Returns:
        None where the policy has no such topic or nobody knows anything of it.
    """
    own = Topic.of(target_name, problem, space, cohort)
    shares = [(_share(part.topic, own), part) for part in policy.parts]
    bearing = [(share, part) for share, part in shares if share > 0]
    if not any(part.weights.any() for _, part in bearing):
        return None
    return _Sums(own.cells, bearing).prior(space)


def outgrown(prior: Prior) -> Prior:
    """What is left of a prior for a node that goes by its own trials: candidates, and no scores."""
    return Prior(prior.mean, np.zeros_like(prior.weight), prior.candidates)


def _share(topic: Topic, own: Topic) -> float:
    """How much the topic bears on the node's own: 1 for the fleet at the same shape class, 0 not at all."""
    alike = (topic.kernel, topic.target, topic.space, topic.cells) == (own.kernel, own.target, own.space, own.cells)
    if not alike or topic.cohort not in ("", own.cohort):
        return 0.0
    away = octaves(topic.shape_class, own.shape_class)
    if away > REACH:
        return 0.0
    # The node's own kind is in the topic of all as well.
    kin = KINSHIP - 1 if topic.cohort else 1.0
    return kin * math.exp(math.log(NEARNESS) * away)


def octaves(one: str, other: str) -> float:
    """Octaves between two shape classes, summed over their dimensions; infinity where these are not the same.

    A whole number otherwise: a policy may name extents beyond all floats.
    """
    left, right = (dict(_EXTENT.findall(shape_class)) for shape_class in (one, other))
    if left.keys() != right.keys():
        return math.inf
    return sum(abs(int(left[name]) - int(right[name])) for name in left)


class _Sums:
    """Weighted sums over parts, by topic cell."""

    def __init__(self, cells: int, bearing: list[tuple[float, Part]]) -> None:
        self._weight, self._score, self._square, self._works = np.zeros((4, cells))
        self._energy_weight, self._energy = np.zeros((2, cells))
        for share, part in bearing:
            weight, mean = share * part.weights, part.means
            self._weight += weight
            self._score += weight * mean
            self._square += weight * (part.spreads**2 + mean**2)
            self._works += weight * part.feasibles
            if part.energy:
                self._energy_weight += share * part.energy_weights
                self._energy += share * part.energy_weights * part.energies

    def prior(self, space: SearchSpace) -> Prior:
        known = np.where(self._weight > 0, self._weight, 1.0)
        mean, feasible = self._score / known, self._works / known
        spread = np.sqrt(np.maximum(self._square / known - mean**2, 0.0))
        cells = topic_cells(space)
        first = cells[leading(mean, self._weight, feasible, LEADERS)]
        first = first[niches(space.rows[first], FIRST)]
        return Prior(
            mean=_spread_out(space, mean),
            weight=_spread_out(space, self._weight),
            candidates=tuple(space.genome_at(int(cell)) for cell in first),
            spread=_spread_out(space, spread),
            feasible=_spread_out(space, feasible),
            energy=self._energy_prior(space),
        )

    def _energy_prior(self, space: SearchSpace) -> Prior | None:
        if not self._energy_weight.any():
            return None
        mean = self._energy / np.where(self._energy_weight > 0, self._energy_weight, 1.0)
        return Prior(_spread_out(space, mean), _spread_out(space, self._energy_weight), candidates=())


def _spread_out(space: SearchSpace, values: Floats) -> Floats:
    """Values of the topic's cells as values of the space's; 0 elsewhere."""
    spread = np.zeros(space.size)
    spread[topic_cells(space)] = values
    return spread
