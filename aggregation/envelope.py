"""Signed envelopes: Ed25519 (RFC 8032) over a canonical payload, checked before a byte of it is decoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from quasim.codec import from_msgpack, to_msgpack
from quasim.errors import DataError, TrustError

_OVERHEAD = 1024
"""More bytes than an envelope adds to its payload (about 150)."""


class Distrust(str, Enum):
    """Why a signed document is refused."""

    MALFORMED = "malformed"
    UNTRUSTED_KEY = "untrusted_key"
    BAD_SIGNATURE = "bad_signature"
    OTHER_FEDERATION = "other_federation"
    ROLLBACK = "rollback"


class RefusedError(TrustError):
    """A signed document that must not be accepted.

    Attributes:
        reason: which of the checks it failed.
    """

    def __init__(self, what: str, do: str, reason: Distrust) -> None:
        super().__init__(what, do)
        self.reason = reason

    def __reduce__(self) -> tuple[type[RefusedError], tuple[str, str, Distrust]]:  # type: ignore[override]
        return type(self), (self.what, self.do, self.reason)


class Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What travels: the payload, and who signed it."""

    payload: bytes
    signature: bytes
    public_key: bytes


@dataclass(frozen=True, slots=True)
class Seal:
    """How one kind of document is signed and opened.

    Attributes:
        noun: the kind, in words; it keeps a signature over one kind from passing for one over another.
        limit: largest payload that is looked at, in bytes.
        error: raised for what must not be accepted.
        advice: what to do then, by reason.
    """

    noun: str
    limit: int
    error: type[RefusedError]
    advice: Mapping[Distrust, str]

    @property
    def domain(self) -> bytes:
        """Signed in front of the payload."""
        return f"quasim {self.noun} v1\0".encode()

    def sign(self, key: Ed25519PrivateKey, payload: bytes) -> bytes:
        """The envelope of a payload; equal payloads give equal bytes."""
        public = key.public_key().public_bytes_raw()
        return to_msgpack(Envelope(payload, key.sign(self.domain + payload), public))

    def open(self, data: bytes, trusted_key: bytes | None = None) -> Envelope:
        """An envelope whose signature holds.

        Args:
            trusted_key: raw public key that must have signed it; None for any, which says nothing about trust.

        Raises:
            RefusedError: of this seal's kind; malformed, signed by another key, or the signature does not hold.
        """
        opened = self._read(data)
        if trusted_key is not None and opened.public_key != trusted_key:
            raise self.refused(Distrust.UNTRUSTED_KEY, f"the {self.noun} is signed by {opened.public_key.hex()[:16]}…")
        try:
            Ed25519PublicKey.from_public_bytes(opened.public_key).verify(opened.signature, self.domain + opened.payload)
        except (InvalidSignature, ValueError) as error:
            raise self.refused(Distrust.BAD_SIGNATURE, f"the {self.noun}'s signature does not hold") from error
        return opened

    def refused(self, reason: Distrust, what: str) -> RefusedError:
        """The error for a reason, with this kind's advice."""
        return self.error(what, self.advice[reason], reason)

    def _read(self, data: bytes) -> Envelope:
        if len(data) > self.limit + _OVERHEAD:
            raise self.refused(Distrust.MALFORMED, f"a {self.noun} envelope of {len(data)} bytes is too large")
        try:
            opened = from_msgpack(data, Envelope, f"{self.noun} envelope")
        except DataError as error:
            raise self.refused(Distrust.MALFORMED, error.what) from error
        if to_msgpack(opened) != data:
            raise self.refused(Distrust.MALFORMED, f"the {self.noun} envelope is not in canonical form")
        return opened


def signing_key(seed: bytes) -> Ed25519PrivateKey:
    """The private key of a raw 32-byte Ed25519 seed.

    Raises:
        DataError: the seed is not of 32 bytes.
    """
    if len(seed) != 32:
        raise DataError(f"a signing key of {len(seed)} bytes", "give the 32 bytes of an Ed25519 seed")
    return Ed25519PrivateKey.from_private_bytes(seed)
