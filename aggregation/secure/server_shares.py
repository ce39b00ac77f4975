"""The server's middle steps: sealed shares go from each to each neighbour, and disputes over them are settled."""

from __future__ import annotations

import numpy as np

from aggregation.rounds import Broadcast, Refusal, Send, to_message
from aggregation.secure.disputes import losers
from aggregation.secure.graph import Bits, Bytes, pack, unpack
from aggregation.secure.messages import (
    DIGESTS_BYTES,
    SEALED_BYTES,
    ClientMessage,
    Delivery,
    Receipt,
    Settled,
    Shares,
    check_lengths,
)
from aggregation.secure.server_round import Circle, ServerRound, Step, Turn
from aggregation.secure.server_sum import VectorsStep


class SharesStep(Step):
    """Waits for everyone's sealed shares."""

    kind = Shares
    name = "shares"

    def __init__(self, round_: ServerRound, circle: Circle) -> None:
        super().__init__(circle.index)
        self._round, self._circle = round_, circle
        count, degree = circle.graph.count, circle.graph.degree
        self._sealed: Bytes = np.zeros((count, degree, SEALED_BYTES), np.uint8)
        self._digests: Bytes = np.zeros((count, degree + round_.terms.complete, DIGESTS_BYTES), np.uint8)
        self._sent: Bits = np.zeros(count, np.bool_)

    def take(self, node: str, message: ClientMessage, payload: memoryview) -> None:
        """See ``Step.take``."""
        assert isinstance(message, Shares)
        index = self._circle.index[node]
        sealed, digests = self._sealed[index], self._digests[index]
        check_lengths(sealed=(message.sealed, sealed.nbytes), digests=(message.digests, digests.nbytes))
        sealed.reshape(-1)[:] = np.frombuffer(message.sealed, np.uint8)
        digests.reshape(-1)[:] = np.frombuffer(message.digests, np.uint8)
        self._sent[index] = True

    def close(self) -> Turn:
        """See ``Step.close``."""
        self._round.check_floor(int(self._sent.sum()), "participants")
        senders = np.flatnonzero(self._sent).tolist()
        sends = [Send(self._circle.ads[i].node, self._delivery(i)) for i in senders]
        return Turn(ReceiptsStep(self._round, self._circle, self._sent, self._digests), sends)

    def _delivery(self, index: int) -> bytes:
        graph = self._circle.graph
        return to_message(
            Delivery(
                self._round.session,
                pack(self._sent[graph.neighbours(index)]),
                graph.addressed_to(index, self._sealed).tobytes(),
                graph.addressed_to(index, self._digests).tobytes(),
            )
        )


class ReceiptsStep(Step):
    """Waits for what did not open, so that everyone masks with those alone whose secrets can come back."""

    kind = Receipt
    name = "receipts"

    def __init__(self, round_: ServerRound, circle: Circle, sent: Bits, digests: Bytes) -> None:
        super().__init__(circle.nodes(np.flatnonzero(sent).tolist()))
        self._round, self._circle, self._sent, self._digests = round_, circle, sent, digests
        self._disputes: list[tuple[int, int]] = []

    def take(self, node: str, message: ClientMessage, payload: memoryview) -> None:
        """See ``Step.take``; what was not delivered cannot be complained of."""
        assert isinstance(message, Receipt)
        index, graph = self._circle.index[node], self._circle.graph
        around = graph.neighbours(index)
        unopened = unpack(message.unopened, graph.degree) & self._sent[around]
        self._disputes += [(dealer, index) for dealer in around[unopened].tolist()]

    def close(self) -> Turn:
        """See ``Step.close``."""
        settled: Bits = np.zeros(self._circle.graph.count, np.bool_)
        settled[[self._circle.index[node] for node in self.answered]] = True
        for index in losers(pair for pair in self._disputes if settled[list(pair)].all()):
            settled[index] = False
            self._round.refuse(
                self._circle.ads[index].node,
                Refusal.BAD_SHARE,
                "shares that it dealt, or says were dealt to it, do not open",
            )
        self._round.check_floor(int(settled.sum()), "participants")
        nodes = self._circle.nodes(np.flatnonzero(settled).tolist())
        step = VectorsStep(self._round, self._circle, settled, self._digests)
        return Turn(step, [Broadcast(nodes, to_message(Settled(self._round.session, pack(settled))))])
