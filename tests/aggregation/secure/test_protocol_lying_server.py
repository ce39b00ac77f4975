"""What clients say to a server that lies about terms or about who takes part: nothing more in this round."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
import numpy as np
import pytest

from aggregation.rounds import Opened, to_message
from aggregation.secure import Encoding
from aggregation.secure.graph import Graph, is_plausible, pack, unpack
from aggregation.secure.keys import SIGNATURE_BYTES, Signed, sign
from aggregation.secure.messages import (
    ClientMessage,
    Consent,
    Delivery,
    Fixed,
    Masked,
    Neighbourhood,
    Opening,
    Receipt,
    Revealed,
    ServerMessage,
    Settled,
    Shares,
    Survivors,
    Unmask,
    read,
)
from quasim.errors import DataError
from tests.aggregation.secure.fleet import Fleet, identity, members, names

COMPLETE, RING = 10, 40
ME = "n003"
# Round key of the tests: any X25519 public key.
KEY = bytes([9]) + bytes(31)


def opening(fleet: Fleet, changes: Mapping[str, object] | None = None, signer: str = "server") -> bytes:
    """An opening with some terms changed, signed by whomever."""
    honest = read(fleet.tell(Opened())[0][1], Opening)
    terms = msgspec.structs.replace(honest.terms, **(changes or {}))
    return to_message(Opening(terms, KEY, sign(identity(signer), Signed.OPENING, terms.session(), KEY)))


def encoding(**changes: object) -> Encoding:
    return msgspec.structs.replace(Fleet(COMPLETE).encoding, **changes)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"federation": "other"}, "another roster"),
        ({"roster_digest": bytes(32)}, "another roster"),
        ({"number": 5}, "not newer"),
        ({"policy": "cd" * 32}, "adopt the newest policy"),
        ({"length": 4}, "compare catalogues"),
        ({"t": 1}, "threshold 1"),
        ({"k": 8}, "8 neighbours"),
        ({"k": 2, "t": 2}, "2 neighbours"),
        ({"floor": 8}, "a floor of 8"),
        ({"encoding": encoding(scale_bits=15)}, "a round in"),
        ({"encoding": encoding(clip=2.0)}, "a round in"),
        ({"encoding": encoding(weight_bound=2.0)}, "a round in"),
        ({"encoding": encoding(participants=11)}, "a round in"),
    ],
)
def test_a_round_on_other_terms_is_refused(changes: dict[str, object], what: str) -> None:
    fleet = Fleet(COMPLETE, floor=9)
    client = fleet.client(ME, last_round=6)
    with pytest.raises(DataError, match=what):
        client.handle(opening(fleet, changes))
    assert not client.in_round
    assert client.handle(opening(fleet, {"number": 6})) == []
    assert client.handle(opening(fleet))


def test_an_opening_that_the_pinned_server_did_not_sign_is_refused() -> None:
    fleet = Fleet(COMPLETE)
    with pytest.raises(DataError, match="signature"):
        fleet.clients[ME].handle(opening(fleet, signer="n000"))
    honest = read(opening(fleet), Opening)
    with pytest.raises(DataError, match="signature"):
        fleet.clients[ME].handle(to_message(msgspec.structs.replace(honest, round_key=bytes([8]) + bytes(31))))


def test_a_roster_of_others_is_refused() -> None:
    few = Fleet(COMPLETE)
    with pytest.raises(DataError, match="another roster"):
        few.clients[ME].handle(opening(Fleet(COMPLETE, floor=3)))
    assert members(names(4)).digest != members(names(5)).digest


def test_a_round_key_that_gives_everyone_the_same_secret_is_refused() -> None:
    """It would let anyone vouch for a vector."""
    fleet = Fleet(COMPLETE)

    def weaken(node: str, message: ServerMessage) -> ServerMessage:
        if node == ME and isinstance(message, Opening):
            signature = sign(identity("server"), Signed.OPENING, message.terms.session(), bytes(32))
            return Opening(message.terms, bytes(32), signature)
        return message

    fleet.down = weaken
    fleet.run().assert_sum_of(*fleet.all_but(ME))
    assert "no secret can be agreed" in str(fleet.errors[ME])


def bits(count: int, *unset: int) -> bytes:
    chosen = np.ones(count, np.bool_)
    chosen[list(unset)] = False
    return pack(chosen)


# In the complete graph of ten, t is 7, and n003 has place 3 with neighbours 4 to 9 and 0 to 2 by slot.
SETS: list[tuple[type[ServerMessage], str, Callable[..., ServerMessage], str]] = [
    (Settled, "without it", lambda m: Settled(m.session, bits(10, 3)), "without this node"),
    (Settled, "below t", lambda m: Settled(m.session, bits(10, 4, 5, 6, 7)), "below the floor"),
    (Settled, "short", lambda m: Settled(m.session, b"\xff"), "bytes of bits"),
    (Settled, "too many bits", lambda m: Settled(m.session, b"\xff\xff"), "beyond"),
    (Survivors, "without it", lambda m: Survivors(m.session, bits(10, 3)), "without this node"),
    (Survivors, "below t", lambda m: Survivors(m.session, bits(10, 4, 5, 6, 7)), "below the floor"),
    (Survivors, "short", lambda m: Survivors(m.session, b"\xff"), "bytes of bits"),
    (Delivery, "short", lambda m: Delivery(m.session, m.present, m.sealed[1:], m.digests), "sealed"),
    (Delivery, "short digests", lambda m: Delivery(m.session, m.present, m.sealed, m.digests[1:]), "digests"),
    (Delivery, "too many bits", lambda m: Delivery(m.session, b"\xff\xff", m.sealed, m.digests), "beyond"),
    (Unmask, "unsigned", lambda m: Unmask(m.session, bytes(len(m.signatures))), "0 neighbours agree"),
    (Unmask, "short", lambda m: Unmask(m.session, m.signatures[1:]), "signatures"),
]


@pytest.mark.parametrize(("kind", "name", "forge", "what"), SETS)
def test_a_set_that_does_not_hold_ends_the_round_for_the_client(
    kind: type[ServerMessage], name: str, forge: Callable[..., ServerMessage], what: str
) -> None:
    fleet = Fleet(
        COMPLETE, down=lambda node, message: forge(message) if node == ME and isinstance(message, kind) else message
    ).run()
    assert set(fleet.errors) == {ME}
    assert what in str(fleet.errors[ME])
    assert not fleet.clients[ME].in_round
    fleet.assert_sum_of(*(fleet.all_but(ME) if kind in (Delivery, Settled) else fleet.members.ids))


@pytest.mark.parametrize("kind", [Settled, Survivors])
def test_a_set_with_too_few_of_ones_neighbours_is_refused_even_above_the_floor(kind: type[Settled | Survivors]) -> None:
    """Ten of forty are far from the floor, but here they leave the client four neighbours of fourteen."""
    place: dict[str, int] = {}

    def thin(node: str, message: ServerMessage) -> ServerMessage:
        if isinstance(message, Neighbourhood):
            place[node] = message.index
        if isinstance(message, kind) and node == ME:
            away = [(place[ME] + step) % RING for step in (-5, -4, -3, -2, -1, 1, 2, 3, 4, 5)]
            return kind(message.session, bits(RING, *away))
        return message

    fleet = Fleet(RING, down=thin).run()
    assert "4 neighbours are left" in str(fleet.errors[ME])


def test_survivors_who_did_not_take_part_are_refused() -> None:
    def add(node: str, message: ServerMessage) -> ServerMessage:
        return Survivors(message.session, bits(10)) if node == ME and isinstance(message, Survivors) else message

    fleet = Fleet(COMPLETE, down=add, gone={"n005": Shares}).run()
    assert "did not take part" in str(fleet.errors[ME])


def test_a_neighbour_whose_shares_did_not_open_may_not_be_kept() -> None:
    def spoil(node: str, message: ServerMessage) -> ServerMessage:
        if node == ME and isinstance(message, Delivery):
            return Delivery(message.session, message.present, bytes(80) + message.sealed[80:], message.digests)
        return Settled(message.session, bits(10)) if node == ME and isinstance(message, Settled) else message

    fleet = Fleet(COMPLETE, down=spoil).run()
    assert "did not open" in str(fleet.errors[ME])


def test_a_neighbour_who_was_not_delivered_may_not_be_kept() -> None:
    def hide(node: str, message: ServerMessage) -> ServerMessage:
        if node == ME and isinstance(message, Delivery):
            return Delivery(message.session, bits(9, 0), message.sealed, message.digests)
        return message

    fleet = Fleet(COMPLETE, down=hide).run()
    assert "did not open" in str(fleet.errors[ME])


def test_clients_who_are_told_different_survivors_reveal_nothing() -> None:
    """Half are told that n000 survived, half that n009 did; each side is too small to agree on anything."""
    fleet = Fleet(COMPLETE)
    consents: dict[str, bytes] = {}
    revealed: list[str] = []

    def split(node: str, message: ServerMessage) -> ServerMessage:
        if isinstance(message, Survivors):
            return Survivors(message.session, bits(10, 9) if node < "n005" else bits(10, 0))
        return message

    def collect(node: str, message: ClientMessage, data: bytes) -> bytes:
        if isinstance(message, Consent):
            consents[node] = message.signature
        if isinstance(message, Revealed):
            revealed.append(node)
        return data

    fleet.down, fleet.up = split, collect
    fleet.run()
    session = read(fleet.seen[-1][1], Survivors).session
    for i in range(1, 9):
        around = [f"n{j:03}" for j in Graph(10, 9).neighbours(i)]
        unmask = Unmask(session, b"".join(consents.get(node, bytes(SIGNATURE_BYTES)) for node in around))
        with pytest.raises(DataError, match=r"[34] neighbours agree on who survived, 6 must"):
            fleet.clients[f"n{i:03}"].handle(to_message(unmask))
    assert revealed == []


def test_exactly_the_quorum_of_consents_is_enough_and_one_fewer_is_not() -> None:
    for missing, agreed in ((3, True), (4, False)):

        def hide(node: str, message: ServerMessage, missing: int = missing) -> ServerMessage:
            if node == ME and isinstance(message, Unmask):
                return Unmask(message.session, bytes(64 * missing) + message.signatures[64 * missing :])
            return message

        fleet = Fleet(COMPLETE, down=hide).run()
        assert (ME not in fleet.errors) is agreed


def test_consents_of_nodes_that_did_not_survive_do_not_count() -> None:
    """All ten are there, but only seven survive: three others' signatures, however valid, are no consent."""
    fleet = Fleet(COMPLETE)
    told: list[Survivors] = []

    def forge(node: str, message: ServerMessage) -> ServerMessage:
        if isinstance(message, Survivors):
            told.append(message)
        if isinstance(message, Unmask) and node == ME:
            return Unmask(message.session, message.signatures[:-64] + bytes(64))
        return message

    # Of the seven survivors one does not consent to n003; a node that dropped out would have to step in.
    fleet.down, fleet.gone = forge, dict.fromkeys(("n007", "n008", "n009"), Masked)
    fleet.run()
    assert "5 neighbours agree" in str(fleet.errors[ME])


