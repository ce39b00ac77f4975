"""Values that cannot be built invalid: terms, members, messages, keys."""

from __future__ import annotations

import msgspec
import pytest

from aggregation.roster import Limits, Member, Roster
from aggregation.rounds import to_message
from aggregation.secure import Encoding, Members, Terms, smallest_floor
from aggregation.secure.keys import (
    Purpose,
    Secret,
    Signed,
    derive,
    fingerprint,
    is_signed,
    seal,
    share_digest,
    sign,
    unseal,
)
from aggregation.secure.messages import ClientMessage, Masked, Nonce, Receipt, read, read_client, with_vector
from quasim.codec import to_msgpack
from quasim.errors import DataError
from tests.aggregation.secure.fleet import POLICY, identity, members, names

TERMS = Terms("fed", 7, bytes(32), POLICY, 9, 7, 5, 7, Encoding(32, 16, 1.0, 1.0, 10))
SESSION = TERMS.session()


@pytest.mark.parametrize(
    "changes",
    [
        {"number": -1},
        {"length": -1},
        {"roster_digest": b""},
        {"k": 0},
        {"k": 10},
        {"t": 0},
        {"t": 11},
        {"floor": 6},
        {"floor": 11},
    ],
)
def test_terms_that_make_no_sense_cannot_be_built(changes: dict[str, object]) -> None:
    with pytest.raises(DataError):
        msgspec.structs.replace(TERMS, **changes)


def test_a_session_is_its_terms_and_no_others() -> None:
    others = [
        msgspec.structs.replace(TERMS, **change)
        for change in (
            {"federation": "fed2"},
            {"number": 8},
            {"roster_digest": b"\1" * 32},
            {"policy": ""},
            {"k": 8},
            {"t": 6},
            {"length": 6},
            {"floor": 8},
            {"encoding": Encoding(32, 15, 1.0, 1.0, 10)},
            {"encoding": Encoding(64, 16, 1.0, 1.0, 10)},
            {"encoding": Encoding(32, 16, 2.0, 1.0, 10)},
            {"encoding": Encoding(32, 16, 1.0, 2.0, 10)},
        )
    ]
    assert len({terms.session() for terms in [TERMS, *others]}) == 1 + len(others)


