"""What a fleet agreed on about its rounds; with the signed roster, all derive the same groups and encodings from it."""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from aggregation.groups import divide
from aggregation.privacy import Privacy
from aggregation.roster import Roster
from aggregation.secure import Encoding, Members
from quasim.codec import to_msgpack

SMALLEST = 2
"""Members of the smallest roster whose sums hide anything: of one vector, the sum is the vector."""

_NOISE_ROOM = 10
"""Standard deviations of a node's own noise that its entries have room for: beyond lies 10^-23 an entry."""

_ROTATION = b"quasim fleet rotation v1\0"


class Noise(msgspec.Struct, frozen=True):
    """Differential privacy, sized beforehand.

    Attributes:
        epsilon, delta: what all ``rounds`` rounds together may reveal of a node's vectors.
    """

    privacy: Privacy
    epsilon: float
    delta: float
    rounds: int

    @property
    def label(self) -> str:
        """For the policy's ``protocol``."""
        return f"noise for epsilon {self.epsilon:g} at delta {self.delta:g} over {self.rounds} rounds"


class Agreement(msgspec.Struct, frozen=True):
    """The same for the aggregator and all nodes.

    Attributes:
        secure: whether vectors are masked; else the sums are plain.
        ring_bits, scale_bits: of the encoding.
        groups: whether large rosters are summed in groups of which the median counts.
        noise: None: the sums are exact.
    """

    secure: bool
    ring_bits: Literal[32, 64] = 32
    scale_bits: int = 20
    groups: bool = True
    noise: Noise | None = None

    def hides(self, roster: Roster) -> bool:
        """Whether the rounds of this roster are masked."""
        return self.secure and len(roster.members) >= SMALLEST

    def members(self, roster: Roster) -> tuple[Members, ...]:
        """The groups that are summed apart, one or several.

        Raises:
            DataError: a group smaller than the roster's limits allow.
        """
        nodes = tuple(roster.keys)
        divided = divide(nodes, roster.digest()) if self.groups else (nodes,)
        return tuple(Members.of(roster, group) for group in divided)

    def encoding(self, members: Members) -> Encoding:
        """Fixed point for the vectors of a group. Fleet vectors carry their weights within, so each weighs 1.

        Raises:
            DataError: the sum could overflow.
        """
        clip = 1.0
        if self.noise:
            privacy = self.noise.privacy
            clip = privacy.entry_clip + _NOISE_ROOM * privacy.sigma / 2.0**privacy.scale_bits
        encoding = Encoding(self.ring_bits, self.scale_bits, clip, 1.0, len(members.ids))
        if self.noise:
            self.noise.privacy.fits(encoding)
        return encoding


def rotation_seed(members: Members, policy: str) -> bytes:
    """Public seed of the rotation that noise is added under, new with each policy.

    Args:
        policy: digest of the policy in force.
    """
    return hashlib.sha256(_ROTATION + to_msgpack([members.digest, policy])).digest()
