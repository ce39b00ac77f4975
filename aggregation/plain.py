"""The plain sum: one exchange, no secrecy. It says so in its label, which the policy carries on."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from aggregation.rounds import (
    Abandoned,
    Broadcast,
    Event,
    Finished,
    Instruction,
    Invitation,
    MessageArrived,
    Opened,
    Refusal,
    Refused,
    RoundResult,
    RoundSpec,
    from_message,
    to_message,
)
from quasim.errors import DataError
from quasim.space import Floats

LABEL = "plain: the aggregator sees each node's vector"

_OVERHEAD = 1024
"""More bytes than a contribution adds to its vector."""


class Contribution(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="plain_contribution"):
    """A node's vector as little-endian float64, bound to the round and to the policy that the node holds."""

    round: int
    policy: str
    vector: bytes


class PlainServer:
    """Sums the vectors that arrive, in the order of the roster. A ``RoundServer``.

    It ends once all have answered, or at the deadline with those that have.
    """

    def __init__(self, spec: RoundSpec) -> None:
        self._spec = spec
        self._vectors: dict[str, Floats] = {}
        self._refused: list[Refused] = []
        self._over = False

    def handle(self, event: Event) -> Sequence[Instruction]:
        """See ``RoundServer.handle``."""
        if isinstance(event, Opened):
            return self._open()
        if isinstance(event, MessageArrived):
            return self._take(event)
        return [] if self._over else self._end()

    def _open(self) -> Sequence[Instruction]:
        if len(self._spec.roster) < self._spec.floor:
            return self._end()
        invitation = Invitation(self._spec.number, LABEL, self._spec.policy, self._spec.length)
        return [Broadcast(self._spec.roster, to_message(invitation))]

    def _take(self, event: MessageArrived) -> Sequence[Instruction]:
        read = self._read(event)
        if isinstance(read, Refused):
            self._refused.append(read)
            return [read]
        self._vectors[event.node] = read
        return self._end() if len(self._vectors) == len(self._spec.roster) else []

    def _read(self, event: MessageArrived) -> Floats | Refused:
        """The vector in a message, or why it does not count."""
        spec, node = self._spec, event.node
        if node not in spec.roster:
            return Refused(node, Refusal.FOREIGN, f"{node} is not in the roster of round {spec.number}")
        if self._over:
            return Refused(node, Refusal.LATE, f"round {spec.number} is over")
        if len(event.data) > 8 * spec.length + _OVERHEAD:
            return Refused(node, Refusal.WRONG_LENGTH, f"{len(event.data)} bytes for {spec.length} entries")
        try:
            message = from_message(event.data, Contribution)
        except DataError as error:
            return Refused(node, Refusal.MALFORMED, error.what)
        return self._check(node, message)

    def _check(self, node: str, message: Contribution) -> Floats | Refused:
        spec = self._spec
        if message.round != spec.number:
            reason = Refusal.LATE if message.round < spec.number else Refusal.OTHER_ROUND
            return Refused(node, reason, f"an answer to round {message.round} in round {spec.number}")
        if message.policy != spec.policy:
            return Refused(node, Refusal.OTHER_POLICY, f"bound to policy {message.policy[:64]!r}, not {spec.policy!r}")
        if node in self._vectors:
            return Refused(node, Refusal.DUPLICATE, f"{node} answered round {spec.number} before; the first counts")
        if len(message.vector) != 8 * spec.length:
            return Refused(node, Refusal.WRONG_LENGTH, f"{len(message.vector)} bytes for {spec.length} entries")
        vector = np.frombuffer(message.vector, dtype="<f8")
        if not (np.abs(vector) <= 1).all():
            return Refused(node, Refusal.OUT_OF_RANGE, "an entry is not a number within [-1, 1]")
        return vector

    def _end(self) -> Sequence[Instruction]:
        self._over = True
        spec, refused = self._spec, tuple(self._refused)
        participants = tuple(node for node in spec.roster if node in self._vectors)
        if len(participants) < spec.floor:
            self._vectors.clear()
            return [Abandoned(spec.number, f"{len(participants)} vectors are below the floor of {spec.floor}", refused)]
        sums = np.zeros(spec.length)
        # One by one in roster order: floating-point sums depend on order, and arrival must not show.
        for node in participants:
            sums += self._vectors[node]
        self._vectors.clear()
        return [Finished(RoundResult(spec.number, LABEL, participants, sums, refused))]


class PlainClient:
    """Answers one invitation with the node's vector. A ``RoundClient``.

    Args:
        vector: float64, shape (length,), entries within [−1, 1].
        policy: digest of the policy that the node holds; empty where it has none.
    """

    def __init__(self, vector: Floats, policy: str) -> None:
        if not (np.abs(vector) <= 1).all():
            raise DataError("an entry of the vector is not a number within [-1, 1]", "build it by local_update")
        self._vector = vector
        self._policy = policy
        self._answered: int | None = None

    def handle(self, data: bytes) -> list[bytes]:
        """See ``RoundClient.handle``; an invitation to a round already answered is not answered again."""
        invitation = from_message(data, Invitation)
        self._check(invitation)
        if invitation.round == self._answered:
            return []
        self._answered = invitation.round
        return [to_message(Contribution(invitation.round, self._policy, self._vector.astype("<f8").tobytes()))]

    def _check(self, invitation: Invitation) -> None:
        if invitation.protocol != LABEL:
            raise DataError(
                f"the round is {invitation.protocol!r}, this node speaks {LABEL!r}", "configure one of them"
            )
        if invitation.length != len(self._vector):
            raise DataError(
                f"the round sums {invitation.length} entries, this node has {len(self._vector)}", "compare catalogues"
            )
        if invitation.policy != self._policy:
            raise DataError(
                f"the round is bound to policy {invitation.policy!r}, this node holds {self._policy!r}",
                "adopt the newest policy, then ask to take part",
            )
