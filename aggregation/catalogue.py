"""The topics that all nodes of a fleet agree on, and the layout of the vectors that they give to be summed.

A vector is dense and of one shape for every node, whatever it knows: a sparse one would betray who touched what.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import IntEnum
from itertools import pairwise

import msgspec
import numpy as np

from quasim.codec import from_msgpack, to_msgpack
from quasim.errors import DataError
from quasim.policy import MAX_PAYLOAD, Topic
from quasim.space import Floats, SearchSpace
from quasim.trial import Problem

Spaces = Mapping[tuple[str, Problem], SearchSpace]
"""Search spaces by (target name, problem)."""


class Channel(IntEnum):
    """What a vector says of each cell: all of weight first, then all of weight × score, and so on.

    Every entry lies within [−1, 1], which is what rounds clip to. Scores of time and energy have weights of their own,
    since few trials are metered.
    """

    WEIGHT = 0
    SCORE = 1
    SQUARE = 2
    WORKS = 3
    ENERGY_WEIGHT = 4
    ENERGY = 5


CHANNELS = len(Channel)

_PART_BYTES = 1024
"""More than a policy's part needs beside its arrays: one float32 array for each channel."""


class Catalogue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Topics in strictly ascending order; problems of one shape class and space share one.

    Raises:
        DataError: a topic repeats or is out of order, a cohort's stands without that of all, or a policy about them
            would be above ``MAX_PAYLOAD``.
    """

    topics: tuple[Topic, ...]

    def __post_init__(self) -> None:
        if any(a >= b for a, b in pairwise(self.topics)):
            raise DataError("topics of the catalogue repeat or are out of order", "build it by Catalogue.of")
        known = set(self.topics)
        if any(topic.of_all not in known for topic in self.topics):
            raise DataError("a cohort's topic stands without that of all", "build it by Catalogue.agreed")
        if 4 * self.length + _PART_BYTES * len(self.topics) > MAX_PAYLOAD:
            raise DataError(
                f"{len(self.topics)} topics of {self.length // CHANNELS} cells make a policy that nodes refuse",
                "tune fewer problems in one fleet",
            )

    @classmethod
    def of(cls, spaces: Spaces) -> Catalogue:
        """The catalogue of everything that a node or a fleet of one cohort tunes."""
        return cls(tuple(sorted({Topic.of(target, problem, space) for (target, problem), space in spaces.items()})))

    @classmethod
    def agreed(cls, nodes: Sequence[tuple[str, Catalogue]], floor: int, *, grouped: bool = False) -> Catalogue:
        """All that any of the nodes can speak of, and what several cohorts share also by cohort.

        A topic has cohorts of its own where two or more speak of it, each with at least ``floor`` nodes: the sum of a
        smaller one would show what the fleet's sum hides, and so would the difference of the two.

        Args:
            nodes: device family and catalogue of each.
            grouped: the fleet is summed in groups, whose sums are seen: then no topic has cohorts, since one of
                ``floor`` nodes may have a single one in a group.
        """
        speakers: dict[Topic, Counter[str]] = {}
        for cohort, catalogue in nodes:
            for topic in catalogue.topics:
                speakers.setdefault(topic, Counter())[cohort] += 1
        apart = (
            msgspec.structs.replace(topic, cohort=cohort)
            for topic, cohorts in speakers.items()
            if not grouped and len(cohorts) > 1 and min(cohorts.values()) >= floor
            for cohort in cohorts
        )
        return cls(tuple(sorted({*speakers, *apart})))

    def to_bytes(self) -> bytes:
        """Canonical MessagePack."""
        return to_msgpack(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> Catalogue:
        """Read what ``to_bytes`` wrote.

        Raises:
            DataError: not a catalogue.
        """
        return from_msgpack(data, cls, "catalogue")

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical bytes, in hex: equal digests mean equal vector layouts."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @property
    def length(self) -> int:
        """Entries of a vector: all topics one after the other, each channel by channel."""
        return CHANNELS * sum(topic.cells for topic in self.topics)

    def split(self, vector: Floats) -> dict[Topic, Floats]:
        """Views into a vector by topic, shape (CHANNELS, cells), rows as ``Channel`` names them.

        Raises:
            DataError: the vector is not of this layout.
        """
        if vector.shape != (self.length,):
            raise DataError(f"a vector of shape {vector.shape} is not of length {self.length}", "compare catalogues")
        ends = np.cumsum([CHANNELS * topic.cells for topic in self.topics])[:-1]
        pieces = np.split(vector, ends) if self.topics else []
        return {topic: piece.reshape(CHANNELS, -1) for topic, piece in zip(self.topics, pieces, strict=True)}
