"""What a client verifies about the participants around it: one small function a check, all raising ``DataError``."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from aggregation.rounds import to_message
from aggregation.secure import merkle
from aggregation.secure.graph import Graph, fraction, is_plausible
from aggregation.secure.keys import Signed, is_signed
from aggregation.secure.members import Members
from aggregation.secure.messages import Advertisement, Neighbourhood, Shown, read
from aggregation.secure.ring import commitment, position
from aggregation.secure.terms import Terms
from quasim.errors import DataError


@dataclass(frozen=True, slots=True)
class Place:
    """Where a client finds itself, once all is verified.

    Attributes:
        root: over the ring.
        neighbours: their advertisements, by slot.
    """

    graph: Graph
    index: int
    root: bytes
    neighbours: tuple[Advertisement, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """What the server says, decoded but not believed.

    Attributes:
        own: the client's advertisement.
        fixed_root: that it was told before it gave away its nonce; empty in the complete graph.
        shown: participants by ring index, ascending.
    """

    message: Neighbourhood
    terms: Terms
    members: Members
    own: Advertisement
    fixed_root: bytes
    graph: Graph
    shown: dict[int, Shown]


def verify_place(
    message: Neighbourhood, terms: Terms, members: Members, own: Advertisement, fixed_root: bytes
) -> Place:
    """The client's place, if everything about it is in order.

    Raises:
        DataError: the first check that fails.
    """
    check_count(message.count, terms)
    graph = Graph(message.count, terms.k)
    check_ranges(message, graph)
    shown = {run.start + i: read(data, Shown) for run in message.runs for i, data in enumerate(run.shown)}
    claim = Claim(message, terms, members, own, fixed_root, graph, shown)
    for check in CHECKS:
        check(claim)
    around = (shown[int(i)].advertisement for i in graph.neighbours(message.index))
    return Place(graph, message.index, message.root, tuple(around))


def check_count(count: int, terms: Terms) -> None:
    """A ring neither larger than the roster nor so small that the corrupt among its members would be too many."""
    if not terms.fewest_placed <= count <= terms.n:
        raise _lie(f"a ring of {count}, not of {terms.fewest_placed} to {terms.n}")


def check_ranges(message: Neighbourhood, graph: Graph) -> None:
    """All that the client must see, and that alone."""
    if not 0 <= message.index < graph.count:
        raise _lie(f"place {message.index} on a ring of {graph.count}")
    ranges = tuple((run.start, run.start + len(run.shown)) for run in message.runs)
    if ranges != graph.shown(message.index):
        raise _lie(f"participants {ranges} are shown, not {graph.shown(message.index)}")


def check_own(claim: Claim) -> None:
    """The client is on the ring as itself."""
    if claim.shown[claim.message.index].advertisement != claim.own:
        raise _lie(f"another than this node has its place {claim.message.index}")


def check_ring_root(claim: Claim) -> None:
    """Who is shown is who the ring's root commits to, at these indices."""
    message = claim.message
    for run in message.runs:
        leaves = [claim.shown[run.start + i].leaf() for i in range(len(run.shown))]
        merkle.verify(message.root, message.count, run.start, leaves, run.proof)


def check_fixed_root(claim: Claim) -> None:
    """Each advertised before anyone's nonce was known, once: its leaf is that of its place in the roster."""
    for shown in () if claim.terms.complete else claim.shown.values():
        leaf, node = to_message(shown.advertisement), shown.advertisement.node
        merkle.verify(claim.fixed_root, claim.terms.n, claim.members.index(node), [leaf], shown.proof)


def check_roster(claim: Claim) -> None:
    """Members alone."""
    for shown in claim.shown.values():
        claim.members.index(shown.advertisement.node)


def check_distinct(claim: Claim) -> None:
    """No key twice; no participant is, since nobody shares its place in roster or order."""
    ads = [shown.advertisement for shown in claim.shown.values()]
    if len({key for ad in ads for key in (ad.share_key, ad.mask_key)}) < 2 * len(ads):
        raise _lie("a key is shown twice")


def check_nonces(claim: Claim) -> None:
    """Each lies where its commitment put it."""
    for shown in () if claim.terms.complete else claim.shown.values():
        if commitment(shown.nonce) != shown.advertisement.nonce_commitment:
            raise _lie(f"the nonce of {shown.advertisement.node} is not the one it committed to")


def check_order(claim: Claim) -> None:
    """Everyone is where its position puts it, among those shown."""
    places = [_position(claim, i) for i in sorted(claim.shown)]
    if not all(a < b for a, b in pairwise(places)):
        raise _lie("participants are not in the order of their positions")


def check_rank(claim: Claim) -> None:
    """As many lie before the client as chance puts there: nobody was invented or hidden by the hundred elsewhere."""
    index, others = claim.message.index, claim.graph.count - 1
    if not claim.terms.complete and not is_plausible(index, others, fraction(_position(claim, index))):
        raise _lie(f"place {index} among {others + 1} is not where this node's position can lie")


def check_density(claim: Claim) -> None:
    """The neighbours lie as close as chance lets them: the honest between them were not left out."""
    graph, half = claim.graph, claim.graph.degree // 2
    if claim.terms.complete or graph.degree == graph.count - 1:
        return
    steps = (claim.message.index + step for step in (-half, 0, half))
    first, own, last = (fraction(_position(claim, i % graph.count)) for i in steps)
    for start, stop, near in ((first, last, graph.degree), (first, own, half), (own, last, half)):
        arc = (stop - start) % 1
        if not is_plausible(near, graph.count - 1, arc):
            raise _lie(f"{near} neighbours of {graph.count} on {arc:.2g} of the ring")


def check_signatures(claim: Claim) -> None:
    """Those the client shares with signed their keys, for this round."""
    session = claim.message.session
    for i in claim.graph.neighbours(claim.message.index):
        ad = claim.shown[int(i)].advertisement
        if not is_signed(claim.members.keys[ad.node], Signed.ADVERTISEMENT, session, ad.body(), ad.signature):
            raise _lie(f"the keys of {ad.node} do not bear its signature")


CHECKS = (
    check_roster,
    check_own,
    check_distinct,
    check_ring_root,
    check_fixed_root,
    check_nonces,
    check_order,
    check_rank,
    check_density,
    check_signatures,
)


def _position(claim: Claim, index: int) -> bytes:
    shown = claim.shown[index]
    node = shown.advertisement.node
    return node.encode() if claim.terms.complete else position(claim.fixed_root, node, shown.nonce)


def _lie(what: str) -> DataError:
    return DataError(what, "answer nothing more in this round")
