from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregation.secure import ring
from quasim.errors import DataError

FIXED = hashlib.sha256(b"advertisements").digest()
OTHER = hashlib.sha256(b"another").digest()


def nonces(count: int, seed: int = 0) -> dict[str, bytes]:
    source = random.Random(seed)
    return {f"node-{i}": source.randbytes(32) for i in range(count)}


def test_commitment_known_answer() -> None:
    assert ring.commitment(bytes(32)) == hashlib.sha256(b"quasim/secure/ring/commitment/1\0" + bytes(32)).digest()


def test_position_known_answer() -> None:
    expected = hashlib.sha256(b"quasim/secure/ring/position/1\0" + FIXED + b"\x07" * 32 + b"a").digest()
    assert ring.position(FIXED, "a", b"\x07" * 32) == expected


def test_position_depends_on_root_member_and_nonce() -> None:
    positions = {ring.position(s, m, n) for s in (FIXED, OTHER) for m in "ab" for n in (bytes(32), b"\1" * 32)}
    assert len(positions) == 8


def test_order_is_by_position_whatever_the_order_of_arrival() -> None:
    members = nonces(40)
    shuffled = dict(reversed(members.items()))
    in_order = ring.order(FIXED, members)
    assert in_order == ring.order(FIXED, shuffled)
    assert sorted(in_order) == sorted(members)
    positions = [ring.position(FIXED, member, members[member]) for member in in_order]
    assert positions == sorted(positions)
    assert ring.order(OTHER, members) != in_order


def test_a_member_that_leaves_moves_nobody_else() -> None:
    members = nonces(40)
    in_order = ring.order(FIXED, members)
    rest = {member: nonce for member, nonce in members.items() if member != "node-7"}
    assert ring.order(FIXED, rest) == tuple(member for member in in_order if member != "node-7")


@given(data=st.data())
def test_neighbours_are_mutual_distinct_and_the_nearest(data: st.DataObject) -> None:
    count = data.draw(st.integers(4, 60))
    k = data.draw(st.integers(1, (count - 2) // 2)) * 2
    members = tuple(f"node-{i}" for i in range(count))
    for index, member in enumerate(members):
        near = ring.neighbours(members, index, k)
        assert len(set(near)) == k
        assert member not in near
        assert {min((members.index(n) - index) % count, (index - members.index(n)) % count) for n in near} == set(
            range(1, k // 2 + 1)
        )
        assert all(member in ring.neighbours(members, members.index(n), k) for n in near)


def test_neighbours_known_answer() -> None:
    assert ring.neighbours("abcdefg", 1, 4) == ("g", "a", "c", "d")


@pytest.mark.parametrize("count", [2, 3, 4, 7])
def test_complete_graph_has_all_others(count: int) -> None:
    members = tuple(f"node-{i}" for i in range(count))
    for index in range(count):
        assert set(ring.neighbours(members, index, count - 1)) == set(members) - {members[index]}


@pytest.mark.parametrize(("count", "k"), [(10, 3), (10, 0), (10, -2), (10, 10), (10, 12), (5, 5), (1, 2)])
def test_k_that_no_ring_has_is_refused(count: int, k: int) -> None:
    with pytest.raises(DataError, match="neighbours among"):
        ring.offsets(count, k)


@pytest.mark.parametrize("index", [-1, 5])
def test_index_outside_the_ring_is_refused(index: int) -> None:
    with pytest.raises(DataError, match="in a ring of 5"):
        ring.neighbours("abcde", index, 2)


@pytest.mark.parametrize("nonce", [b"", bytes(31), bytes(33)])
def test_nonce_of_another_length_is_refused(nonce: bytes) -> None:
    with pytest.raises(DataError, match="nonce"):
        ring.commitment(nonce)
    with pytest.raises(DataError, match="nonce"):
        ring.position(FIXED, "a", nonce)


def test_root_must_be_a_digest() -> None:
    with pytest.raises(DataError, match="root of 5 bytes"):
        ring.position(b"short", "a", bytes(32))
