"""Groups that are summed apart, so that a few liars spoil the sums of their groups and not the fleet's.

Masked vectors are not looked at, so that each may hold anything within its clip bound C. Of g group means, every entry
of the result is a mean without the largest and the smallest ``spoiled`` ones; at most, that is the median (Yin et al.
2018, "Byzantine-robust distributed learning: towards optimal statistical rates"). It lies between the means of honest
groups as long as at most ``spoiled`` groups hold a liar.

More liars than that, spread over most groups, are not kept out: each then still moves its group's mean by no more
than 2·C / 32. The price is that a server sees sums of 32 participants instead of all. With fewer than three groups
there is nothing to compare, all are summed together, and the label says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quasim.errors import DataError
from quasim.space import Floats

GROUP = 32
"""Fewest participants of a group: fewer would hide each of them less than a round of a small fleet does."""

LEAST_GROUPS = 3
"""Of two unlike groups nobody can say which was spoiled."""

_DOMAIN = b"quasim aggregation groups v1\0"


@dataclass(frozen=True, slots=True, eq=False)
class GroupSum:
    """What the round of one group gave.

    Attributes:
        participants: how many vectors are in it.
        values: float64 sum of them, shape (length,).
    """

    participants: int
    values: Floats

    def __post_init__(self) -> None:
        if self.participants < 1 or self.values.ndim != 1 or not np.isfinite(self.values).all():
            raise DataError(
                f"a group sum of {self.participants} participants and shape {self.values.shape}",
                "leave out groups whose round was abandoned",
            )


@dataclass(frozen=True, slots=True, eq=False)
class Combined:
    """All groups as one sum.

    Attributes:
        participants: of all groups.
        values: float64 robust sum, shape (length,): the robust mean times the participants.
        label: how it was formed, for the policy's ``protocol``.
    """

    participants: int
    values: Floats
    label: str


def groups_of(count: int) -> int:
    """In how many groups so many nodes are summed: 1 where ``LEAST_GROUPS`` cannot be had."""
    return count // GROUP if count // GROUP >= LEAST_GROUPS else 1


def divide(nodes: Sequence[str], roster_digest: bytes) -> tuple[tuple[str, ...], ...]:
    """Groups of ``GROUP`` nodes or more whose sizes differ by at most one; a single one where three cannot be had.

    They follow from the roster alone and so stay the same for an epoch: regrouped from round to round, sums of
    vectors that change slowly could be solved for each node's.

    Args:
        roster_digest: of the epoch; nobody chooses it alone, so that liars cannot choose where they lie.

    Returns:
        Node ids, ascending within a group.

    Raises:
        DataError: a node stands twice.
    """
    if len(set(nodes)) != len(nodes):
        raise DataError("a node stands twice in what is to be grouped", "give each node of the roster once")
    count = groups_of(len(nodes))
    if count == 1:
        return (tuple(sorted(nodes)),)
    shuffled = sorted(nodes, key=lambda node: hashlib.sha256(_DOMAIN + roster_digest + node.encode()).digest())
    return tuple(tuple(sorted(shuffled[at::count])) for at in range(count))


def combine(groups: Sequence[GroupSum], spoiled: int | None = None) -> Combined:
    """One sum of what the groups' rounds gave; groups whose round was abandoned are left out by the caller.

    Args:
        spoiled: groups that may hold liars; None: as many as can be borne, which makes it a median.

    Raises:
        DataError: no group, unlike lengths, or as many spoiled as would leave nothing.
    """
    if not groups or len({group.values.shape for group in groups}) > 1:
        raise DataError(f"{len(groups)} groups, or sums of unlike lengths", "give the groups of one round")
    most = (len(groups) - 1) // 2
    cut = most if spoiled is None else spoiled
    if not 0 <= cut <= most:
        raise DataError(f"{cut} spoiled of {len(groups)} groups", f"bear at most {most}")
    participants = sum(group.participants for group in groups)
    if len(groups) < LEAST_GROUPS:
        total = np.sum([group.values for group in groups], axis=0)
        return Combined(
            participants, total, f"{_counted(len(groups))}, summed: a liar counts in full up to the clip bound"
        )
    means = np.sort([group.values / group.participants for group in groups], axis=0)
    centre = means[cut : len(groups) - cut].mean(axis=0)
    return Combined(participants, participants * centre, f"{_counted(len(groups))}, {_words(cut, most)}")


def _counted(groups: int) -> str:
    return "one group" if groups == 1 else f"{groups} groups"


def _words(cut: int, most: int) -> str:
    kind = "median" if cut == most else "trimmed mean"
    return f"{kind} of their means: bears {cut} with liars"
