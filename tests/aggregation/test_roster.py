from __future__ import annotations

import hashlib

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregation.envelope import Distrust, signing_key
from aggregation.roster import (
    MAX_PAYLOAD,
    Limits,
    Member,
    Roster,
    RosterRefusedError,
    inspect_roster,
    sign_roster,
    verify_roster,
)
from quasim.codec import to_msgpack
from quasim.errors import DataError, ExitCode
from tests.aggregation.test_signing import POLICY, SIGNER

ROOT, STRANGER = b"\x01" * 32, b"\x02" * 32


def public(seed: bytes) -> bytes:
    return signing_key(seed).public_key().public_bytes_raw()


def seed(number: int) -> bytes:
    return bytes([number]) * 32


def member(number: int, cohort: str = "h100") -> Member:
    return Member(f"node-{number}", public(seed(100 + number)), cohort)


LIMITS = Limits(participants=2, threshold_percent=66, floor=2)
MEMBERS = tuple(member(number, "h100" if number % 2 else "a100") for number in range(4))
ROSTER = Roster(federation="lab", epoch=3, server=public(seed(9)), limits=LIMITS, members=MEMBERS)
ENVELOPE = sign_roster(ROOT, ROSTER)


def refusal(envelope: bytes, federation: str | None = "lab", newer_than: int = 2) -> Distrust:
    with pytest.raises(RosterRefusedError) as caught:
        verify_roster(envelope, root=public(ROOT), federation=federation, newer_than=newer_than)
    assert caught.value.exit_code is ExitCode.UNTRUSTED
    return caught.value.reason


def changed(**fields: object) -> Roster:
    return msgspec.structs.replace(ROSTER, **fields)


def test_a_signed_roster_verifies_to_itself() -> None:
    assert verify_roster(ENVELOPE, root=public(ROOT), federation="lab", newer_than=2) == ROSTER
    assert verify_roster(ENVELOPE, root=public(ROOT), federation=None, newer_than=0) == ROSTER
    assert sign_roster(ROOT, ROSTER) == ENVELOPE


def test_inspection_names_the_signer_without_trusting_it() -> None:
    assert inspect_roster(sign_roster(STRANGER, ROSTER)) == (ROSTER, public(STRANGER))


def test_the_digest_stands_for_every_field() -> None:
    assert ROSTER.digest() == hashlib.sha256(ROSTER.payload()).digest()
    others = [
        changed(federation="other"),
        changed(epoch=4),
        changed(server=public(seed(8))),
        changed(limits=Limits(3, 66, 2)),
        changed(limits=Limits(2, 67, 2)),
        changed(limits=Limits(2, 66, 1)),
        changed(members=MEMBERS[:3]),
        changed(members=(member(0, "b200"), *MEMBERS[1:])),
    ]
    assert len({ROSTER.digest(), *(other.digest() for other in others)}) == 1 + len(others)


def test_keys_and_cohorts_are_read_off_in_order() -> None:
    assert ROSTER.keys == {f"node-{n}": public(seed(100 + n)) for n in range(4)}
    assert ROSTER.cohorts == {"a100": ("node-0", "node-2"), "h100": ("node-1", "node-3")}


def test_a_roster_of_another_root_is_refused() -> None:
    assert refusal(sign_roster(STRANGER, ROSTER)) is Distrust.UNTRUSTED_KEY


def test_a_stranger_who_claims_the_root_is_refused() -> None:
    signature = signing_key(STRANGER).sign(b"quasim roster v1\0" + ROSTER.payload())
    forged = {"payload": ROSTER.payload(), "signature": signature, "public_key": public(ROOT)}
    assert refusal(to_msgpack(forged)) is Distrust.BAD_SIGNATURE


def test_a_policy_signed_by_the_same_key_is_no_roster() -> None:
    with pytest.raises(RosterRefusedError) as caught:
        verify_roster(SIGNER.sign(POLICY), root=SIGNER.public_key, federation="lab", newer_than=0)
    assert caught.value.reason is Distrust.BAD_SIGNATURE


def test_another_federation_is_refused() -> None:
    assert refusal(ENVELOPE, federation="factory") is Distrust.OTHER_FEDERATION


