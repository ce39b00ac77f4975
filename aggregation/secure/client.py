"""A node's side of secure aggregation: which round it is in, which message is due, and nothing answered twice."""

from __future__ import annotations

import os
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aggregation.secure.client_round import ClientRound, Seat
from aggregation.secure.encoding import Encoding
from aggregation.secure.members import Members
from aggregation.secure.messages import (
    Delivery,
    Fixed,
    Neighbourhood,
    Opening,
    ServerMessage,
    Settled,
    StepMessage,
    Survivors,
    Unmask,
    read,
)
from aggregation.secure.opening_checks import Demands, check_opening
from quasim.errors import DataError
from quasim.space import Floats

_STEPS = (Fixed, Neighbourhood, Delivery, Settled, Survivors, Unmask)


class SecureClient:
    """Answers openings with a masked vector and what unmasks the sum of all. A ``RoundClient``.

    Secrets live in memory, for one round: a client that is built again in the middle of one answers nothing more of
    it and counts as dropped out. A message that does not belong to the round in progress changes nothing; one that
    does and is not in order ends it for this client.

    Args:
        node: its id.
        identity: Ed25519 private key, whose public key the roster pins.
        members: of its group.
        encoding: that the fleet agreed on, for as many participants as there are members.
        policy: digest of the policy that the node holds; empty where it has none.
        vector: float64, shape (length,); clipped on encoding.
        weight: that the vector counts with, within [0, weight bound].
        last_round: the newest that this node took part in, kept by the caller; −1 before the first.
        entropy: gives so many unpredictable bytes.

    Raises:
        DataError: the identity is not that of the roster, or vector, weight or encoding do not fit.
    """

    def __init__(
        self,
        node: str,
        identity: Ed25519PrivateKey,
        members: Members,
        encoding: Encoding,
        policy: str,
        vector: Floats,
        weight: float = 1.0,
        *,
        last_round: int = -1,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        members.index(node)
        if members.keys[node] != identity.public_key().public_bytes_raw():
            raise DataError(f"the identity of {node} is not the one in the roster", "enrol this node again")
        members.check_participants(encoding.participants)
        self._seat = Seat(node, identity, members, encoding.encode(vector, weight))
        self._encoding, self._policy, self._entropy = encoding, policy, entropy
        self._last_round = last_round
        self._round: ClientRound | None = None
        self._session = b""
        self._due = 0

    @property
    def last_round(self) -> int:
        """The newest round it took part in; to be durable before its answer leaves the node."""
        return self._last_round

    @property
    def in_round(self) -> bool:
        """Whether it holds the secrets of a round."""
        return self._round is not None

    def handle(self, data: bytes) -> list[bytes]:
        """See ``RoundClient.handle``; what was answered before is not answered again."""
        message: ServerMessage = read(data, ServerMessage)  # type: ignore[arg-type]
        if isinstance(message, Opening):
            return self._open(message)
        if message.session != self._session:
            raise DataError("a message of a round that this node is not in", "wait for the next opening")
        step = _STEPS.index(type(message))
        if step < self._due:
            return []
        try:
            return [self._answer(message, step)]
        except DataError:
            self._round = None
            raise

    def _open(self, opening: Opening) -> list[bytes]:
        """A round that is newer begins; the secrets of one that did not end are dropped."""
        if opening.terms.number == self._last_round:
            return []
        seat = self._seat
        demands = Demands(seat.members, self._encoding, self._policy, len(seat.vector) - 1, self._last_round)
        check_opening(opening, demands)
        self._round = ClientRound(seat, opening.terms, opening.round_key, self._entropy)
        self._session = self._round.session
        self._last_round = opening.terms.number
        self._due = _STEPS.index(Neighbourhood if opening.terms.complete else Fixed)
        return [self._round.advertise()]

    def _answer(self, message: StepMessage, step: int) -> bytes:
        if self._round is None:
            raise DataError("this node is done with the round", "wait for the next opening")
        check_turn(step, self._due)
        self._due += 1
        answer = self._round.answer(message)
        if step == len(_STEPS) - 1:
            self._round = None
        return answer


def check_turn(step: int, due: int) -> None:
    """Nothing is skipped: what comes later relies on what was verified before."""
    if step != due:
        raise DataError(f"{_STEPS[step].__name__} came instead of {_STEPS[due].__name__}", "follow the steps in order")
