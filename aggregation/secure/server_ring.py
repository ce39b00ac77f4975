"""The server's first steps: keys come in, the participants are fixed, and everyone gets a place among neighbours."""

from __future__ import annotations

from collections.abc import Mapping

from aggregation.rounds import Broadcast, Refusal, Send, to_message
from aggregation.secure.graph import Graph
from aggregation.secure.keys import Signed, is_signed, is_usable
from aggregation.secure.merkle import Tree
from aggregation.secure.messages import (
    Advertisement,
    ClientMessage,
    Fixed,
    Neighbourhood,
    Nonce,
    Run,
    Shown,
    check_lengths,
)
from aggregation.secure.ring import commitment, order
from aggregation.secure.server_round import Circle, HopelessError, ServerRound, Step, Turn, UnfitError
from aggregation.secure.server_shares import SharesStep
from aggregation.secure.terms import DIGEST_BYTES


class KeysStep(Step):
    """Waits for everyone's advertisement."""

    kind = Advertisement
    name = "keys"

    def __init__(self, round_: ServerRound) -> None:
        super().__init__(round_.invited)
        self._round = round_
        self._ads: dict[str, Advertisement] = {}
        self._keys: set[bytes] = set()

    def take(self, node: str, message: ClientMessage, payload: memoryview) -> None:
        """See ``Step.take``."""
        assert isinstance(message, Advertisement)
        nonce_bytes = 0 if self._round.terms.complete else DIGEST_BYTES
        check_lengths(
            seed_commitment=(message.seed_commitment, DIGEST_BYTES),
            nonce_commitment=(message.nonce_commitment, nonce_bytes),
        )
        self._check_sender(node, message)
        self._check_keys(message)
        self._check_signature(message)
        self._ads[node] = message
        self._keys |= {message.share_key, message.mask_key}

    def close(self) -> Turn:
        """See ``Step.close``."""
        self._round.check_floor(len(self._ads), "participants")
        if self._round.terms.complete:
            return seat(self._round, {node: Shown(ad, b"", ()) for node, ad in sorted(self._ads.items())}, b"")
        leaves = {node: to_message(self._ads[node]) if node in self._ads else b"" for node in self._round.members.ids}
        tree = Tree(list(leaves.values()))
        fixed = to_message(Fixed(self._round.session, tree.root))
        return Turn(NoncesStep(self._round, self._ads, tree), [Broadcast(tuple(sorted(self._ads)), fixed)])

    def _check_sender(self, node: str, ad: Advertisement) -> None:
        if ad.node != node:
            raise UnfitError(Refusal.BAD_KEY, f"keys of {ad.node!r} from {node}")

    def _check_keys(self, ad: Advertisement) -> None:
        if ad.share_key == ad.mask_key or not self._keys.isdisjoint({ad.share_key, ad.mask_key}):
            raise UnfitError(Refusal.BAD_KEY, "a key that was advertised before")
        if not (is_usable(ad.share_key) and is_usable(ad.mask_key)):
            raise UnfitError(Refusal.BAD_KEY, "a key that no secret can be agreed with")

    def _check_signature(self, ad: Advertisement) -> None:
        public = self._round.members.keys[ad.node]
        if not is_signed(public, Signed.ADVERTISEMENT, ad.session, ad.body(), ad.signature):
            raise UnfitError(Refusal.BAD_SIGNATURE, "the keys do not bear the signature of the pinned identity")


class NoncesStep(Step):
    """Waits for the nonces that give everyone a place on the ring; only above the complete graph."""

    kind = Nonce
    name = "nonces"

    def __init__(self, round_: ServerRound, ads: Mapping[str, Advertisement], fixed: Tree) -> None:
        super().__init__(ads)
        self._round, self._ads, self._fixed = round_, ads, fixed
        self._nonces: dict[str, bytes] = {}

    def take(self, node: str, message: ClientMessage, payload: memoryview) -> None:
        """See ``Step.take``."""
        assert isinstance(message, Nonce)
        if commitment(message.nonce) != self._ads[node].nonce_commitment:
            raise UnfitError(Refusal.BAD_KEY, "not the nonce that was committed to")
        self._nonces[node] = message.nonce

    def close(self) -> Turn:
        """See ``Step.close``."""
        if len(self._nonces) < self._round.terms.fewest_placed:
            raise HopelessError(f"a ring of {len(self._nonces)}, it needs {self._round.terms.fewest_placed}")
        places = order(self._fixed.root, self._nonces)
        return seat(self._round, {node: self._show(node) for node in places}, self._fixed.root)

    def _show(self, node: str) -> Shown:
        index = self._round.members.index(node)
        return Shown(self._ads[node], self._nonces[node], self._fixed.prove(index, index + 1))


def seat(round_: ServerRound, shown: Mapping[str, Shown], fixed_root: bytes) -> Turn:
    """Give the participants their places in this order, and show each who is around it."""
    tree = Tree([one.leaf() for one in shown.values()])
    graph = Graph(len(shown), round_.terms.k)
    circle = Circle(
        tuple(one.advertisement for one in shown.values()),
        graph,
        fixed_root,
        tree.root,
        {node: i for i, node in enumerate(shown)},
    )
    written = [to_message(one) for one in shown.values()]

    def neighbourhood(index: int) -> bytes:
        runs = (Run(start, tuple(written[start:stop]), tree.prove(start, stop)) for start, stop in graph.shown(index))
        return to_message(Neighbourhood(round_.session, graph.count, index, tree.root, tuple(runs)))

    sends = [Send(node, neighbourhood(i)) for node, i in circle.index.items()]
    return Turn(SharesStep(round_, circle), sends)
