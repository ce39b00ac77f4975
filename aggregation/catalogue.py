"""The topics that all nodes of a fleet agree on, and the layout of the vectors that they give to be summed.

A vector is dense and of one shape for every node, whatever it knows: a sparse one would betray who touched what.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
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

CHANNELS = 2
"""Per cell: weight, and weight × score."""

_PART_BYTES = 1024
"""More than a policy's part needs beside its two float32 arrays."""


class Catalogue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Topics in strictly ascending order; problems of one shape class and space share one.

    Raises:
        DataError: a topic repeats or is out of order, or a policy about them would be above ``MAX_PAYLOAD``.
    """

    topics: tuple[Topic, ...]

    def __post_init__(self) -> None:
        if any(a >= b for a, b in pairwise(self.topics)):
            raise DataError("topics of the catalogue repeat or are out of order", "build it by Catalogue.of")
        if 4 * self.length + _PART_BYTES * len(self.topics) > MAX_PAYLOAD:
            raise DataError(
                f"{len(self.topics)} topics of {self.length // CHANNELS} cells make a policy that nodes refuse",
                "tune fewer problems in one fleet",
            )

    @classmethod
    def of(cls, spaces: Spaces) -> Catalogue:
        """The catalogue of everything that a fleet tunes."""
        return cls(tuple(sorted({Topic.of(target, problem, space) for (target, problem), space in spaces.items()})))

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
        """Entries of a vector: all topics one after the other, each as all weights, then all weight × score."""
        return CHANNELS * sum(topic.cells for topic in self.topics)

    def split(self, vector: Floats) -> dict[Topic, Floats]:
        """Views into a vector by topic, shape (2, cells): row 0 weight, row 1 weight × score.

        Raises:
            DataError: the vector is not of this layout.
        """
        if vector.shape != (self.length,):
            raise DataError(f"a vector of shape {vector.shape} is not of length {self.length}", "compare catalogues")
        ends = np.cumsum([CHANNELS * topic.cells for topic in self.topics])[:-1]
        pieces = np.split(vector, ends) if self.topics else []
        return {topic: piece.reshape(CHANNELS, -1) for topic, piece in zip(self.topics, pieces, strict=True)}
