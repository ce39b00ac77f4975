"""The server's last steps: masked vectors are added up, survivors agree on who they are, and the masks come off."""

from __future__ import annotations

import numpy as np

from aggregation.rounds import Broadcast, Finished, Refusal, RoundResult, Send, to_message
from aggregation.secure.graph import Bits, Bytes, pack
from aggregation.secure.keys import SIGNATURE_BYTES, Purpose, Signed, derive, exchange, fingerprint, is_signed
from aggregation.secure.messages import (
    SHARE_BYTES,
    ClientMessage,
    Consent,
    Masked,
    Revealed,
    Survivors,
    Unmask,
    check_lengths,
    statement,
)
from aggregation.secure.server_round import Circle, HopelessError, ServerRound, Step, Turn, UnfitError
from aggregation.secure.unmasking import MaskedSum, Recovery, remove_masks
from quasim.errors import DataError

LABEL = "secure: the aggregator sees the sum alone"


class VectorsStep(Step):
    """Waits for masked vectors; of these it keeps the sum alone."""

    kind = Masked
    name = "vectors"

    def __init__(self, round_: ServerRound, circle: Circle, settled: Bits, digests: Bytes) -> None:
        super().__init__(circle.nodes(np.flatnonzero(settled).tolist()))
        self._round, self._circle = round_, circle
        kind = np.uint32 if round_.terms.encoding.ring_bits == 32 else np.uint64
        total = np.zeros(round_.terms.length + 1, kind)
        self._sum = MaskedSum(settled, np.zeros_like(settled), digests, total)

    def take(self, node: str, message: ClientMessage, payload: memoryview) -> None:
        """See ``Step.take``."""
        assert isinstance(message, Masked)
        index, total = self._circle.index[node], self._sum.total
        if len(payload) != total.nbytes:
            raise UnfitError(Refusal.WRONG_LENGTH, f"a vector of {len(payload)} bytes, not {total.nbytes}")
        self._check_signature(node, message)
        self._check_fingerprint(index, message, payload)
        total += np.frombuffer(payload, total.dtype.newbyteorder("<"))
        self._sum.survivors[index] = True

    def close(self) -> Turn:
        """See ``Step.close``."""
        survivors = self._sum.survivors
        self._round.check_floor(int(survivors.sum()), "vectors")
        step = ConsentsStep(self._round, self._circle, self._sum)
        return Turn(
            step, [Broadcast(tuple(sorted(step.waiting)), to_message(Survivors(self._round.session, pack(survivors))))]
        )

    def _check_signature(self, node: str, message: Masked) -> None:
        public = self._round.members.keys[node]
        if not is_signed(public, Signed.MASKED, self._round.session, message.fingerprint, message.signature):
            raise UnfitError(Refusal.BAD_SIGNATURE, "the vector does not bear its sender's signature")

    def _check_fingerprint(self, index: int, message: Masked, payload: memoryview) -> None:
        ad = self._circle.ads[index]
        secret = exchange(self._round.round_key, ad.share_key)
        if fingerprint(derive(secret, Purpose.VECTOR, self._round.session, ad.node), payload) != message.fingerprint:
            raise UnfitError(Refusal.BAD_SIGNATURE, "not the vector that its sender signed")


class ConsentsStep(Step):
    """Waits for signatures over what the survivors were told."""

    kind = Consent
    name = "consents"

    def __init__(self, round_: ServerRound, circle: Circle, masked: MaskedSum) -> None:
        super().__init__(circle.nodes(np.flatnonzero(masked.survivors).tolist()))
        self._round, self._circle, self._sum = round_, circle, masked
        told = pack(masked.settled), pack(masked.survivors)
        self._statement = statement(circle.fixed_root, circle.root, circle.graph.count, *told)
        self._signatures: Bytes = np.zeros((circle.graph.count, SIGNATURE_BYTES), np.uint8)

    def take(self, node: str, message: ClientMessage, payload: memoryview) -> None:
        """See ``Step.take``."""
        assert isinstance(message, Consent)
        public = self._round.members.keys[node]
        if not is_signed(public, Signed.CONSENT, self._round.session, self._statement, message.signature):
            raise UnfitError(Refusal.BAD_SIGNATURE, "no consent to who survived")
        self._signatures[self._circle.index[node]] = np.frombuffer(message.signature, np.uint8)

    def close(self) -> Turn:
        """See ``Step.close``."""
        self._check_helpers()
        sends = [Send(node, self._unmask(self._circle.index[node])) for node in sorted(self.answered)]
        return Turn(RevealedStep(self._round, self._circle, self._sum, self.answered), sends)

    def _check_helpers(self) -> None:
        """End the round where no secret could come back."""
        count, fewest = len(self.answered), self._round.terms.fewest
        if count < fewest:
            raise HopelessError(f"{count} survivors help to unmask, {fewest} must")

    def _unmask(self, index: int) -> bytes:
        around = self._circle.graph.neighbours(index)
        return to_message(Unmask(self._round.session, self._signatures[around].tobytes()))


class RevealedStep(Step):
    """Waits for shares of the survivors' seeds and of the others' mask keys; the last step."""

    kind = Revealed
    name = "unmasking"

    def __init__(self, round_: ServerRound, circle: Circle, masked: MaskedSum, helpers: set[str]) -> None:
        super().__init__(helpers)
        self._round, self._circle, self._sum = round_, circle, masked
        holders = circle.graph.degree + round_.terms.complete
        self._shares: Bytes = np.zeros((circle.graph.count, holders, SHARE_BYTES), np.uint8)
        self._helped: Bits = np.zeros(circle.graph.count, np.bool_)

    def take(self, node: str, message: ClientMessage, payload: memoryview) -> None:
        """See ``Step.take``."""
        assert isinstance(message, Revealed)
        shares = self._shares[self._circle.index[node]]
        check_lengths(shares=(message.shares, shares.nbytes))
        shares.reshape(-1)[:] = np.frombuffer(message.shares, np.uint8)
        self._helped[self._circle.index[node]] = True

    def close(self) -> Turn:
        """See ``Step.close``."""
        recovery = Recovery(self._round, self._circle, self._sum, self._shares, self._helped)
        secrets = {index: recovery.secret(index) for index in np.flatnonzero(self._sum.settled).tolist()}
        remove_masks(self._sum, secrets, self._circle, self._round.session)
        return Turn(None, [Finished(self._result())])

    def _result(self) -> RoundResult:
        round_ = self._round
        try:
            sums, weight = round_.terms.encoding.decode(self._sum.total)
        except DataError as error:
            raise HopelessError(error.what) from error
        participants = tuple(sorted(self._circle.nodes(np.flatnonzero(self._sum.survivors).tolist())))
        return RoundResult(round_.terms.number, LABEL, participants, sums, tuple(round_.refused), weight)