def test_whoever_asks_again_for_other_shares_gets_none() -> None:
    fleet = Fleet(COMPLETE)
    letters: list[bytes] = []
    answers: list[list[bytes]] = []

    def again(node: str, message: ClientMessage, data: bytes) -> bytes:
        if node == ME and isinstance(message, (Consent, Revealed)):
            other = to_message(Survivors(message.session, bits(10, 9)))
            answers.append(fleet.clients[ME].handle(other))
        return data

    def keep(node: str, message: ServerMessage) -> ServerMessage:
        if node == ME:
            letters.append(to_message(message))
        return message

    fleet.up, fleet.down = again, keep
    fleet.run().assert_sum_of(*fleet.members.ids)
    assert answers == [[], []]
    assert [fleet.clients[ME].handle(letter) for letter in letters] == [[]] * 6


@pytest.mark.parametrize("n", [COMPLETE, RING])
def test_every_message_of_the_server_is_answered_once(n: int) -> None:
    fleet = Fleet(n)
    repeated: list[list[bytes]] = []

    def twice(node: str, message: ClientMessage, data: bytes) -> bytes:
        repeated.append(fleet.clients[node].handle(fleet.seen[-1][1]))
        return data

    fleet.up = twice
    fleet.run().assert_sum_of(*fleet.members.ids)
    assert repeated == [[]] * len(repeated)
    assert len(repeated) == n * (6 if n <= 32 else 7)


