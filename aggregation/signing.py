"""Signed policies: sealed by an aggregator's key, opened by nodes that pinned it."""

from __future__ import annotations

from aggregation.envelope import Distrust, RefusedError, Seal, signing_key
from quasim.errors import DataError
from quasim.policy import MAX_PAYLOAD, Policy


class PolicyRefusedError(RefusedError):
    """A policy that must not be adopted."""


_SEAL = Seal(
    "policy",
    MAX_PAYLOAD,
    PolicyRefusedError,
    {
        Distrust.MALFORMED: "fetch the policy again from the aggregator",
        Distrust.UNTRUSTED_KEY: "check which aggregator this node belongs to",
        Distrust.BAD_SIGNATURE: "do not use it; someone changed it on its way",
        Distrust.OTHER_FEDERATION: "check the node's federation id",
        Distrust.ROLLBACK: "keep the policy that the node has",
    },
)


class PolicySigner:
    """Signs policies with the key of an aggregator.

    Args:
        seed: raw 32-byte Ed25519 private key.

    Raises:
        DataError: the seed is not of 32 bytes.
    """

    def __init__(self, seed: bytes) -> None:
        self._key = signing_key(seed)

    @property
    def public_key(self) -> bytes:
        """Raw 32-byte public key, which nodes pin."""
        return self._key.public_key().public_bytes_raw()

    def sign(self, policy: Policy) -> bytes:
        """The envelope of a policy; equal policies give equal bytes."""
        return _SEAL.sign(self._key, policy.payload())


def inspect(envelope: bytes) -> tuple[Policy, bytes]:
    """The policy in an envelope and the public key whose signature it bears. Says nothing about trust.

    Raises:
        PolicyRefusedError: it is malformed, or the signature is not of that key.
    """
    opened = _SEAL.open(envelope)
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
    policy = _decoded(_SEAL.open(envelope, trusted_key).payload)
    if policy.federation != federation:
        what = f"the policy is for {policy.federation!r}, not {federation!r}"
        raise _SEAL.refused(Distrust.OTHER_FEDERATION, what)
    if policy.version <= newer_than:
        raise _SEAL.refused(Distrust.ROLLBACK, f"policy version {policy.version} is not newer than {newer_than}")
    return policy


def _decoded(payload: bytes) -> Policy:
    try:
        return Policy.from_payload(payload)
    except DataError as error:
        raise _SEAL.refused(Distrust.MALFORMED, error.what) from error
