"""Who may take part in a federation's rounds: a list signed by a root key that is kept offline.

Without it a server could invent participants and subtract what they sent. Cohorts are part of it and so are fixed for
an epoch: the difference of two sums would show what a node gave that joined between them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from itertools import pairwise

import msgspec

from aggregation.envelope import Distrust, RefusedError, Seal, signing_key
from quasim.codec import from_msgpack, to_msgpack
from quasim.errors import DataError

FORMAT = 1

MAX_PAYLOAD = 1 << 24
"""Largest roster that is decoded, in bytes (16 MiB): 10,000 members take about 1 MiB."""

KEY_BYTES = 32
"""Of an Ed25519 key, public or seed."""

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")
"""Names also become folders, so that nothing else is let in."""


class RosterRefusedError(RefusedError):
    """A roster that must not be accepted."""


def _demand(holds: bool, what: str, do: str = "ask the holder of the federation's root key for its newest") -> None:
    if not holds:
        raise DataError(what, do)


def demand_name(kind: str, name: str) -> None:
    """Refuse a name that no roster would hold.

    Args:
        kind: what it names, for the message.

    Raises:
        DataError: with what a name looks like.
    """
    what = f"{kind} {name!r} is not a name of up to 128 letters, digits, dots, dashes and underscores"
    _demand(bool(_NAME.fullmatch(name)), what, "begin and end it with a letter or digit")


def _demand_key(whose: str, key: bytes) -> None:
    what = f"the public key of {whose} has {len(key)} bytes"
    _demand(len(key) == KEY_BYTES, what, f"give the {KEY_BYTES} bytes of an Ed25519 key")


class Member(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A node that may take part.

    Attributes:
        node: its id.
        public_key: raw Ed25519 key that its messages are signed with.
        cohort: device family or owner, fixed for an epoch; each has canaries of its own that try new policies.
    """

    node: str
    public_key: bytes
    cohort: str

    def __post_init__(self) -> None:
        demand_name("node", self.node)
        demand_name("cohort", self.cohort)
        _demand_key(f"node {self.node!r}", self.public_key)


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The weakest round that a member takes part in; a server that offers less is refused.

    Attributes:
        participants: fewest that a round may open with.
        threshold_percent: least share of a node's neighbours that must agree to an unmasking, in [51, 100]: with half
            of them or less, a server that tells two stories could have a node's seed and its key.
        floor: fewest survivors that a sum may be made of.
    """

    participants: int
    threshold_percent: int
    floor: int

    def __post_init__(self) -> None:
        do = "use 1 <= floor <= participants and a threshold of 51 to 100 %"
        what = f"limits of {self.participants} participants and floor {self.floor}"
        _demand(1 <= self.floor <= self.participants, what, do)
        _demand(51 <= self.threshold_percent <= 100, f"a threshold of {self.threshold_percent} % of neighbours", do)


class Roster(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One epoch of a federation.

    Attributes:
        federation: id that rounds and policies carry.
        epoch: from 1, strictly increasing.
        server: raw Ed25519 public key of the one aggregator whose rounds members answer.
        limits: the weakest round that they answer.
        members: in ascending order of node id; no id and no key stands twice.

    Raises:
        DataError: any of this does not hold.
    """

    format: int = FORMAT
    federation: str
    epoch: int
    server: bytes
    limits: Limits
    members: tuple[Member, ...]

    def __post_init__(self) -> None:
        _demand(self.format == FORMAT, f"roster format {self.format} is not {FORMAT}")
        demand_name("federation", self.federation)
        _demand(self.epoch >= 1, f"roster epoch {self.epoch} is below 1")
        _demand_key("the server", self.server)
        ascending = all(a.node < b.node for a, b in pairwise(self.members))
        _demand(ascending, "a node stands twice in the roster, or its nodes are out of order")
        keys = {self.server, *(member.public_key for member in self.members)}
        _demand(len(keys) == 1 + len(self.members), "two nodes of the roster, or a node and the server, share a key")

    def payload(self) -> bytes:
        """Canonical MessagePack; equal rosters have equal bytes."""
        return to_msgpack(self)

    def digest(self) -> bytes:
        """SHA-256 of the payload, which every round of the epoch is bound to."""
        return hashlib.sha256(self.payload()).digest()

    @property
    def keys(self) -> dict[str, bytes]:
        """Public key of each member by node id, ascending."""
        return {member.node: member.public_key for member in self.members}

    @property
    def cohorts(self) -> dict[str, tuple[str, ...]]:
        """Nodes of each cohort, both ascending."""
        names = sorted({member.cohort for member in self.members})
        return {name: tuple(member.node for member in self.members if member.cohort == name) for name in names}

    def next_epoch(self, *, enrol: Sequence[Member] = (), remove: Sequence[str] = ()) -> Roster:
        """The roster after this one. A member that is enrolled again gets the new key and cohort.

        Raises:
            DataError: a node to remove is not a member, or a key is another's already.
        """
        members = {member.node: member for member in self.members}
        for node in remove:
            what = f"node {node!r} is not in epoch {self.epoch} of {self.federation!r}"
            _demand(members.pop(node, None) is not None, what, "name a member")
        members |= {member.node: member for member in enrol}
        ordered = tuple(members[node] for node in sorted(members))
        return msgspec.structs.replace(self, epoch=self.epoch + 1, members=ordered)


