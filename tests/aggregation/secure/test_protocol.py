from __future__ import annotations

import gc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregation.rounds import MessageArrived, Opened, Refusal, RoundClient, RoundServer, RoundSpec
from aggregation.secure import LABEL, Encoding, SecureClient, SecureServer
from aggregation.secure.messages import (
    Advertisement,
    ClientMessage,
    Consent,
    Delivery,
    Fixed,
    Masked,
    Neighbourhood,
    Nonce,
    Opening,
    Receipt,
    Revealed,
    ServerMessage,
    Settled,
    Shares,
    Survivors,
    Unmask,
    read,
    read_client,
)
from quasim.errors import DataError
from quasim.space import Floats
from tests.aggregation.round_conformance import LENGTH, NODES, POLICY, VECTORS, RoundConformance
from tests.aggregation.secure.fleet import Fleet, entropy, identity, members, names

KINDS: tuple[type[ClientMessage], ...] = ClientMessage.__args__
COMPLETE, RING = 10, 40
few = settings(deadline=None, max_examples=15)


class TestSecureConforms(RoundConformance):
    label = LABEL
    encoding = Encoding(64, 40, 1.0, 1.0, len(NODES))
    everyone = members(NODES)

    def server(self, spec: RoundSpec) -> RoundServer:
        return SecureServer(spec, self.everyone, self.encoding, identity("server"), entropy=entropy("server"))

    def client(self, node: str, vector: Floats, policy: str) -> RoundClient:
        return SecureClient(node, identity(node), self.everyone, self.encoding, policy, vector, entropy=entropy(node))

    def summed(self, nodes: tuple[str, ...]) -> Floats:
        total = self.encoding.encode(np.zeros(LENGTH), 0.0)
        for node in nodes:
            total += self.encoding.encode(VECTORS[node], 1.0)
        return self.encoding.decode(total)[0]

    def fewest(self, floor: int) -> int:
        return max(floor, 4)


@pytest.mark.parametrize("ring_bits", [32, 64])
@pytest.mark.parametrize("n", [2, 3, COMPLETE, 32, 33, RING])
def test_the_sum_of_all_is_exact_to_the_bit(n: int, ring_bits: int) -> None:
    fleet = Fleet(n, ring_bits=ring_bits).run()
    fleet.assert_sum_of(*fleet.members.ids)
    assert (fleet.errors, fleet.refused) == ({}, [])
    assert fleet.result is not None
    assert fleet.result.dropouts == ()


@few
@given(
    gone=st.dictionaries(
        st.integers(0, COMPLETE - 1), st.sampled_from([k for k in KINDS if k is not Nonce]), max_size=3
    ),
    seed=st.text(max_size=3),
)
def test_the_sum_is_exact_whoever_drops_out_at_whichever_step(gone: dict[int, type[ClientMessage]], seed: str) -> None:
    fleet = Fleet(COMPLETE, seed=seed, gone={f"n{i:03}": kind for i, kind in gone.items()}).run()
    left_before_the_sum = [node for node, kind in fleet.gone.items() if KINDS.index(kind) <= KINDS.index(Masked)]
    fleet.assert_sum_of(*fleet.all_but(*left_before_the_sum))
    assert fleet.result is not None
    assert {node for lost in fleet.result.dropouts for node in lost.nodes} == set(fleet.gone)


@settings(deadline=None, max_examples=5)
@given(
    gone=st.dictionaries(st.integers(0, RING - 1), st.sampled_from(KINDS), min_size=4, max_size=4),
    seed=st.text(max_size=3),
)
def test_the_sum_is_exact_on_the_ring_too(gone: dict[int, type[ClientMessage]], seed: str) -> None:
    fleet = Fleet(RING, seed=seed, gone={f"n{i:03}": kind for i, kind in gone.items()}).run()
    fleet.assert_sum_of(
        *fleet.all_but(*(n for n, kind in fleet.gone.items() if KINDS.index(kind) <= KINDS.index(Masked)))
    )
    assert fleet.errors == {}


