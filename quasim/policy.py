"""What the fleet broadcasts, and how a node uses it.

A policy is data alone: numbers about cells of spaces that the node already has. It names no parameter and no value, so
whatever it says, a node reads it back as configurations of its own space or not at all.
"""

from __future__ import annotations

import hashlib
import re
from itertools import pairwise

import msgspec
import numpy as np
import numpy.typing as npt

from quasim.codec import from_msgpack, to_msgpack
from quasim.errors import DataError
from quasim.search._base import Prior
from quasim.space import Floats, SearchSpace
from quasim.trial import Problem

FORMAT = 1

MAX_CELLS = 1 << 15
"""Cells of a topic; a larger space is sampled. 32,768 cells are 256 KiB of a policy."""

MAX_NAMES = 400
"""Most characters of a topic's three names together, so that the size of a policy is known beforehand."""

MAX_CANDIDATES = 64
"""Most candidates of one part: more would be a whole budget, not a start."""

MAX_PAYLOAD = 1 << 26
"""Largest payload that is decoded, in bytes (64 MiB): about 250 topics of full size."""

_HEX = re.compile(r"[0-9a-f]{64}")


def _demand(holds: bool, what: str) -> None:
    if not holds:
        raise DataError(what, "refuse this policy and ask the aggregator for its newest")


class Topic(msgspec.Struct, frozen=True, order=True, forbid_unknown_fields=True):
    """What nodes may share knowledge about: one space, for all problems of a family and shape class on a target.

    Attributes:
        kernel: name of the family.
        shape_class: ``Problem.shape_class``.
        target: name of the target.
        space: digest of the search space, so that unlike spaces never meet in one topic.
        cells: length of the topic's arrays, at most ``MAX_CELLS``.
    """

    kernel: str
    shape_class: str
    target: str
    space: str
    cells: int

    def __post_init__(self) -> None:
        _demand(bool(_HEX.fullmatch(self.space)), f"space digest {self.space!r} is not a SHA-256 in hex")
        names = len(self.kernel) + len(self.shape_class) + len(self.target)
        _demand(names <= MAX_NAMES, f"a topic's names have {names} characters, at most {MAX_NAMES} are read")
        _demand(1 <= self.cells <= MAX_CELLS, f"a topic of {self.cells} cells is outside [1, {MAX_CELLS}]")

    @classmethod
    def of(cls, target: str, problem: Problem, space: SearchSpace) -> Topic:
        """The topic of a problem whose space on the named target is ``space``."""
        return cls(problem.kernel, problem.shape_class, target, space.digest, min(space.size, MAX_CELLS))


