"""What the server does about clients that lie: it refuses, names them, and goes on without them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec
import pytest

from aggregation.rounds import MessageArrived, Opened, Refusal, Refused, to_message
from aggregation.secure.disputes import losers
from aggregation.secure.graph import Graph
from aggregation.secure.keys import Signed, sign
from aggregation.secure.messages import (
    SEALED_BYTES,
    SHARE_BYTES,
    Advertisement,
    ClientMessage,
    Consent,
    Masked,
    Neighbourhood,
    Nonce,
    Receipt,
    Revealed,
    ServerMessage,
    Shares,
    Survivors,
    read_client,
    with_vector,
)
from tests.aggregation.secure.fleet import Fleet, Up, identity

M = TypeVar("M", bound=ClientMessage)
LIAR = "n003"
COMPLETE, RING = 10, 40
KINDS: tuple[type[ClientMessage], ...] = ClientMessage.__args__


def lie(kind: type[M], change: Callable[[M], ClientMessage], liar: str = LIAR) -> Up:
    """The liar changes its message of one kind; a vector behind it stays."""

    def forge(node: str, message: ClientMessage, data: bytes) -> bytes:
        if node != liar or not isinstance(message, kind):
            return data
        changed = change(message)
        payload = read_client(data)[1]
        return with_vector(changed, payload) if isinstance(changed, Masked) else to_message(changed) + bytes(payload)

    return forge


def resigned(ad: Advertisement, **changes: object) -> Advertisement:
    """Another advertisement that its owner signed."""
    ad = msgspec.structs.replace(ad, **changes)
    signature = sign(identity(ad.node), Signed.ADVERTISEMENT, ad.session, ad.body())
    return msgspec.structs.replace(ad, signature=signature)


def flipped(data: bytes, at: int = 0) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def replace(**changes: object) -> Callable[[ClientMessage], ClientMessage]:
    return lambda message: msgspec.structs.replace(message, **changes)


SMALL_ORDER = [0, 1, 2**255 - 20, 2**255 - 19, 2**255 - 18, 2**255]

LIES: list[tuple[type[ClientMessage], Callable[..., ClientMessage], Refusal]] = [
    (Advertisement, replace(signature=b""), Refusal.BAD_SIGNATURE),
    (Advertisement, replace(share_key=bytes([9]) * 32), Refusal.BAD_SIGNATURE),
    (Advertisement, replace(seed_commitment=bytes(32)), Refusal.BAD_SIGNATURE),
    (Advertisement, lambda m: resigned(m, share_key=m.mask_key), Refusal.BAD_KEY),
    (Advertisement, lambda m: resigned(m, share_key=bytes(31)), Refusal.BAD_KEY),
    *(
        (Advertisement, lambda m, u=u: resigned(m, mask_key=u.to_bytes(32, "little")), Refusal.BAD_KEY)
        for u in SMALL_ORDER
    ),
    (Advertisement, lambda m: resigned(m, seed_commitment=bytes(31)), Refusal.MALFORMED),
    (Advertisement, lambda m: resigned(m, nonce_commitment=bytes(32)), Refusal.MALFORMED),
    (Advertisement, lambda m: resigned(m, node="n004"), Refusal.BAD_KEY),
    (Advertisement, lambda m: resigned(m, session=bytes(32)), Refusal.OTHER_ROUND),
    (Shares, lambda m: msgspec.structs.replace(m, sealed=m.sealed[1:]), Refusal.MALFORMED),
    (Shares, lambda m: msgspec.structs.replace(m, digests=m.digests + b"\0"), Refusal.MALFORMED),
    (Receipt, replace(unopened=b"\0\0\0"), Refusal.MALFORMED),
    (Receipt, replace(unopened=b"\0\xff"), Refusal.MALFORMED),
    (Receipt, replace(session=bytes(32)), Refusal.OTHER_ROUND),
    (Masked, replace(signature=bytes(64)), Refusal.BAD_SIGNATURE),
    (Masked, replace(fingerprint=bytes(16)), Refusal.BAD_SIGNATURE),
    (
        Masked,
        lambda m: Masked(m.session, bytes(16), sign(identity(LIAR), Signed.MASKED, m.session, bytes(16))),
        Refusal.BAD_SIGNATURE,
    ),
    (Masked, lambda m: Consent(m.session, m.signature), Refusal.MALFORMED),
]


@pytest.mark.parametrize(("kind", "change", "reason"), LIES)
def test_what_does_not_fit_is_refused_and_the_round_goes_on_without_the_culprit(
    kind: type[ClientMessage], change: Callable[..., ClientMessage], reason: Refusal
) -> None:
    fleet = Fleet(COMPLETE, up=lie(kind, change)).run()
    fleet.assert_sum_of(*fleet.all_but(LIAR))
    assert fleet.reasons() == {LIAR: reason}
    assert fleet.errors == {}


@pytest.mark.parametrize(
    ("kind", "change", "reason"),
    [
        (Consent, replace(signature=bytes(64)), Refusal.BAD_SIGNATURE),
        (Consent, replace(signature=b""), Refusal.BAD_SIGNATURE),
        (Revealed, lambda m: msgspec.structs.replace(m, shares=m.shares[1:]), Refusal.MALFORMED),
        (Revealed, lambda m: msgspec.structs.replace(m, shares=flipped(m.shares)), Refusal.BAD_SHARE),
        (Revealed, lambda m: msgspec.structs.replace(m, shares=b"\xff" * len(m.shares)), Refusal.BAD_SHARE),
    ],
)
def test_who_lies_once_its_vector_is_in_the_sum_is_named_and_the_others_unmask(
    kind: type[ClientMessage], change: Callable[..., ClientMessage], reason: Refusal
) -> None:
    # Of two nodes that dropped out, shares of mask keys are revealed too.
    fleet = Fleet(12, up=lie(kind, change, liar="n000"), gone={"n010": Masked, "n011": Masked}).run()
    fleet.assert_sum_of(*fleet.all_but("n010", "n011"))
    assert fleet.reasons() == {"n000": reason}


def test_who_lies_about_its_own_share_where_every_share_is_needed_is_named() -> None:
    forge = lie(Revealed, lambda m: Revealed(m.session, flipped(m.shares, len(m.shares) - SHARE_BYTES)), liar="n000")
    fleet = Fleet(12, up=forge, gone=dict.fromkeys(("n009", "n010", "n011"), Revealed)).run()
    assert fleet.abandoned == "8 shares of n000, 9 are needed"
    assert fleet.reasons() == {"n000": Refusal.BAD_SHARE}


def test_wrong_shares_of_a_dropouts_key_are_found_on_the_ring_as_well() -> None:
    place: dict[int, str] = {}

    def look(node: str, message: ServerMessage) -> ServerMessage:
        if isinstance(message, Neighbourhood):
            place[message.index] = node
        return message

    def forge(node: str, message: ClientMessage, data: bytes) -> bytes | None:
        if isinstance(message, Revealed) and node == place[0]:
            return to_message(Revealed(message.session, b"\x01" * len(message.shares)))
        return None if isinstance(message, Masked) and node == place[1] else data

    fleet = Fleet(RING, up=forge, down=look).run()
    fleet.assert_sum_of(*fleet.all_but(place[1]))
    assert fleet.reasons() == {place[0]: Refusal.BAD_SHARE}


def test_a_nonce_that_was_not_committed_to_is_refused() -> None:
    fleet = Fleet(RING, up=lie(Nonce, replace(nonce=bytes(32)))).run()
    fleet.assert_sum_of(*fleet.all_but(LIAR))
    assert fleet.reasons() == {LIAR: Refusal.BAD_KEY}
    assert fleet.errors == {}


def test_a_key_that_someone_else_advertised_is_refused() -> None:
    keys: list[bytes] = []

    def copy(node: str, message: ClientMessage, data: bytes) -> bytes:
        if isinstance(message, Advertisement):
            keys.append(message.share_key)
            return to_message(resigned(message, mask_key=keys[0])) if node == LIAR else data
        return data

    fleet = Fleet(COMPLETE, up=copy).run()
    fleet.assert_sum_of(*fleet.all_but(LIAR))
    assert fleet.reasons() == {LIAR: Refusal.BAD_KEY}


def test_someone_elses_advertisement_takes_nobodys_place() -> None:
    fleet = Fleet(COMPLETE)
    stolen: list[bytes] = []

    def steal(node: str, message: ClientMessage, data: bytes) -> bytes:
        if isinstance(message, Advertisement) and node == "n000" and not stolen:
            stolen.append(data)
            fleet.tell(MessageArrived(LIAR, data))
        return data

    fleet.up = steal
    fleet.run().assert_sum_of(*fleet.members.ids)
    assert fleet.reasons() == {LIAR: Refusal.BAD_KEY}


def test_a_vector_changed_on_its_way_is_refused() -> None:
    def tamper(node: str, message: ClientMessage, data: bytes) -> bytes:
        return flipped(data, len(data) - 1) if node == LIAR and isinstance(message, Masked) else data

    fleet = Fleet(COMPLETE, up=tamper).run()
    fleet.assert_sum_of(*fleet.all_but(LIAR))
    assert fleet.reasons() == {LIAR: Refusal.BAD_SIGNATURE}


@pytest.mark.parametrize("extra", [b"\0\0\0\0", b"\0"])
def test_a_vector_of_another_length_is_refused(extra: bytes) -> None:
    def lengthen(node: str, message: ClientMessage, data: bytes) -> bytes:
        return data + extra if node == LIAR and isinstance(message, Masked) else data

    fleet = Fleet(COMPLETE, up=lengthen).run()
    fleet.assert_sum_of(*fleet.all_but(LIAR))
    assert fleet.reasons() == {LIAR: Refusal.WRONG_LENGTH}


@pytest.mark.parametrize("n", [COMPLETE, RING])
def test_who_deals_shares_that_do_not_open_counts_as_dropped_out(n: int) -> None:
    fleet = Fleet(n, up=lie(Shares, lambda m: Shares(m.session, bytes(len(m.sealed)), m.digests))).run()
    fleet.assert_sum_of(*fleet.all_but(LIAR))
    assert fleet.reasons() == {LIAR: Refusal.BAD_SHARE}
    assert fleet.errors == {}


@pytest.mark.parametrize("field", ["sealed", "digests"])
def test_one_share_that_does_not_open_or_is_not_what_was_committed_to_costs_its_dealer_the_round(field: str) -> None:
    change: Callable[[Shares], Shares] = lambda m: msgspec.structs.replace(m, **{field: flipped(getattr(m, field))})  # noqa: E731
    fleet = Fleet(COMPLETE, up=lie(Shares, change)).run()
    fleet.assert_sum_of(*fleet.all_but(LIAR))
    assert fleet.reasons() == {LIAR: Refusal.BAD_SHARE}


def test_who_complains_of_many_goes_alone() -> None:
    fleet = Fleet(COMPLETE, up=lie(Receipt, replace(unopened=b"\xff\x01"))).run()
    fleet.assert_sum_of(*fleet.all_but(LIAR))
    assert fleet.reasons() == {LIAR: Refusal.BAD_SHARE}


def test_a_complaint_about_what_was_never_delivered_costs_nobody_the_round() -> None:
    slot = Graph(COMPLETE, COMPLETE - 1).neighbours(3).tolist().index(5)
    change = replace(unopened=(1 << slot).to_bytes(2, "little"))
    fleet = Fleet(COMPLETE, up=lie(Receipt, change), gone={"n005": Shares}).run()
    fleet.assert_sum_of(*fleet.all_but("n005"))
    assert fleet.refused == []


def test_who_deals_shares_of_another_secret_than_it_committed_to_is_named() -> None:
    fleet = Fleet(COMPLETE)

    def turn(node: str, message: ClientMessage, data: bytes) -> bytes:
        if node == LIAR and isinstance(message, Advertisement):
            fleet.clients[node]._round._seed = bytes(32)  # type: ignore[union-attr]
        return data

    fleet.up = turn
    fleet.run()
    assert fleet.abandoned == f"{LIAR} dealt wrong shares"
    assert fleet.reasons() == {LIAR: Refusal.BAD_SHARE}


def test_disputes_end_with_those_that_have_the_most() -> None:
    assert losers([]) == []
    assert losers([(1, 2)]) == [1]
    assert losers([(2, 1)]) == [2]
    assert losers([(1, 2), (2, 1)]) == [1]
    assert losers([(1, 9), (2, 9), (3, 9)]) == [9]
    assert losers([(9, 1), (9, 2), (9, 3), (4, 5)]) == [9, 4]


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_that_comes_twice_counts_once(kind: type[ClientMessage]) -> None:
    fleet = Fleet(RING)
    twice: list[Refused] = []

    def repeat(node: str, message: ClientMessage, data: bytes) -> bytes | None:
        if node != "n000" or not isinstance(message, kind):
            return data
        fleet.tell(MessageArrived(node, data))
        (refused,) = fleet.server.handle(MessageArrived(node, data))
        assert isinstance(refused, Refused)
        twice.append(refused)
        return None

    fleet.up = repeat
    fleet.run().assert_sum_of(*fleet.members.ids)
    assert [one.reason for one in twice] == [Refusal.DUPLICATE]


def test_messages_of_an_old_round_of_another_step_and_of_strangers_are_refused() -> None:
    first = Fleet(COMPLETE)
    letters: dict[type[ClientMessage], bytes] = {}

    def keep(node: str, message: ClientMessage, data: bytes) -> bytes:
        if node == LIAR:
            letters[type(message)] = data
        return data

    first.up = keep
    first.run()
    for data in letters.values():
        server = first.new_server(8)
        server.handle(Opened())
        assert refusal(server.handle(MessageArrived(LIAR, data))[0]) is Refusal.OTHER_ROUND
    server = Fleet(COMPLETE).server
    server.handle(Opened())
    for kind, data in letters.items():
        assert refusal(server.handle(MessageArrived("x", data))[0]) is Refusal.FOREIGN
        if kind is not Advertisement:
            assert refusal(server.handle(MessageArrived(LIAR, data))[0]) is Refusal.MALFORMED


def refusal(instruction: object) -> Refusal:
    assert isinstance(instruction, Refused)
    return instruction.reason


def test_who_dropped_out_at_one_step_is_late_at_the_next() -> None:
    fleet = Fleet(COMPLETE)
    held: list[bytes] = []

    def delay(node: str, message: ClientMessage, data: bytes) -> bytes | None:
        if node == LIAR and isinstance(message, Shares):
            held.append(data)
            return None
        if isinstance(message, Receipt) and held:
            fleet.tell(MessageArrived(LIAR, held.pop()))
            fleet.tell(MessageArrived(LIAR, to_message(Receipt(message.session, b"\0\0"))))
        return data

    fleet.up = delay
    fleet.run().assert_sum_of(*fleet.all_but(LIAR))
    assert [one.reason for one in fleet.refused] == [Refusal.LATE, Refusal.LATE]


def test_a_share_is_sealed_to_its_direction_and_session() -> None:
    """A delivery put into another slot does not open there."""

    def swap(message: Shares) -> Shares:
        sealed = message.sealed
        return msgspec.structs.replace(
            message, sealed=sealed[SEALED_BYTES : 2 * SEALED_BYTES] + sealed[:SEALED_BYTES] + sealed[2 * SEALED_BYTES :]
        )

    fleet = Fleet(COMPLETE, up=lie(Shares, swap)).run()
    assert fleet.reasons() == {LIAR: Refusal.BAD_SHARE}


def test_survivors_who_are_told_otherwise_do_not_count_as_consenting() -> None:
    def mislead(node: str, message: ServerMessage) -> ServerMessage:
        if node == LIAR and isinstance(message, Survivors):
            return Survivors(message.session, b"\xfe\x03")
        return message

    fleet = Fleet(COMPLETE, down=mislead).run()
    fleet.assert_sum_of(*fleet.members.ids)
    assert fleet.reasons() == {LIAR: Refusal.BAD_SIGNATURE}
