"""A server that can lie about the ring: it builds neighbourhoods of whomever it likes, in whatever order."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import msgspec

from aggregation.rounds import to_message
from aggregation.secure import Encoding, Terms, degrees, smallest_floor
from aggregation.secure.graph import Graph
from aggregation.secure.keys import Signed, sign
from aggregation.secure.merkle import Tree
from aggregation.secure.messages import Advertisement, Neighbourhood, Run, Shown
from aggregation.secure.ring import commitment, order
from aggregation.secure.ring_checks import Place, verify_place
from tests.aggregation.secure.fleet import LENGTH, POLICY, identity, members, names


class Crowd:
    """Members who advertised; what is changed before ``fix`` is under the fixed root, what is changed later is not."""

    def __init__(self, n: int) -> None:
        self.members = members(names(n))
        graph = degrees(n)
        encoding = Encoding(32, 12, 1.0, 1.0, n)
        self.terms = Terms("fed", 7, self.members.digest, POLICY, graph.k, graph.t, LENGTH, smallest_floor(n), encoding)
        self.session = self.terms.session()
        self.nonces = {node: b"" if self.terms.complete else drawn("nonce", node) for node in self.members.ids}
        self.ads = {node: self.ad(node) for node in self.members.ids}
        self.fix()

    def ad(self, node: str, **changes: object) -> Advertisement:
        """An advertisement that its owner signed."""
        keys = drawn("share", node), drawn("mask", node), drawn("seed", node)
        nonce = self.nonces.get(node, bytes(32))
        ad = Advertisement(self.session, node, *keys, commitment(nonce) if nonce else b"", b"")
        ad = msgspec.structs.replace(ad, **changes)
        signature = sign(identity(node), Signed.ADVERTISEMENT, ad.session, ad.body())
        return msgspec.structs.replace(ad, signature=signature)

    def fix(self) -> None:
        """Commit to the advertisements and put their owners in order."""
        self.tree = Tree([to_message(self.ads[node]) for node in self.members.ids])
        self.root = b"" if self.terms.complete else self.tree.root
        self.order = list(self.members.ids if self.terms.complete else order(self.root, self.nonces))

    def shown(self, node: str) -> Shown:
        """A member as an honest server shows it."""
        if self.terms.complete:
            return Shown(self.ads[node], b"", ())
        index = self.members.ids.index(node)
        return Shown(self.ads[node], self.nonces[node], self.tree.prove(index, index + 1))

    def verify(
        self,
        place: int,
        nodes: Sequence[str] | None = None,
        instead: Mapping[str, Shown] | None = None,
        **changes: object,
    ) -> Place:
        """What the client at a place says to a ring of these nodes in this order, some shown otherwise."""
        nodes = nodes or self.order
        ring = [(instead or {}).get(node) or self.shown(node) for node in nodes]
        tree = Tree([one.leaf() for one in ring])
        ranges = Graph(len(ring), self.terms.k).shown(place)
        runs = tuple(
            Run(start, tuple(to_message(one) for one in ring[start:stop]), tree.prove(start, stop))
            for start, stop in ranges
        )
        message = Neighbourhood(self.session, len(ring), place, tree.root, runs)
        message = msgspec.structs.replace(message, **changes)
        return verify_place(message, self.terms, self.members, self.ads[nodes[place]], self.root)


def drawn(what: str, node: str) -> bytes:
    return hashlib.sha256(f"{what}/{node}".encode()).digest()
