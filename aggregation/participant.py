"""A node's side of a fleet's rounds: it answers those that its roster and agreement call for, each with fresh keys."""

from __future__ import annotations

import os
from collections.abc import Callable

import msgspec
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aggregation.agreement import Agreement, rotation_seed
from aggregation.plain import PlainClient
from aggregation.privacy import add_noise, flatten
from aggregation.roster import Roster
from aggregation.rounds import RoundClient
from aggregation.secure import Encoding, Members, SecureClient
from quasim.codec import from_msgpack
from quasim.errors import DataError
from quasim.space import Floats

Entropy = Callable[[int], bytes]

OPENING, INVITATION, TRIALS = "opening", "invitation", "canary_trials"
"""Kinds of messages of a server; the other steps of a secure round have more."""


class _Kind(msgspec.Struct):
    type: str


def kind_of(data: bytes) -> str:
    """What kind of message a server sent.

    Raises:
        DataError: not a message.
    """
    return from_msgpack(data, _Kind, "round message").type


class Participant:
    """Answers the rounds of one cycle. A ``RoundClient``.

    Args:
        node: its id.
        identity: Ed25519 key that the roster pins.
        roster: that the node verified; None: it knows of none, and answers plain rounds if they were agreed on.
        policy: digest of the policy that the node holds; empty where it has none.
        vector: float64, shape (length,), entries within [−1, 1].
        last_round: the newest secure round that the node took part in; −1 before the first.
        entropy: gives so many unpredictable bytes.

    Attributes:
        last_round: as given, or newer; to be durable before the answer leaves the node.
    """

    def __init__(
        self,
        node: str,
        identity: Ed25519PrivateKey,
        agreement: Agreement,
        roster: Roster | None,
        policy: str,
        vector: Floats,
        *,
        last_round: int = -1,
        entropy: Entropy = os.urandom,
    ) -> None:
        self._node, self._identity, self._agreement, self._roster = node, identity, agreement, roster
        self._policy, self._vector, self._entropy = policy, vector, entropy
        self._client: RoundClient | None = None
        self.last_round = last_round

    def handle(self, data: bytes) -> list[bytes]:
        """See ``RoundClient.handle``."""
        kind = kind_of(data)
        if kind == INVITATION:
            if not isinstance(self._client, PlainClient):
                self._client = self._plain()
            return self._client.handle(data)
        if kind == OPENING:
            return self._open(data)
        if self._client is None:
            raise DataError("a message of a round that this node is not in", "wait for the next opening")
        return self._client.handle(data)

    def _plain(self) -> PlainClient:
        """For fleets that agreed on it, and for one alone, whose sum would be its vector anyway."""
        alone = self._roster is not None and tuple(self._roster.keys) == (self._node,)
        if self._agreement.secure and not (alone and self._allowed_alone()):
            raise DataError(f"{self._node} was asked for its vector in the clear", "let the server open a secure round")
        return PlainClient(self._vector, self._policy)

    def _allowed_alone(self) -> bool:
        return self._roster is not None and self._roster.limits.participants == 1

    def _open(self, data: bytes) -> list[bytes]:
        """A new client a round: what masks and blurs one vector must never do so for another."""
        client = self._secure()
        answers = client.handle(data)
        if answers:
            self._client, self.last_round = client, client.last_round
        return answers

    def _secure(self) -> SecureClient:
        if self._roster is None or not self._agreement.hides(self._roster):
            raise DataError(f"{self._node} was asked to a secure round without a roster for one", "enrol it first")
        group = next((group for group in self._agreement.members(self._roster) if self._node in group.keys), None)
        if group is None:
            raise DataError(f"{self._node!r} is not in epoch {self._roster.epoch} of the roster", "enrol it first")
        encoding = self._agreement.encoding(group)
        return SecureClient(
            self._node,
            self._identity,
            group,
            encoding,
            self._policy,
            self._given(group, encoding),
            last_round=self.last_round,
            entropy=self._entropy,
        )

    def _given(self, group: Members, encoding: Encoding) -> Floats:
        """The vector, rotated and blurred where noise was agreed on; then every entry is a multiple of the unit."""
        noise = self._agreement.noise
        if noise is None:
            return self._vector
        flat = flatten(self._vector, noise.privacy, rotation_seed(group, self._policy))
        # The bound of the rotated entries holds but for a chance of 10^-9: the noise keeps its room above it.
        bound = noise.privacy.entry_clip
        encoded = encoding.encode(np.clip(flat, -bound, bound), 1.0)
        add_noise(encoded, noise.privacy, self._entropy)
        return encoding.decode(encoded)[0]