def topic_cells(space: SearchSpace) -> npt.NDArray[np.int64]:
    """Cells of the space that its topics speak of: positions in the space, ascending, shape (topic cells,).

    All of a space of up to ``MAX_CELLS``; of a larger one, one cell from each of ``MAX_CELLS`` equal stretches of the
    enumeration, drawn from SHAKE-256 of the space's digest. Integers only: every node draws the same on any machine.
    """
    count = min(space.size, MAX_CELLS)
    bounds = np.arange(count + 1, dtype=np.int64) * space.size // count
    stream = hashlib.shake_256(b"quasim topic cells v1\0" + space.digest.encode()).digest(8 * count)
    drawn = np.frombuffer(stream, dtype="<u8") % np.diff(bounds).astype(np.uint64)
    return bounds[:-1] + drawn.astype(np.int64)


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the fleet knows of one topic.

    Attributes:
        mean: score of each cell, little-endian float32 in [−1, 0]; 0 where the weight is 0.
        weight: nodes behind each score, little-endian float32, 0 or more; fractions are what decay left.
        candidates: distinct cells of positive weight to try first, best first.
    """

    topic: Topic
    mean: bytes
    weight: bytes
    candidates: tuple[int, ...]

    def __post_init__(self) -> None:
        cells, name = self.topic.cells, self.topic.kernel
        sizes = len(self.mean), len(self.weight)
        _demand(sizes == (4 * cells, 4 * cells), f"{name}: arrays of {sizes} bytes do not hold {cells} cells")
        means, weights = self.means, self.weights
        _demand(bool(np.all((means >= -1) & (means <= 0))), f"{name}: a mean score is outside [-1, 0]")
        _demand(bool(np.all((weights >= 0) & np.isfinite(weights))), f"{name}: a weight is negative or not finite")
        _demand(not means[weights == 0].any(), f"{name}: a cell that nobody knows has a score")
        _demand(len(self.candidates) <= MAX_CANDIDATES, f"{name}: {len(self.candidates)} candidates")
        _demand(len(set(self.candidates)) == len(self.candidates), f"{name}: a candidate stands twice")
        known = all(0 <= cell < cells and weights[cell] > 0 for cell in self.candidates)
        _demand(known, f"{name}: a candidate of {self.candidates} is outside the {cells} cells or unknown")

    @property
    def means(self) -> Floats:
        """Score of each topic cell, shape (cells,)."""
        return np.frombuffer(self.mean, dtype="<f4").astype(np.float64)

    @property
    def weights(self) -> Floats:
        """Nodes behind each score, shape (cells,)."""
        return np.frombuffer(self.weight, dtype="<f4").astype(np.float64)


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One version of the fleet's knowledge; its canonical MessagePack is what gets signed.

    Attributes:
        federation: id of the fleet that it belongs to.
        version: from 1, strictly increasing.
        cycle: fleet cycle that it came from.
        parent: SHA-256 (hex) of the payload before; empty for the first.
        protocol: how the sums were formed, and so who could see what.
        participants: nodes in the last sum.
        catalogue: digest of the catalogue of topics.
        parts: one for each topic, in the topics' order.
    """

    format: int = FORMAT
    federation: str
    version: int
    cycle: int
    parent: str
    protocol: str
    participants: int
    catalogue: str
    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        _demand(self.format == FORMAT, f"policy format {self.format} is not {FORMAT}")
        _demand(bool(self.federation) and bool(self.protocol), "a policy names its federation and its protocol")
        _demand(self.version >= 1, f"policy version {self.version} is below 1")
        _demand(self.cycle >= 0 and self.participants >= 1, f"cycle {self.cycle} of {self.participants} participants")
        _demand(not self.parent or bool(_HEX.fullmatch(self.parent)), f"parent {self.parent!r} is not a SHA-256 in hex")
        _demand(bool(self.parent) == (self.version > 1), f"version {self.version} does not go with {self.parent!r}")
        _demand(bool(_HEX.fullmatch(self.catalogue)), f"catalogue {self.catalogue!r} is not a SHA-256 in hex")
        topics = [part.topic for part in self.parts]
        _demand(all(a < b for a, b in pairwise(topics)), "topics repeat or are out of order")

    def payload(self) -> bytes:
        """Canonical MessagePack; equal policies have equal bytes."""
        return to_msgpack(self)

    @property
    def digest(self) -> str:
        """SHA-256 of the payload, in hex: what the next policy calls its parent."""
        return hashlib.sha256(self.payload()).hexdigest()

    @classmethod
    def from_payload(cls, payload: bytes) -> Policy:
        """Read what ``payload`` wrote.

        Raises:
            DataError: too large, not a valid policy, or not in canonical form.
        """
        _demand(len(payload) <= MAX_PAYLOAD, f"a policy of {len(payload)} bytes is above {MAX_PAYLOAD}")
        policy = from_msgpack(payload, cls, "policy")
        _demand(policy.payload() == payload, "the policy is not in canonical form")
        return policy

    def part(self, topic: Topic) -> Part | None:
        """The part about a topic; None where the policy has none."""
        return next((part for part in self.parts if part.topic == topic), None)


def prior_for(policy: Policy, target_name: str, problem: Problem, space: SearchSpace) -> Prior | None:
    """What the policy says about a problem, in the node's own space.

    The digest of ``space`` is part of the topic that is looked up: a policy about another space of the same name says
    nothing here (None), as in a mixed fleet, where both occur. Configurations are read from ``space`` by position, so
    none outside it can come out. Cells of a large space that the topic did not sample have weight 0.

    Returns:
        None where the policy has no such topic or nobody knows anything of it.
    """
    part = policy.part(Topic.of(target_name, problem, space))
    if part is None or not part.weights.any():
        return None
    cells = topic_cells(space)
    mean, weight = np.zeros(space.size), np.zeros(space.size)
    mean[cells], weight[cells] = part.means, part.weights
    return Prior(mean, weight, tuple(space.genome_at(int(cells[at])) for at in part.candidates))