def test_steps_are_not_skipped() -> None:
    def skip(node: str, message: ServerMessage) -> ServerMessage:
        if node == ME and isinstance(message, Settled):
            return Survivors(message.session, message.members)
        return message

    fleet = Fleet(COMPLETE, down=skip).run()
    assert "Survivors came instead of Settled" in str(fleet.errors[ME])
    with pytest.raises(DataError, match="done with the round"):
        fleet.clients[ME].handle(to_message(Settled(read(fleet.seen[-1][1], Unmask).session, bits(10))))


def test_messages_of_another_session_end_nothing() -> None:
    fleet = Fleet(COMPLETE)

    def stray(node: str, message: ServerMessage) -> ServerMessage:
        if not isinstance(message, Opening):
            with pytest.raises(DataError, match="not in"):
                fleet.clients[node].handle(to_message(Settled(bytes(32), bits(10))))
        return message

    fleet.down = stray
    fleet.run().assert_sum_of(*fleet.members.ids)


def test_a_root_of_another_length_is_refused() -> None:
    def shorten(node: str, message: ServerMessage) -> ServerMessage:
        return Fixed(message.session, b"") if node == ME and isinstance(message, Fixed) else message

    fleet = Fleet(RING, down=shorten).run()
    fleet.assert_sum_of(*fleet.all_but(ME))
    assert "root of 0 bytes" in str(fleet.errors[ME])


