"""The aggregator's side of secure aggregation: one step after the other, and no message can make it raise."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from aggregation.rounds import (
    Abandoned,
    Broadcast,
    Dropouts,
    Event,
    Finished,
    Instruction,
    MessageArrived,
    Opened,
    Refusal,
    Refused,
    RoundSpec,
    Send,
    to_message,
)
from aggregation.secure.degrees import degrees
from aggregation.secure.encoding import Encoding
from aggregation.secure.keys import KEY_BYTES, Signed, public_bytes, sign
from aggregation.secure.members import Members
from aggregation.secure.messages import (
    Advertisement,
    ClientMessage,
    Consent,
    Masked,
    Nonce,
    Opening,
    Receipt,
    Revealed,
    Shares,
    read_client,
)
from aggregation.secure.server_ring import KeysStep
from aggregation.secure.server_round import HopelessError, ServerRound, Step, Turn, UnfitError
from aggregation.secure.terms import Terms, smallest_floor
from quasim.errors import DataError

_KINDS = (Advertisement, Nonce, Shares, Receipt, Masked, Consent, Revealed)


class SecureServer:
    """Learns the sum of the vectors of those who stay, and nothing else. A ``RoundServer``.

    It keeps no secret beyond its key of the round, and nothing durable: one that is built again opens a new number.

    Args:
        spec: the nodes to ask; they are among the members.
        members: of the group, whose number decides on neighbours and threshold.
        encoding: that the fleet agreed on, for as many participants as there are members.
        identity: Ed25519 private key, whose public key the roster pins.
        entropy: gives so many unpredictable bytes.

    Raises:
        DataError: a node that is no member, a key that is not pinned, an encoding for another number.
    """

    def __init__(
        self,
        spec: RoundSpec,
        members: Members,
        encoding: Encoding,
        identity: Ed25519PrivateKey,
        *,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        for node in spec.roster:
            members.index(node)
        if members.server_key != identity.public_key().public_bytes_raw():
            raise DataError("the server's key is not the one in the roster", "use the key of this federation's server")
        members.check_participants(encoding.participants)
        self._spec, self._members, self._encoding, self._identity = spec, members, encoding, identity
        self._invited, self._entropy = frozenset(spec.roster), entropy
        self._session = b""
        self._step: Step | None = None
        self._over = False
        self._refused: list[Refused] = []
        self._dropouts: list[Dropouts] = []
        self._received = self._sent = 0

    def handle(self, event: Event) -> Sequence[Instruction]:
        """See ``RoundServer.handle``."""
        if isinstance(event, Opened):
            return self._open()
        if isinstance(event, MessageArrived):
            return self._take(event)
        return self._advance(self._step) if self._step else []

    def _open(self) -> Sequence[Instruction]:
        spec, n = self._spec, len(self._members.ids)
        floor = max(spec.floor, self._members.floor, smallest_floor(n))
        if len(spec.roster) < floor:
            return self._end(f"{len(spec.roster)} nodes are below the floor of {floor}")
        terms = self._terms(floor)
        key = X25519PrivateKey.from_private_bytes(self._entropy(KEY_BYTES))
        self._session = terms.session()
        round_ = ServerRound(terms, self._session, self._members, spec.roster, key, self._refused)
        signature = sign(self._identity, Signed.OPENING, self._session, public_bytes(key))
        opening = to_message(Opening(terms, public_bytes(key), signature))
        return self._go_on(Turn(KeysStep(round_), [Broadcast(spec.roster, opening)]))

    def _terms(self, floor: int) -> Terms:
        spec, members = self._spec, self._members
        graph = degrees(len(members.ids))
        return Terms(
            members.federation,
            spec.number,
            members.digest,
            spec.policy,
            graph.k,
            graph.t,
            spec.length,
            floor,
            self._encoding,
        )

    def _take(self, event: MessageArrived) -> Sequence[Instruction]:
        try:
            step = self._accept(event)
        except (UnfitError, DataError) as error:
            reason = error.reason if isinstance(error, UnfitError) else Refusal.MALFORMED
            self._refused.append(Refused(event.node, reason, str(error)))
            return self._refused[-1:]
        self._received += len(event.data)
        return [] if step.waiting else self._advance(step)

    def _accept(self, event: MessageArrived) -> Step:
        """Give a message to the step that waits for it."""
        self._check_sender(event.node)
        message, payload = read_client(event.data)
        self._check_session(message)
        step = self._check_turn(event.node, message)
        step.accept(event.node, message, payload)
        return step

    def _check_sender(self, node: str) -> None:
        if node not in self._invited:
            raise UnfitError(Refusal.FOREIGN, f"{node} is not in the roster of round {self._spec.number}")
        if self._over:
            raise UnfitError(Refusal.LATE, f"round {self._spec.number} is over")

    def _check_session(self, message: ClientMessage) -> None:
        if message.session != self._session:
            raise UnfitError(Refusal.OTHER_ROUND, f"a message of another session in round {self._spec.number}")

    def _check_turn(self, node: str, message: ClientMessage) -> Step:
        step, kind = self._step, type(message)
        assert step is not None, "a session id is known to nobody before the opening"
        if node in step.answered and kind is step.kind:
            raise UnfitError(Refusal.DUPLICATE, f"{node} answered before; the first counts")
        if _KINDS.index(kind) > _KINDS.index(step.kind):
            raise UnfitError(Refusal.MALFORMED, f"{kind.__name__} before its turn")
        if kind is not step.kind or node not in step.waiting:
            raise UnfitError(Refusal.LATE, f"{kind.__name__} of {node} after the round went on without it")
        return step

    def _advance(self, step: Step) -> Sequence[Instruction]:
        """Close a step with those who answered, and begin the next."""
        known = len(self._refused)
        try:
            turn = step.close()
        except HopelessError as error:
            self._note_lost(step, None)
            instructions = self._end(str(error))
        else:
            self._note_lost(step, turn.step)
            instructions = self._go_on(turn)
        return [*self._refused[known:], *instructions]

    def _note_lost(self, step: Step, following: Step | None) -> None:
        stay = following.waiting if following else step.answered
        if lost := (step.waiting | step.answered) - stay:
            self._dropouts.append(Dropouts(step.name, tuple(sorted(lost))))

    def _go_on(self, turn: Turn) -> Sequence[Instruction]:
        self._step, self._over = turn.step, turn.step is None
        for instruction in turn.instructions:
            self._sent += _size(instruction)
        return [self._completed(one) if isinstance(one, Finished) else one for one in turn.instructions]

    def _completed(self, finished: Finished) -> Finished:
        return Finished(
            replace(
                finished.result,
                refused=tuple(self._refused),
                dropouts=tuple(self._dropouts),
                received_bytes=self._received,
                sent_bytes=self._sent,
            )
        )

    def _end(self, reason: str) -> Sequence[Instruction]:
        self._step, self._over = None, True
        return [Abandoned(self._spec.number, reason, tuple(self._refused), tuple(self._dropouts))]


def _size(instruction: Instruction) -> int:
    """Bytes that go out."""
    if isinstance(instruction, Broadcast):
        return len(instruction.nodes) * len(instruction.data)
    return len(instruction.data) if isinstance(instruction, Send) else 0
