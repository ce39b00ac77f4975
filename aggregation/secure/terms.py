"""What everyone agrees on before a round begins, and the session id that binds every message to it."""

from __future__ import annotations

import hashlib

import msgspec

from aggregation.secure.degrees import COMPLETE_LIMIT, Degrees, degrees, side_quorum, smallest_ring
from aggregation.secure.encoding import Encoding
from quasim.codec import to_msgpack
from quasim.errors import DataError

DIGEST_BYTES = 32
_TAG = b"quasim/secure/session/1\x00"


class Terms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The terms of one round.

    Attributes:
        federation: id of the fleet.
        number: of the round; a server uses none twice.
        roster_digest: ``Members.digest`` of who may take part.
        policy: digest of the policy that the nodes hold; empty before the first.
        k: neighbours of each participant; n - 1 in the complete graph.
        t: shares that give a secret back.
        length: d, entries of each vector.
        floor: fewest vectors that a sum may be made of.
        encoding: ring, scale and bounds for n participants.
    """

    federation: str
    number: int
    roster_digest: bytes
    policy: str
    k: int
    t: int
    length: int
    floor: int
    encoding: Encoding

    def __post_init__(self) -> None:
        if self.number < 0 or self.length < 0 or len(self.roster_digest) != DIGEST_BYTES:
            raise DataError(
                f"round {self.number} of length {self.length}, roster digest of {len(self.roster_digest)} bytes",
                "use numbers from 0 and the SHA-256 of the roster",
            )
        if not 0 < self.k < self.n or not 0 < self.t <= self.k + self.complete:
            raise DataError(f"{self.k} neighbours and threshold {self.t} of {self.n}", "take them from degrees()")
        if not self.fewest <= self.floor <= self.n:
            raise DataError(
                f"a floor of {self.floor} for {self.n} participants", f"use one from {self.fewest} to {self.n}"
            )

    @property
    def n(self) -> int:
        """Members that may take part."""
        return self.encoding.participants

    @property
    def complete(self) -> bool:
        """Whether all share with all; then each also keeps a share of its own secrets."""
        return self.n <= COMPLETE_LIMIT

    @property
    def quorum(self) -> int:
        """Neighbours that must stand by a participant: t, where its own share counts one fewer."""
        return self.t - self.complete

    @property
    def side_quorum(self) -> int:
        """Neighbours on either side that must stand by a participant, so that the ring does not fall apart."""
        return side_quorum(self.n, Degrees(self.k, self.t))

    @property
    def fewest(self) -> int:
        """Participants without whom no secret comes back."""
        return self.quorum + 1

    @property
    def fewest_placed(self) -> int:
        """Participants without whom there is no ring: the floor, or where more are missing than may drop."""
        return max(self.floor, smallest_ring(self.n))

    def session(self) -> bytes:
        """SHA-256 of the canonical bytes."""
        return hashlib.sha256(_TAG + to_msgpack(self)).digest()


def smallest_floor(n: int) -> int:
    """The lowest floor that a round of n members can have; above n where it can have none.

    With t shares of each secret somewhere among its neighbours, fewer participants could not unmask a sum.
    """
    return degrees(n).t + (n > COMPLETE_LIMIT) if n > 1 else 2