_ROSTER = Seal(
    "roster",
    MAX_PAYLOAD,
    RosterRefusedError,
    {
        Distrust.MALFORMED: "ask the holder of the federation's root key for its newest",
        Distrust.UNTRUSTED_KEY: "check which federation's root key this site pinned",
        Distrust.BAD_SIGNATURE: "do not use it; someone changed it on its way",
        Distrust.OTHER_FEDERATION: "check the node's federation id",
        Distrust.ROLLBACK: "keep the roster that the site has",
    },
)


def sign_roster(root_seed: bytes, roster: Roster) -> bytes:
    """The envelope of a roster; equal rosters give equal bytes.

    Raises:
        DataError: the seed is not of 32 bytes.
    """
    return _ROSTER.sign(signing_key(root_seed), roster.payload())


def verify_roster(envelope: bytes, *, root: bytes, federation: str | None, newer_than: int) -> Roster:
    """The roster in an envelope, once everything about it is in order.

    Args:
        root: raw public key of the federation's root, which this site pinned.
        federation: id that it must be of; None for any that this root signs.
        newer_than: epoch that the site holds; 0 where it has none, or when reading its own again.

    Raises:
        RosterRefusedError: (a ``TrustError``) with the reason.
    """
    roster = _roster(_ROSTER.open(envelope, root).payload)
    if federation is not None and roster.federation != federation:
        what = f"the roster is of {roster.federation!r}, not {federation!r}"
        raise _ROSTER.refused(Distrust.OTHER_FEDERATION, what)
    if roster.epoch <= newer_than:
        raise _ROSTER.refused(Distrust.ROLLBACK, f"roster epoch {roster.epoch} is not newer than {newer_than}")
    return roster


def inspect_roster(envelope: bytes) -> tuple[Roster, bytes]:
    """The roster in an envelope and the public key whose signature it bears. Says nothing about trust.

    Raises:
        RosterRefusedError: it is malformed, or the signature is not of that key.
    """
    opened = _ROSTER.open(envelope)
    return _roster(opened.payload), opened.public_key


def _roster(payload: bytes) -> Roster:
    try:
        roster = from_msgpack(payload, Roster, "roster")
    except DataError as error:
        raise _ROSTER.refused(Distrust.MALFORMED, error.what) from error
    if roster.payload() != payload:
        raise _ROSTER.refused(Distrust.MALFORMED, "the roster is not in canonical form")
    return roster
