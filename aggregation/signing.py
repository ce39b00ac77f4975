"""Signed policies: Ed25519 (RFC 8032) over a canonical payload, checked before a byte of it is decoded."""

from __future__ import annotations

from enum import Enum

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from quasim.codec import from_msgpack, to_msgpack
from quasim.errors import DataError, TrustError
from quasim.policy import MAX_PAYLOAD, Policy

_DOMAIN = b"quasim policy v1\0"
"""Keeps a signature over a policy from passing for one over anything else that the key may sign."""

_OVERHEAD = 1024
"""More bytes than an envelope adds to its payload (about 150)."""


class Distrust(str, Enum):
    """Why a policy is refused."""

    MALFORMED = "malformed"
    UNTRUSTED_KEY = "untrusted_key"
    BAD_SIGNATURE = "bad_signature"
    OTHER_FEDERATION = "other_federation"
    ROLLBACK = "rollback"


class PolicyRefusedError(TrustError):
    """An envelope that must not be adopted.

    Attributes:
        reason: which of the checks it failed.
    """

    def __init__(self, what: str, do: str, reason: Distrust) -> None:
        super().__init__(what, do)
        self.reason = reason

    def __reduce__(self) -> tuple[type[PolicyRefusedError], tuple[str, str, Distrust]]:  # type: ignore[override]
        return type(self), (self.what, self.do, self.reason)


class _Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    payload: bytes
    signature: bytes
    public_key: bytes


class PolicySigner:
    """Signs policies with the key of an aggregator.

    Args:
        seed: raw 32-byte Ed25519 private key.

    Raises:
        DataError: the seed is not of 32 bytes.
    """

    def __init__(self, seed: bytes) -> None:
        if len(seed) != 32:
            raise DataError(f"a signing key of {len(seed)} bytes", "give the 32 bytes of an Ed25519 seed")
        self._key = Ed25519PrivateKey.from_private_bytes(seed)

    @property
    def public_key(self) -> bytes:
        """Raw 32-byte public key, which nodes pin."""
        return self._key.public_key().public_bytes_raw()

    def sign(self, policy: Policy) -> bytes:
        """The envelope of a policy; equal policies give equal bytes."""
        payload = policy.payload()
        return to_msgpack(_Envelope(payload, self._key.sign(_DOMAIN + payload), self.public_key))


def inspect(envelope: bytes) -> tuple[Policy, bytes]:
    """The policy in an envelope and the public key whose signature it bears. Says nothing about trust.

    Raises:
        PolicyRefusedError: it is malformed, or the signature is not of that key.
    """
    opened = _open(envelope)
    _check_signature(opened)
    return _decoded(opened.payload), opened.public_key


def verify(envelope: bytes, *, trusted_key: bytes, federation: str, newer_than: int) -> Policy:
    """The policy in an envelope, once everything about it is in order.

    Args:
        trusted_key: raw public key of the aggregator that this node pinned.
        federation: id of the node's own fleet.
        newer_than: version that the node holds; 0 where it has none.

    Raises:
        PolicyRefusedError: (a ``TrustError``) with the reason.
    """
    opened = _open(envelope)
    if opened.public_key != trusted_key:
        raise _refused(Distrust.UNTRUSTED_KEY, f"the policy is signed by {opened.public_key.hex()[:16]}…")
    _check_signature(opened)
    policy = _decoded(opened.payload)
    if policy.federation != federation:
        raise _refused(Distrust.OTHER_FEDERATION, f"the policy is for {policy.federation!r}, not {federation!r}")
    if policy.version <= newer_than:
        raise _refused(Distrust.ROLLBACK, f"policy version {policy.version} is not newer than {newer_than}")
    return policy


_DO = {
    Distrust.MALFORMED: "fetch the policy again from the aggregator",
    Distrust.UNTRUSTED_KEY: "check which aggregator this node belongs to",
    Distrust.BAD_SIGNATURE: "do not use it; someone changed it on its way",
    Distrust.OTHER_FEDERATION: "check the node's federation id",
    Distrust.ROLLBACK: "keep the policy that the node has",
}


def _refused(reason: Distrust, what: str) -> PolicyRefusedError:
    return PolicyRefusedError(what, _DO[reason], reason)


def _open(data: bytes) -> _Envelope:
    if len(data) > MAX_PAYLOAD + _OVERHEAD:
        raise _refused(Distrust.MALFORMED, f"a policy envelope of {len(data)} bytes is too large")
    try:
        opened = from_msgpack(data, _Envelope, "policy envelope")
    except DataError as error:
        raise _refused(Distrust.MALFORMED, error.what) from error
    if to_msgpack(opened) != data:
        raise _refused(Distrust.MALFORMED, "the policy envelope is not in canonical form")
    return opened


def _check_signature(opened: _Envelope) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(opened.public_key).verify(opened.signature, _DOMAIN + opened.payload)
    except (InvalidSignature, ValueError) as error:
        raise _refused(Distrust.BAD_SIGNATURE, "the policy's signature does not hold") from error


def _decoded(payload: bytes) -> Policy:
    try:
        return Policy.from_payload(payload)
    except DataError as error:
        raise _refused(Distrust.MALFORMED, error.what) from error