def test_neighbours_on_the_ring_may_drop_out_together() -> None:
    adjacent: list[str] = []

    def lose(node: str, message: ClientMessage, data: bytes) -> bytes | None:
        return None if isinstance(message, Masked) and node in adjacent else data

    def look(node: str, message: ServerMessage) -> ServerMessage:
        if isinstance(message, Neighbourhood) and message.index in (0, 1, 2, 39):
            adjacent.append(node)
        return message

    fleet = Fleet(RING, up=lose, down=look).run()
    assert len(adjacent) == 4
    fleet.assert_sum_of(*fleet.all_but(*adjacent))


def test_dropouts_are_reported_by_step_and_bytes_as_they_went() -> None:
    gone: dict[str, type[ClientMessage]] = {"n001": Advertisement, "n002": Shares, "n003": Masked}
    fleet = Fleet(COMPLETE + 2, gone=gone).run()
    assert fleet.result is not None
    assert [(lost.step, lost.nodes) for lost in fleet.result.dropouts] == [
        ("keys", ("n001",)),
        ("shares", ("n002",)),
        ("vectors", ("n003",)),
    ]
    assert fleet.result.sent_bytes == sum(len(data) for _, data in fleet.seen)
    assert fleet.result.received_bytes is not None
    assert fleet.result.received_bytes > 0


@pytest.mark.parametrize("last", [Masked, Consent, Revealed])
def test_exactly_t_are_enough_and_one_fewer_reveals_nothing(last: type[ClientMessage]) -> None:
    t = 2 * COMPLETE // 3 + 1
    enough = Fleet(COMPLETE, gone={f"n{i:03}": last for i in range(COMPLETE - t)}).run()
    enough.assert_sum_of(*(enough.all_but(*enough.gone) if last is Masked else enough.members.ids))
    revealed: list[str] = []

    def watch(node: str, message: ClientMessage, data: bytes) -> bytes:
        if isinstance(message, Revealed):
            revealed.append(node)
        return data

    fewer = Fleet(COMPLETE, up=watch, gone={f"n{i:03}": last for i in range(COMPLETE - t + 1)}).run()
    assert fewer.abandoned is not None
    assert fewer.result is None
    assert len(revealed) == (t - 1 if last is Revealed else 0)


@pytest.mark.parametrize(
    ("n", "kind", "last", "why"),
    [
        (COMPLETE, Advertisement, Opening, "6 participants are below the floor of 7"),
        (COMPLETE, Shares, Neighbourhood, "6 participants are below the floor of 7"),
        (COMPLETE, Receipt, Delivery, "6 participants are below the floor of 7"),
        (COMPLETE, Masked, Settled, "6 vectors are below the floor of 7"),
        (COMPLETE, Consent, Survivors, "6 survivors help to unmask, 7 must"),
        (COMPLETE, Revealed, Unmask, "6 shares of n000, 7 are needed"),
        (RING, Advertisement, Opening, "10 participants are below the floor of 11"),
        (RING, Nonce, Fixed, "a ring of 10, it needs 11"),
        (RING, Shares, Neighbourhood, "10 participants are below the floor of 11"),
    ],
)
def test_with_one_too_few_a_round_ends_at_once(
    n: int, kind: type[ClientMessage], last: type[ServerMessage], why: str
) -> None:
    gone = dict.fromkeys(names(n)[7 if n == COMPLETE else 11 :], kind)
    fleet = Fleet(n, gone=gone | {names(n)[1]: kind}).run()
    assert fleet.abandoned == why
    assert type(read(fleet.seen[-1][1], ServerMessage)) is last  # type: ignore[arg-type]
    assert fleet.errors == {}


def test_below_its_floor_a_round_is_abandoned_and_nobody_reveals_anything() -> None:
    gone: dict[str, type[ClientMessage]] = {"n000": Masked, "n001": Masked}
    fleet = Fleet(COMPLETE, floor=9, gone=gone).run()
    assert fleet.abandoned == "8 vectors are below the floor of 9"