def test_a_client_reveals_one_share_a_neighbour_and_none_of_who_never_took_part() -> None:
    sent: list[Revealed] = []

    def keep(node: str, message: ClientMessage, data: bytes) -> bytes:
        if isinstance(message, Revealed) and node == ME:
            sent.append(message)
        return data

    fleet = Fleet(COMPLETE, up=keep, gone={"n005": Receipt, "n006": Masked}).run()
    fleet.assert_sum_of(*fleet.all_but("n005", "n006"))
    (message,) = sent
    shares = [message.shares[i : i + 32] for i in range(0, len(message.shares), 32)]
    assert len(shares) == COMPLETE
    stranger = Graph(COMPLETE, COMPLETE - 1).neighbours(3).tolist().index(5)
    assert [i for i, share in enumerate(shares) if share == bytes(32)] == [stranger]
    assert len(set(shares)) == COMPLETE


def test_bits_read_back_and_nothing_else_does() -> None:
    for count in (1, 8, 9, 40):
        chosen = np.arange(count) % 3 == 0
        assert (unpack(pack(chosen), count) == chosen).all()
        with pytest.raises(DataError, match="bytes of bits"):
            unpack(pack(chosen) + b"\0", count)
    with pytest.raises(DataError, match="beyond the 9th"):
        unpack(b"\xff\xff", 9)


def test_what_chance_allows_is_plausible_and_the_rest_is_not() -> None:
    assert is_plausible(100, 1000, 0.1)
    assert is_plausible(60, 1000, 0.1)
    assert is_plausible(0, 5, 0.0)
    assert is_plausible(5, 5, 1.0)
    assert not is_plausible(100, 1000, 0.25)
    assert not is_plausible(100, 1000, 0.02)
    assert not is_plausible(2, 1000, 0.0)