def test_terms_whose_sum_could_overflow_cannot_be_read() -> None:
    largest = Encoding(32, 16, 1.0, (2**31 - 1) / 10 // 1 / 2**16, 10)
    assert read(to_message(msgspec.structs.replace(TERMS, encoding=largest)), Terms).encoding == largest
    fields = msgspec.to_builtins(TERMS)
    fields["encoding"]["weight_bound"] = largest.weight_bound + 2**-16
    fields["roster_digest"] = bytes(32)
    with pytest.raises(DataError, match="overflow"):
        read(to_msgpack(fields), Terms)


def test_the_smallest_floor_lets_every_secret_come_back() -> None:
    assert [smallest_floor(n) for n in (1, 2, 10, 32, 33)] == [2, 2, 7, 22, 8]


def test_members_are_bound_by_their_digest_in_whichever_order() -> None:
    ten = members(names(10))
    turned = Members("fed", bytes(32), ten.server_key, {node: ten.keys[node] for node in reversed(ten.ids)}, 2)
    assert (turned.ids, turned.digest) == (ten.ids, ten.digest)
    others = [
        Members("fed2", bytes(32), ten.server_key, ten.keys, 2),
        Members("fed", b"\1" * 32, ten.server_key, ten.keys, 2),
        Members("fed", bytes(32), bytes(32), ten.keys, 2),
        Members("fed", bytes(32), ten.server_key, ten.keys, 3),
        members(names(9)),
    ]
    assert len({one.digest for one in [ten, *others]}) == 6


@pytest.mark.parametrize("keys", [{"a": bytes(31)}, {"a": bytes(32), "b": bytes(32)}])
def test_members_with_bad_or_equal_keys_cannot_be_built(keys: dict[str, bytes]) -> None:
    with pytest.raises(DataError, match="verified roster"):
        Members("fed", bytes(32), b"\1" * 32, keys, 2)


def test_a_message_has_one_form_and_a_session() -> None:
    data = to_message(Nonce(SESSION, bytes(32)))
    assert read_client(data)[0] == Nonce(SESSION, bytes(32))
    fields = msgspec.msgpack.decode(data)
    with pytest.raises(DataError, match="canonical"):
        read_client(to_msgpack(dict(reversed(fields.items()))))
    with pytest.raises(DataError, match="session id"):
        Receipt(b"", b"")
    with pytest.raises(DataError):
        read(data + b"\0", ClientMessage)  # type: ignore[arg-type]


def test_a_vector_is_read_from_behind_its_header_without_a_copy() -> None:
    header = Masked(SESSION, bytes(16), bytes(64))
    data = with_vector(header, b"vector")
    message, payload = read_client(data)
    assert message == header
    assert payload.tobytes() == b"vector"
    assert payload.obj is data
    with pytest.raises(DataError):
        read_client(with_vector(Masked(SESSION, bytes(15), bytes(64)), b"vector"))
    with pytest.raises(DataError, match="followed by zeros"):
        read_client(to_message(header) + b"vector")


def test_no_signature_passes_for_one_of_another_kind_session_or_signer() -> None:
    signature = sign(identity("a"), Signed.CONSENT, SESSION, b"body")
    public, other = (identity(name).public_key().public_bytes_raw() for name in "ab")
    assert is_signed(public, Signed.CONSENT, SESSION, b"body", signature)
    assert not is_signed(other, Signed.CONSENT, SESSION, b"body", signature)
    assert not is_signed(public, Signed.MASKED, SESSION, b"body", signature)
    assert not is_signed(public, Signed.CONSENT, bytes(32), b"body", signature)
    assert not is_signed(public, Signed.CONSENT, SESSION, b"bodY", signature)
    assert not is_signed(b"", Signed.CONSENT, SESSION, b"body", signature)


def test_a_derived_key_has_one_purpose_session_and_direction() -> None:
    keys = {
        derive(bytes(32), purpose, session, *nodes)
        for purpose in Purpose
        for session in (SESSION, bytes(32))
        for nodes in (("a", "b"), ("b", "a"), ("ab",), ())
    }
    assert len(keys) == len(Purpose) * 2 * 4


def test_what_is_sealed_opens_for_the_one_it_was_sealed_for_alone() -> None:
    sealed = seal(bytes(32), b"share", SESSION, "a", "b")
    assert unseal(bytes(32), sealed, SESSION, "a", "b") == b"share"
    assert unseal(bytes(32), sealed, SESSION, "b", "a") is None
    assert unseal(bytes(32), sealed, bytes(32), "a", "b") is None
    assert unseal(b"\1" * 32, sealed, SESSION, "a", "b") is None
    assert unseal(bytes(32), b"", SESSION, "a", "b") is None


def test_fingerprints_and_digests_tell_everything_apart() -> None:
    mark = fingerprint(bytes(32), memoryview(b"vector"))
    assert len(mark) == 16
    assert mark != fingerprint(bytes(32), memoryview(b"vectos"))
    assert mark != fingerprint(b"\1" * 32, memoryview(b"vector"))
    digests = {share_digest(kind, s, share) for kind in Secret for s in (SESSION, bytes(32)) for share in (b"a", b"b")}
    assert len(digests) == 8


def roster(participants: int = 4, percent: int = 60) -> Roster:
    ten = members(names(10))
    return Roster(
        federation="fed",
        epoch=3,
        server=ten.server_key,
        limits=Limits(participants, percent, 3),
        members=tuple(Member(node, key, "h100") for node, key in ten.keys.items()),
    )


def test_a_group_of_a_roster_has_its_keys_its_floor_and_a_digest_of_its_own() -> None:
    four = Members.of(roster(), names(4))
    assert (four.federation, four.ids, four.floor) == ("fed", names(4), 3)
    assert four.roster == roster().digest()
    assert four.keys == {node: roster().keys[node] for node in names(4)}
    assert four.digest != Members.of(roster(), names(5)).digest


@pytest.mark.parametrize(
    ("limits", "nodes", "what"),
    [
        (roster(), ("n000", "n001", "n002", "x"), "not in the roster"),
        (roster(participants=5), names(4), "the roster wants 5"),
        (roster(percent=90), names(10), "fewer than the roster's 90 %"),
    ],
)
def test_a_group_that_the_roster_forbids_cannot_be_built(limits: Roster, nodes: tuple[str, ...], what: str) -> None:
    with pytest.raises(DataError, match=what):
        Members.of(limits, nodes)