def test_weights_travel_with_the_vectors() -> None:
    fleet = Fleet(COMPLETE, weights={"n000": 0.25, "n001": 0.0, "n002": 0.5}).run()
    fleet.assert_sum_of(*fleet.members.ids)
    assert fleet.result is not None
    assert fleet.result.weight == 7.75


def test_weights_may_all_be_zero() -> None:
    fleet = Fleet(4, weights=dict.fromkeys(("n000", "n001", "n002", "n003"), 0.0)).run()
    fleet.assert_sum_of(*fleet.members.ids)
    assert fleet.result is not None
    assert fleet.result.weight == 0.0
    assert not fleet.result.sums.any()


@pytest.mark.parametrize("ring_bits", [32, 64])
def test_a_masked_vector_looks_uniform(ring_bits: int) -> None:
    payloads: list[bytes] = []

    def watch(node: str, message: ClientMessage, data: bytes) -> bytes:
        if isinstance(message, Masked):
            payloads.append(bytes(read_client(data)[1]))
        return data

    fleet = Fleet(4, length=20_000, ring_bits=ring_bits, up=watch, weights=dict.fromkeys(("n000",), 0.0)).run()
    fleet.assert_sum_of(*fleet.members.ids)
    for payload in payloads:
        counts = np.bincount(np.frombuffer(payload, np.uint8), minlength=256)
        expected = len(payload) / 256
        # Chi squared with 255 degrees of freedom: mean 255, standard deviation 22.6; five of them either way.
        assert 142 < float(((counts - expected) ** 2 / expected).sum()) < 368


def test_the_same_round_run_again_masks_the_same_vector_otherwise() -> None:
    sent: dict[str, list[bytes]] = {}

    def watch(node: str, message: ClientMessage, data: bytes) -> bytes:
        if isinstance(message, Masked):
            sent.setdefault(node, []).append(bytes(read_client(data)[1]))
        return data

    fleet = Fleet(4, up=watch).run()
    fleet.server, fleet.result = fleet.new_server(8), None
    fleet.run().assert_sum_of(*fleet.members.ids)
    assert all(first != second for first, second in sent.values())


def test_a_late_vector_is_refused_once_its_sender_counts_as_dropped_out() -> None:
    late: list[bytes] = []

    def delay(node: str, message: ClientMessage, data: bytes) -> bytes | None:
        if node == "n003" and isinstance(message, Masked):
            late.append(data)
            return None
        if isinstance(message, Consent) and late:
            fleet.tell(MessageArrived("n003", late.pop()))
        return data

    fleet = Fleet(COMPLETE, up=delay)
    fleet.run().assert_sum_of(*fleet.all_but("n003"))
    assert fleet.reasons() == {"n003": Refusal.LATE}


@pytest.mark.parametrize("n", [COMPLETE, RING])
def test_secrets_are_erased_when_the_round_ends(n: int) -> None:
    drawn: list[bytes] = []
    fleet = Fleet(n)

    def remember(count: int, draw: object = entropy("remembered")) -> bytes:
        assert callable(draw)
        drawn.append(draw(count))
        return drawn[-1]

    def look(node: str, message: ClientMessage, data: bytes) -> bytes:
        if node == "n000" and isinstance(message, Advertisement):
            held.append(reachable(fleet.clients["n000"]) & set(drawn))
        return data

    held: list[set[bytes]] = []
    fleet.up = look
    fleet.clients["n000"] = SecureClient(
        "n000", identity("n000"), fleet.members, fleet.encoding, POLICY, np.zeros(5), entropy=remember
    )
    fleet.run()
    assert fleet.result is not None
    # Two X25519 keys, one of which the library hides, the seed, on the ring a nonce, and coefficients for two secrets.
    assert len(drawn) == (5 if n <= 32 else 6)
    assert len(held[0]) == (2 if n <= 32 else 3)
    assert not fleet.clients["n000"].in_round
    assert not reachable(fleet.clients["n000"]) & set(drawn)