def test_the_same_or_an_older_epoch_is_a_rollback() -> None:
    assert refusal(ENVELOPE, newer_than=3) is Distrust.ROLLBACK
    assert refusal(ENVELOPE, newer_than=4) is Distrust.ROLLBACK


def test_what_the_root_signed_must_still_be_a_valid_roster() -> None:
    fields = msgspec.to_builtins(ROSTER, builtin_types=(bytes,))
    twice = [fields["members"][0], *fields["members"]]
    for wrong in (
        {"epoch": 0},
        {"format": 2},
        {"members": twice},
        {"limits": {**fields["limits"], "floor": 0}},
        {"a": 1},
    ):
        payload = to_msgpack(fields | wrong)
        envelope = to_msgpack(
            {
                "payload": payload,
                "signature": signing_key(ROOT).sign(b"quasim roster v1\0" + payload),
                "public_key": public(ROOT),
            }
        )
        assert refusal(envelope) is Distrust.MALFORMED


def test_more_bytes_than_any_roster_has_are_not_looked_at() -> None:
    with pytest.raises(RosterRefusedError, match="too large"):
        inspect_roster(bytes(MAX_PAYLOAD + 2048))


def test_a_payload_in_another_form_is_malformed() -> None:
    fields = msgspec.to_builtins(ROSTER, builtin_types=(bytes,))
    payload = to_msgpack(dict(reversed(fields.items())))
    signature = signing_key(ROOT).sign(b"quasim roster v1\0" + payload)
    assert (
        refusal(to_msgpack({"payload": payload, "signature": signature, "public_key": public(ROOT)}))
        is Distrust.MALFORMED
    )


def test_every_single_changed_byte_is_refused() -> None:
    rng = np.random.default_rng(2)
    for at in range(len(ENVELOPE)):
        flipped = bytearray(ENVELOPE)
        flipped[at] ^= int(rng.integers(1, 256))
        refusal(bytes(flipped))


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_are_malformed(data: bytes) -> None:
    assert refusal(data) is Distrust.MALFORMED


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"epoch": 0}, "epoch 0"),
        ({"federation": "../lab"}, "federation '../lab'"),
        ({"federation": "x" * 129}, "128"),
        ({"server": b"short"}, "5 bytes"),
        ({"members": (MEMBERS[1], MEMBERS[0])}, "out of order"),
        ({"members": (MEMBERS[0], MEMBERS[0])}, "twice"),
        ({"members": (MEMBERS[0], Member("node-1", MEMBERS[0].public_key, "h100"))}, "share a key"),
        ({"members": (Member("node-0", ROSTER.server, "h100"),)}, "share a key"),
    ],
)
def test_an_invalid_roster_cannot_be_built(fields: dict[str, object], says: str) -> None:
    with pytest.raises(DataError, match=says):
        changed(**fields)


@pytest.mark.parametrize("limits", [(1, 66, 2), (2, 50, 1), (2, 101, 1), (2, 66, 0)])
def test_limits_that_protect_nobody_cannot_be_built(limits: tuple[int, int, int]) -> None:
    with pytest.raises(DataError):
        Limits(*limits)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-a", "a ", "a\n", "ä"])
def test_names_that_could_leave_a_folder_are_refused(name: str) -> None:
    with pytest.raises(DataError, match="node"):
        Member(name, public(ROOT), "h100")


def test_the_next_epoch_enrols_replaces_and_removes() -> None:
    renewed = Member("node-2", public(seed(77)), "h200")
    later = ROSTER.next_epoch(enrol=[member(4), renewed], remove=["node-0"])
    assert later.epoch == 4
    assert [m.node for m in later.members] == ["node-1", "node-2", "node-3", "node-4"]
    assert later.members[1] == renewed
    assert (later.federation, later.server, later.limits) == (ROSTER.federation, ROSTER.server, ROSTER.limits)


def test_only_a_member_can_be_removed_and_only_a_new_key_enrolled() -> None:
    with pytest.raises(DataError, match="node-9"):
        ROSTER.next_epoch(remove=["node-9"])
    with pytest.raises(DataError, match="share a key"):
        ROSTER.next_epoch(enrol=[Member("node-5", MEMBERS[0].public_key, "h100")])
