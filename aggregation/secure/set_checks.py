"""What a client verifies about U2, U3 and consents before it masks, signs or reveals; all raise ``DataError``."""

from __future__ import annotations

import numpy as np

from aggregation.secure.graph import Bits
from aggregation.secure.keys import SIGNATURE_BYTES, Signed, is_signed
from aggregation.secure.members import Members
from aggregation.secure.messages import check_lengths
from aggregation.secure.ring_checks import Place
from aggregation.secure.terms import Terms
from quasim.errors import DataError


def check_set(members: Bits, place: Place, terms: Terms) -> None:
    """A set that the client is in, of at least the floor, with at least the quorum of its neighbours."""
    check_belongs(members, place)
    check_floor(members, terms)
    check_quorum(members, place, terms)
    check_sides(members, place, terms)


def check_belongs(members: Bits, place: Place) -> None:
    """The client itself is in it: others' masks in its vector would never be known otherwise."""
    if not members[place.index]:
        raise _lie("a set without this node was sent to it")


def check_floor(members: Bits, terms: Terms) -> None:
    """No sum of fewer than the floor."""
    if int(members.sum()) < terms.floor:
        raise _lie(f"a set of {int(members.sum())} is below the floor of {terms.floor}")


def check_quorum(members: Bits, place: Place, terms: Terms) -> None:
    """No vector with so few neighbours that the corrupt among them could unmask it."""
    around = int(members[place.graph.neighbours(place.index)].sum())
    if around < terms.quorum:
        raise _lie(f"{around} neighbours are left, {terms.quorum} are needed")


def check_sides(members: Bits, place: Place, terms: Terms) -> None:
    """No side so empty that the corrupt alone could join the client to the rest of the ring."""
    graph = place.graph
    left, right = members[graph.neighbours(place.index)][: graph.degree // 2 * 2].reshape(2, -1).sum(axis=1).tolist()
    if min(left, right) < terms.side_quorum:
        raise _lie(f"{left} neighbours before and {right} after are left, {terms.side_quorum} are needed on each side")


def check_opened(members: Bits, opened: Bits, place: Place) -> None:
    """Nobody to mask with whose shares the client does not hold."""
    if (members[place.graph.neighbours(place.index)] & ~opened).any():
        raise _lie("a neighbour is kept whose shares did not open")


def check_subset(survivors: Bits, settled: Bits) -> None:
    """Nobody survives who was not there."""
    if (survivors & ~settled).any():
        raise _lie("survivors who did not take part")


def check_consents(
    signatures: bytes, body: bytes, session: bytes, survivors: Bits, place: Place, members: Members, quorum: int
) -> None:
    """A quorum of surviving neighbours signed what this node signed: all were told the same."""
    check_lengths(signatures=(signatures, SIGNATURE_BYTES * place.graph.degree))
    valid = 0
    for slot in np.flatnonzero(survivors[place.graph.neighbours(place.index)]).tolist():
        if valid == quorum:
            return
        signature = signatures[SIGNATURE_BYTES * slot : SIGNATURE_BYTES * (slot + 1)]
        public = members.keys[place.neighbours[slot].node]
        valid += any(signature) and is_signed(public, Signed.CONSENT, session, body, signature)
    if valid < quorum:
        raise _lie(f"{valid} neighbours agree on who survived, {quorum} must")


def _lie(what: str) -> DataError:
    return DataError(what, "answer nothing more in this round")
