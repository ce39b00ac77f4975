"""The messages of a round in canonical MessagePack; all carry the session id; a vector travels behind its header."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from aggregation.rounds import to_message
from aggregation.secure.keys import SIGNATURE_BYTES, TAG_BYTES
from aggregation.secure.terms import DIGEST_BYTES, Terms
from quasim.codec import from_msgpack, to_msgpack
from quasim.errors import DataError

SHARE_BYTES = 32
PLAIN_BYTES = 2 * SHARE_BYTES
"""Of a seed share and a key share."""
SEALED_BYTES = PLAIN_BYTES + TAG_BYTES
DIGESTS_BYTES = 2 * DIGEST_BYTES
"""Of the digests of a seed share and a key share."""


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type"):
    """What all messages have."""

    session: bytes

    def __post_init__(self) -> None:
        if len(self.session) != DIGEST_BYTES:
            raise DataError(f"a session id of {len(self.session)} bytes", "use the SHA-256 of the terms")


class Opening(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="opening"):
    """Server to all: the terms of a round and the server's X25519 key for it, signed."""

    terms: Terms
    round_key: bytes
    signature: bytes


class Advertisement(Message, frozen=True, tag="advertisement"):
    """Client: two fresh X25519 keys and two commitments, signed.

    Attributes:
        nonce_commitment: to the nonce of its place on the ring; empty in the complete graph.
        signature: over ``body()``.
    """

    node: str
    share_key: bytes
    mask_key: bytes
    seed_commitment: bytes
    nonce_commitment: bytes
    signature: bytes

    def body(self) -> bytes:
        """What is signed."""
        return to_msgpack([self.node, self.share_key, self.mask_key, self.seed_commitment, self.nonce_commitment])


class Fixed(Message, frozen=True, tag="fixed"):
    """Server to all: Merkle root over the advertisement of each member in roster order, empty for the absent."""

    root: bytes


class Nonce(Message, frozen=True, tag="nonce"):
    """Client: the nonce it committed to, now that nobody can advertise any more."""

    nonce: bytes


class Shown(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A participant as it is shown to others.

    Attributes:
        nonce: empty in the complete graph.
        proof: that the advertisement is under the fixed root; empty in the complete graph.
    """

    advertisement: Advertisement
    nonce: bytes
    proof: tuple[bytes, ...]

    def leaf(self) -> bytes:
        """What the ring's Merkle tree is made of; the nonce has a fixed length."""
        return to_message(self.advertisement) + self.nonce


class Run(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Participants that follow one another on the ring.

    Attributes:
        start: index of the first.
        shown: encoded ``Shown`` of each.
        proof: that they are under the ring's root.
    """

    start: int
    shown: tuple[bytes, ...]
    proof: tuple[bytes, ...]


class Neighbourhood(Message, frozen=True, tag="neighbourhood"):
    """Server to each: its place among the participants, and those around it (or all of them).

    Attributes:
        count: participants on the ring.
        index: the receiver's.
        root: Merkle root over the participants in ring order.
    """

    count: int
    index: int
    root: bytes
    runs: tuple[Run, ...]


class Shares(Message, frozen=True, tag="shares"):
    """Client: for each neighbour by slot a share of its seed and one of its mask key.

    Attributes:
        sealed: one ciphertext a neighbour.
        digests: of both shares, one pair a holder: neighbours by slot and, in the complete graph, the client itself.
    """

    sealed: bytes
    digests: bytes


class Delivery(Message, frozen=True, tag="delivery"):
    """Server to each: what its neighbours sealed for it, by slot.

    Attributes:
        present: bits by slot; the parts of the others are zeros.
    """

    present: bytes
    sealed: bytes
    digests: bytes


class Receipt(Message, frozen=True, tag="receipt"):
    """Client: the slots whose delivery did not open, as bits."""

    unopened: bytes


class Settled(Message, frozen=True, tag="settled"):
    """Server to each of them: U2, the participants who mask with one another, as bits by ring index."""

    members: bytes


class Masked(Message, frozen=True, tag="masked"):
    """Client: header before its masked vector's little-endian bytes.

    Attributes:
        fingerprint: of the vector.
        signature: over the fingerprint.
    """

    fingerprint: bytes
    signature: bytes


class Survivors(Message, frozen=True, tag="survivors"):
    """Server to each of them: U3, those whose vectors are in the sum, as bits by ring index."""

    survivors: bytes


class Consent(Message, frozen=True, tag="consent"):
    """Client: signature over the participants, U2 and U3 as it was told them."""

    signature: bytes


class Unmask(Message, frozen=True, tag="unmask"):
    """Server to each who consented: its neighbours' consents by slot, zeros where there is none."""

    signatures: bytes


class Revealed(Message, frozen=True, tag="revealed"):
    """Client: one share of each neighbour in U2 by slot, zeros for others.

    Attributes:
        shares: in the complete graph the one of its own seed comes last.
    """

    shares: bytes


StepMessage = Fixed | Neighbourhood | Delivery | Settled | Survivors | Unmask
ServerMessage = Opening | StepMessage
ClientMessage = Advertisement | Nonce | Shares | Receipt | Masked | Consent | Revealed

S = TypeVar("S")


def statement(fixed_root: bytes, ring_root: bytes, count: int, settled: bytes, survivors: bytes) -> bytes:
    """What a consent signs: all that participants must have been told alike."""
    return to_msgpack([fixed_root, ring_root, count, settled, survivors])


def read(data: bytes | memoryview, kind: type[S]) -> S:
    """Read a struct of one kind, or one of a union of messages.

    Raises:
        DataError: malformed, or not in canonical form.
    """
    message = from_msgpack(bytes(data), kind, "round message")
    if to_msgpack(message) != data:
        raise DataError("a round message is not in canonical form", "encode it by to_message")
    return message


# All fields of a header have fixed lengths, so that it ends where the vector begins.
_HEADER_BYTES = len(to_message(Masked(bytes(DIGEST_BYTES), bytes(TAG_BYTES), bytes(SIGNATURE_BYTES))))
_GAP = bytes((16 - _HEADER_BYTES) % 64)
"""Zeros between header and vector: in the buffer of a long message the vector then begins at a cache line, as bytes
begin 48 bytes after one; adding it up takes three quarters of the time."""
_HEADER_START = to_message(Masked(bytes(DIGEST_BYTES), b"", b""))[: len(b"\x84\xa4type\xa6masked")]


def read_client(data: bytes) -> tuple[ClientMessage, memoryview]:
    """A client's message and, behind the header of a masked vector, the vector's bytes, uncopied.

    Raises:
        DataError: as ``read``.
    """
    end = _HEADER_BYTES if data.startswith(_HEADER_START) else len(data)
    view = memoryview(data)
    message: ClientMessage = read(view[:end], ClientMessage)  # type: ignore[arg-type]
    gap = _GAP if isinstance(message, Masked) else b""
    if view[end : end + len(gap)] != gap:
        raise DataError("the header of a vector is not followed by zeros", "write it by with_vector")
    return message, view[end + len(gap) :]


def with_vector(header: Masked, vector: bytes | memoryview) -> bytes:
    """A masked vector's message: header, zeros up to a cache line, the vector's little-endian bytes."""
    return b"".join([to_message(header), _GAP, vector])


def check_lengths(**lengths: tuple[bytes, int]) -> None:
    """Refuse fields that have not the length they must have.

    Raises:
        DataError: naming the first that is wrong.
    """
    for name, (data, expected) in lengths.items():
        if len(data) != expected:
            raise DataError(f"{name} of {len(data)} bytes", f"it must have {expected}")
