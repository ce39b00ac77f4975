"""What the fleet broadcasts.

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
from quasim.space import Floats, SearchSpace
from quasim.trial import Problem

FORMAT = 2

MAX_CELLS = 1 << 15
"""Cells of a topic; a larger space is sampled. 32,768 cells are 768 KiB of a policy, 512 KiB where nobody metered."""

MAX_NAMES = 400
"""Most characters of a topic's four names together, so that the size of a policy is known beforehand."""

MAX_CANDIDATES = 64
"""Most candidates of one part: more would be a whole budget, not a start."""

DOUBT = 0.5
"""Strength of the prior belief, in nodes, that a configuration is hopeless (−1): a single node's best (−0.33) ranks
after one that four nodes find 1.2 times slower than theirs, and before one that they find twice as slow."""

MAX_PAYLOAD = 1 << 26
"""Largest payload that is decoded, in bytes (64 MiB): about 85 topics of full size."""

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
        cohort: device family of the nodes that it speaks of; empty: all of the fleet.
    """

    kernel: str
    shape_class: str
    target: str
    space: str
    cells: int
    cohort: str = ""

    def __post_init__(self) -> None:
        _demand(bool(_HEX.fullmatch(self.space)), f"space digest {self.space!r} is not a SHA-256 in hex")
        names = len(self.kernel) + len(self.shape_class) + len(self.target) + len(self.cohort)
        _demand(names <= MAX_NAMES, f"a topic's names have {names} characters, at most {MAX_NAMES} are read")
        _demand(1 <= self.cells <= MAX_CELLS, f"a topic of {self.cells} cells is outside [1, {MAX_CELLS}]")

    @classmethod
    def of(cls, target: str, problem: Problem, space: SearchSpace, cohort: str = "") -> Topic:
        """The topic of a problem whose space on the named target is ``space``."""
        return cls(problem.kernel, problem.shape_class, target, space.digest, min(space.size, MAX_CELLS), cohort)

    @property
    def of_all(self) -> Topic:
        """The same topic of the whole fleet."""
        return msgspec.structs.replace(self, cohort="")


def topic_cells(space: SearchSpace) -> npt.NDArray[np.int64]:
    """Cells of the space that its topics speak of: positions in the space, ascending, shape (topic cells,).

    All of a space of up to ``MAX_CELLS``; of a larger one, one cell from each of ``MAX_CELLS`` equal stretches of the
    enumeration, drawn from SHAKE-256 of the space's digest. Integers only: every node draws the same on any machine.
    """
    if space.size <= MAX_CELLS:
        return np.arange(space.size, dtype=np.int64)
    count = MAX_CELLS
    bounds = np.arange(count + 1, dtype=np.int64) * space.size // count
    stream = hashlib.shake_256(b"quasim topic cells v1\0" + space.digest.encode()).digest(8 * count)
    drawn = np.frombuffer(stream, dtype="<u8") % np.diff(bounds).astype(np.uint64)
    return bounds[:-1] + drawn.astype(np.int64)


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the fleet knows of one topic; arrays are little-endian float32, one number a cell.

    Attributes:
        mean: score of each cell in [−1, 0]; 0 where the weight is 0.
        weight: nodes behind each score, 0 or more; fractions are what predictions and decay leave.
        spread: standard deviation of the score over the nodes, in [0, 1].
        feasible: share of the nodes, by weight, on which the cell works, in [0, 1].
        candidates: distinct cells of positive weight to try first, best first.
        energy, energy_weight: as mean and weight, of joules; both empty where nobody metered.
    """

    topic: Topic
    mean: bytes
    weight: bytes
    spread: bytes
    feasible: bytes
    candidates: tuple[int, ...]
    energy: bytes = b""
    energy_weight: bytes = b""

    def __post_init__(self) -> None:
        cells, name = self.topic.cells, self.topic.kernel
        _demand(bool(self.energy) == bool(self.energy_weight), f"{name}: joules without weights, or the reverse")
        arrays = [self.mean, self.weight, self.spread, self.feasible]
        arrays += [self.energy, self.energy_weight] if self.energy else []
        sizes = {len(array) for array in arrays}
        _demand(sizes == {4 * cells}, f"{name}: arrays of {sorted(sizes)} bytes do not hold {cells} cells")
        self._check_scores(self.means, self.weights)
        if self.energy:
            self._check_scores(self.energies, self.energy_weights)
        for what, values in (("spread", self.spreads), ("feasible share", self.feasibles)):
            _demand(bool(np.all((values >= 0) & (values <= 1))), f"{name}: a {what} is outside [0, 1]")
        self._check_candidates()

    def _check_scores(self, means: Floats, weights: Floats) -> None:
        name = self.topic.kernel
        _demand(bool(np.all((means >= -1) & (means <= 0))), f"{name}: a mean score is outside [-1, 0]")
        _demand(bool(np.all((weights >= 0) & np.isfinite(weights))), f"{name}: a weight is negative or not finite")
        _demand(not means[weights == 0].any(), f"{name}: a cell that nobody knows has a score")

    def _check_candidates(self) -> None:
        cells, name, weights = self.topic.cells, self.topic.kernel, self.weights
        _demand(len(self.candidates) <= MAX_CANDIDATES, f"{name}: {len(self.candidates)} candidates")
        _demand(len(set(self.candidates)) == len(self.candidates), f"{name}: a candidate stands twice")
        known = all(0 <= cell < cells and weights[cell] > 0 for cell in self.candidates)
        _demand(known, f"{name}: a candidate of {self.candidates} is outside the {cells} cells or unknown")

    @property
    def means(self) -> Floats:
        """Score of each topic cell, shape (cells,)."""
        return _floats(self.mean)

    @property
    def weights(self) -> Floats:
        """Nodes behind each score, shape (cells,)."""
        return _floats(self.weight)

    @property
    def spreads(self) -> Floats:
        """Deviation of each score over the nodes, shape (cells,)."""
        return _floats(self.spread)

    @property
    def feasibles(self) -> Floats:
        """Share of the nodes on which each cell works, shape (cells,)."""
        return _floats(self.feasible)

    @property
    def energies(self) -> Floats:
        """Energy score of each topic cell, shape (cells,), or (0,) where nobody metered."""
        return _floats(self.energy)

    @property
    def energy_weights(self) -> Floats:
        """Nodes behind each energy score, shape (cells,), or (0,) where nobody metered."""
        return _floats(self.energy_weight)


def _floats(data: bytes) -> Floats:
    return np.frombuffer(data, dtype="<f4").astype(np.float64)


def leading(mean: Floats, weight: Floats, feasible: Floats, count: int) -> npt.NDArray[np.int64]:
    """Cells to try first, best first: those of which the fleet is surest that they are good and work.

    Ranked by (w·s − DOUBT) / (w + DOUBT), with s the score expected when failing scores −1; ties to the lower cell.
    A cell that nobody knows or that only failed is never among them.

    Args:
        mean, weight, feasible: of each cell, shape (n,).
    """
    worth = np.flatnonzero((weight > 0) & (mean > -1) & (feasible > 0))
    expected = feasible[worth] * (1 + mean[worth]) - 1
    pessimistic = (weight[worth] * expected - DOUBT) / (weight[worth] + DOUBT)
    return worth[np.argsort(-pessimistic, kind="stable")[:count]]


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
