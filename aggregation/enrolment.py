"""A node's signed request to take part in a federation: it shows that the node has the key that is to be enrolled."""

from __future__ import annotations

import msgspec

from aggregation.envelope import Distrust, RefusedError, Seal, signing_key
from aggregation.roster import Member, demand_name
from quasim.codec import from_msgpack, to_msgpack
from quasim.errors import DataError


class EnrolmentRefusedError(RefusedError):
    """A request to take part that must not be granted."""


class Enrolment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who asks to take part in what."""

    federation: str
    member: Member

    def __post_init__(self) -> None:
        demand_name("federation", self.federation)


_ENROLMENT = Seal(
    "enrolment",
    1 << 12,
    EnrolmentRefusedError,
    {
        Distrust.MALFORMED: "have the node write it again",
        Distrust.UNTRUSTED_KEY: "have the node sign the request with the key that it wants enrolled",
        Distrust.BAD_SIGNATURE: "do not enrol it; someone changed it on its way",
        Distrust.OTHER_FEDERATION: "check which federation the node asks for",
        Distrust.ROLLBACK: "have the node write it again",
    },
)


def request_enrolment(seed: bytes, federation: str, node: str, cohort: str) -> bytes:
    """A node's signed request to take part under the key of this seed.

    Raises:
        DataError: a name that no roster would hold, or a seed not of 32 bytes.
    """
    key = signing_key(seed)
    member = Member(node, key.public_key().public_bytes_raw(), cohort)
    return _ENROLMENT.sign(key, to_msgpack(Enrolment(federation, member)))


def verify_enrolment(envelope: bytes, *, federation: str) -> Member:
    """Who asks to take part; that the key is really theirs is for people to compare.

    Raises:
        EnrolmentRefusedError: malformed, for another federation, or not signed with the key that it wants enrolled.
    """
    opened = _ENROLMENT.open(envelope)
    try:
        asked = from_msgpack(opened.payload, Enrolment, "enrolment")
    except DataError as error:
        raise _ENROLMENT.refused(Distrust.MALFORMED, error.what) from error
    if asked.federation != federation:
        what = f"node {asked.member.node!r} asks for {asked.federation!r}, not {federation!r}"
        raise _ENROLMENT.refused(Distrust.OTHER_FEDERATION, what)
    if asked.member.public_key != opened.public_key:
        raise _ENROLMENT.refused(Distrust.UNTRUSTED_KEY, f"node {asked.member.node!r} asks with another's key")
    return asked.member
