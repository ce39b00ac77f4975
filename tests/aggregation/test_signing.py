from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregation.distill import local_update, refine
from aggregation.envelope import Distrust
from aggregation.signing import PolicyRefusedError, PolicySigner, inspect, verify
from quasim.codec import to_msgpack
from quasim.errors import DataError, ExitCode, TrustError
from quasim.policy import MAX_PAYLOAD, Policy
from tests.aggregation.samples import CATALOGUE, SPACES, ok

SIGNER = PolicySigner(bytes(range(32)))
STRANGER = PolicySigner(b"\x07" * 32)


def make_policy(federation: str = "lab", previous: Policy | None = None) -> Policy:
    sums = local_update(CATALOGUE, SPACES, [ok(100.0, 0), ok(150.0, 3)])
    return refine(previous, CATALOGUE, sums, federation=federation, cycle=0, participants=1, protocol="plain")


POLICY = make_policy()
ENVELOPE = SIGNER.sign(POLICY)


def check(envelope: bytes, newer_than: int = 0) -> Policy:
    return verify(envelope, trusted_key=SIGNER.public_key, federation="lab", newer_than=newer_than)


def refusal(envelope: bytes, newer_than: int = 0) -> Distrust:
    with pytest.raises(PolicyRefusedError) as caught:
        check(envelope, newer_than)
    return caught.value.reason


def test_a_signed_policy_verifies_to_itself() -> None:
    assert check(ENVELOPE) == POLICY


def test_signing_is_deterministic_and_the_key_follows_from_the_seed() -> None:
    again = PolicySigner(bytes(range(32)))
    assert again.sign(make_policy()) == ENVELOPE
    assert again.public_key == SIGNER.public_key
    assert len(SIGNER.public_key) == 32


def test_a_seed_of_another_length_is_refused() -> None:
    with pytest.raises(DataError, match="31 bytes"):
        PolicySigner(bytes(31))


def test_a_policy_signed_by_another_key_is_refused() -> None:
    assert refusal(STRANGER.sign(POLICY)) is Distrust.UNTRUSTED_KEY


def test_a_stranger_who_claims_the_trusted_key_is_refused() -> None:
    payload, signature = POLICY.payload(), STRANGER._key.sign(b"quasim policy v1\0" + POLICY.payload())
    forged = {"payload": payload, "signature": signature, "public_key": SIGNER.public_key}
    assert refusal(to_msgpack(forged)) is Distrust.BAD_SIGNATURE


def test_a_signature_made_for_another_purpose_is_refused() -> None:
    payload = POLICY.payload()
    for domain in (b"", b"quasim certificate v1\0"):
        signature = SIGNER._key.sign(domain + payload)
        other = {"payload": payload, "signature": signature, "public_key": SIGNER.public_key}
        assert refusal(to_msgpack(other)) is Distrust.BAD_SIGNATURE


def test_a_policy_of_another_federation_is_refused() -> None:
    assert refusal(SIGNER.sign(make_policy("elsewhere"))) is Distrust.OTHER_FEDERATION


def test_replay_and_rollback_are_refused() -> None:
    second = SIGNER.sign(make_policy(previous=POLICY))
    assert check(second, newer_than=1).version == 2
    assert refusal(second, newer_than=2) is Distrust.ROLLBACK
    assert refusal(ENVELOPE, newer_than=2) is Distrust.ROLLBACK


def test_a_signed_payload_that_is_not_a_policy_is_malformed() -> None:
    payload = b"\x93\x01\x02\x03"
    signature = SIGNER._key.sign(b"quasim policy v1\0" + payload)
    envelope = to_msgpack({"payload": payload, "signature": signature, "public_key": SIGNER.public_key})
    assert refusal(envelope) is Distrust.MALFORMED


def test_an_envelope_above_the_cap_is_malformed() -> None:
    assert refusal(bytes(MAX_PAYLOAD + 2048)) is Distrust.MALFORMED


def test_a_trusted_key_of_another_length_trusts_nothing() -> None:
    envelope = to_msgpack({"payload": b"", "signature": b"", "public_key": b"short"})
    with pytest.raises(TrustError):
        verify(envelope, trusted_key=b"short", federation="lab", newer_than=0)


def test_the_same_content_in_another_form_is_refused() -> None:
    fields = {"payload": POLICY.payload(), "signature": SIGNER._key.sign(b"quasim policy v1\0" + POLICY.payload())}
    fields["public_key"] = SIGNER.public_key
    assert to_msgpack(fields) == ENVELOPE
    assert refusal(to_msgpack(dict(reversed(fields.items())))) is Distrust.MALFORMED


def test_every_single_changed_byte_is_refused() -> None:
    rng = np.random.default_rng(1)
    for at in range(len(ENVELOPE)):
        flipped = bytearray(ENVELOPE)
        flipped[at] ^= int(rng.integers(1, 256))
        refusal(bytes(flipped))


@settings(deadline=None, max_examples=300)
@given(st.integers(0, len(ENVELOPE) - 1), st.binary(max_size=8), st.integers(0, 8))
def test_every_splice_of_an_envelope_is_refused(at: int, inserted: bytes, removed: int) -> None:
    spliced = ENVELOPE[:at] + inserted + ENVELOPE[at + removed :]
    if spliced != ENVELOPE:
        refusal(spliced)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_are_malformed(data: bytes) -> None:
    assert refusal(data) is Distrust.MALFORMED


def test_a_refusal_is_a_trust_error_that_survives_a_process_border() -> None:
    # copy rebuilds an exception in the way in which pickle does.
    received = copy.copy(PolicyRefusedError("what", "do", Distrust.ROLLBACK))
    assert received.exit_code is ExitCode.UNTRUSTED
    assert (received.what, received.do, received.reason) == ("what", "do", Distrust.ROLLBACK)


def test_inspect_names_the_signer_without_trusting_it() -> None:
    assert inspect(STRANGER.sign(POLICY)) == (POLICY, STRANGER.public_key)


def test_inspect_refuses_a_signature_that_does_not_hold() -> None:
    with pytest.raises(PolicyRefusedError):
        inspect(ENVELOPE.replace(SIGNER.public_key, STRANGER.public_key))
