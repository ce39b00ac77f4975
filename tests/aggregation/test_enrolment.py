from __future__ import annotations

import pytest

from aggregation.enrolment import EnrolmentRefusedError, request_enrolment, verify_enrolment
from aggregation.envelope import Distrust, signing_key
from quasim.codec import to_msgpack
from quasim.errors import DataError, ExitCode
from tests.aggregation.test_roster import ENVELOPE, MEMBERS, ROOT, STRANGER, public, seed


def test_an_enrolment_tells_who_asks() -> None:
    request = request_enrolment(seed(100), "lab", "node-0", "a100")
    assert verify_enrolment(request, federation="lab") == MEMBERS[0]


def enrolment_refusal(request: bytes) -> Distrust:
    with pytest.raises(EnrolmentRefusedError) as caught:
        verify_enrolment(request, federation="lab")
    assert caught.value.exit_code is ExitCode.UNTRUSTED
    return caught.value.reason


def test_a_request_for_another_federation_or_with_anothers_key_is_refused() -> None:
    assert enrolment_refusal(request_enrolment(ROOT, "factory", "node-0", "a100")) is Distrust.OTHER_FEDERATION
    payload = to_msgpack({"federation": "lab", "member": MEMBERS[0]})
    signature = signing_key(STRANGER).sign(b"quasim enrolment v1\0" + payload)
    foreign = to_msgpack({"payload": payload, "signature": signature, "public_key": public(STRANGER)})
    assert enrolment_refusal(foreign) is Distrust.UNTRUSTED_KEY
    forged = to_msgpack({"payload": payload, "signature": signature, "public_key": MEMBERS[0].public_key})
    assert enrolment_refusal(forged) is Distrust.BAD_SIGNATURE
    assert enrolment_refusal(ENVELOPE) is Distrust.BAD_SIGNATURE


def test_a_signed_request_that_is_none_is_malformed() -> None:
    payload = b"\x93\x01\x02\x03"
    signature = signing_key(ROOT).sign(b"quasim enrolment v1\0" + payload)
    envelope = to_msgpack({"payload": payload, "signature": signature, "public_key": public(ROOT)})
    assert enrolment_refusal(envelope) is Distrust.MALFORMED


def test_a_name_that_no_roster_would_hold_is_not_asked_for() -> None:
    for names in (("../lab", "node-0", "a100"), ("lab", "a/b", "a100"), ("lab", "node-0", "")):
        with pytest.raises(DataError, match="not a name"):
            request_enrolment(ROOT, *names)