def reachable(root: object) -> set[bytes]:
    """All bytes that an object still leads to."""
    found, todo, seen = set[bytes](), [root], set[int]()
    while todo:
        one = todo.pop()
        if id(one) in seen or isinstance(one, type(gc)):
            continue
        seen.add(id(one))
        if isinstance(one, bytes):
            found.add(one)
        elif not isinstance(one, type) and not callable(one):
            todo += gc.get_referents(one)
    return found


def test_a_client_that_is_built_again_in_mid_round_counts_as_dropped_out() -> None:
    def restart(node: str, message: ClientMessage, data: bytes) -> bytes:
        if node == "n004" and isinstance(message, Shares):
            fleet.clients[node] = fleet.client(node, last_round=fleet.clients[node].last_round)
        return data

    fleet = Fleet(COMPLETE, up=restart)
    fleet.run().assert_sum_of(*fleet.all_but("n004"))
    assert "not in" in str(fleet.errors["n004"])
    opening = next(data for node, data in fleet.seen if node == "n004")
    assert fleet.clients["n004"].last_round == 7
    assert fleet.clients["n004"].handle(opening) == []


def test_a_server_that_is_built_again_in_mid_round_opens_a_new_number_which_is_answered() -> None:
    stale: list[tuple[str, bytes]] = []

    def crash(node: str, message: ClientMessage, data: bytes) -> bytes | None:
        stale.append((node, data))
        return None if isinstance(message, Receipt) else data

    fleet = Fleet(COMPLETE, up=crash).run()
    assert fleet.abandoned is not None
    fleet.server, fleet.abandoned, fleet.up = fleet.new_server(8), None, lambda node, message, data: data
    fleet.tell(Opened())
    fleet.server = fleet.new_server(9)
    fleet.run().assert_sum_of(*fleet.members.ids)
    assert fleet.server.handle(MessageArrived(*stale[0]))[0].reason is Refusal.LATE  # type: ignore[union-attr]


def test_a_newer_opening_ends_the_round_before_it() -> None:
    fleet = Fleet(COMPLETE)
    first = dict(fleet.tell(Opened()))
    fleet.server = fleet.new_server(8)
    second = dict(fleet.tell(Opened()))
    client = fleet.clients["n000"]
    assert client.handle(first["n000"])
    assert client.handle(second["n000"])
    with pytest.raises(DataError, match="not newer"):
        client.handle(first["n000"])


@pytest.mark.parametrize(
    ("what", "changes"),
    [
        ("not the one in the roster", {"identity": identity("n001")}),
        ("not in the roster", {"node": "x"}),
        ("participants", {"members": members(names(5))}),
        ("NaN", {"vector": np.full(LENGTH, np.nan)}),
        ("NaN", {"vector": np.full(LENGTH, np.inf)}),
        ("weight", {"weight": 1.01}),
        ("weight", {"weight": -0.01}),
    ],
)
def test_a_client_that_does_not_fit_cannot_be_built(what: str, changes: dict[str, object]) -> None:
    fleet = Fleet(4)
    fitting: dict[str, object] = {
        "node": "n000",
        "identity": identity("n000"),
        "members": fleet.members,
        "encoding": fleet.encoding,
        "policy": "",
        "vector": np.zeros(LENGTH),
    }
    SecureClient(**fitting)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=what):
        SecureClient(**(fitting | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("what", "roster", "who", "n"),
    [
        ("not the one in the roster", ("n000",), "n000", 4),
        ("not in the roster", ("x",), "server", 4),
        ("participants", ("n000",), "server", 5),
    ],
)
def test_a_server_that_does_not_fit_cannot_be_built(what: str, roster: tuple[str, ...], who: str, n: int) -> None:
    with pytest.raises(DataError, match=what):
        SecureServer(RoundSpec(0, roster, "", LENGTH, 1), members(names(n)), Fleet(4).encoding, identity(who))


def test_equal_entropy_gives_equal_rounds() -> None:
    assert Fleet(COMPLETE).run().seen == Fleet(COMPLETE).run().seen
