from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregation.secure.merkle import Tree, verify
from quasim.errors import DataError

# Leaves and roots of the test vectors of Certificate Transparency (RFC 6962), by number of leaves.
LEAVES = [
    bytes.fromhex(leaf)
    for leaf in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def numbered(count: int) -> list[bytes]:
    return [b"leaf %d" % i for i in range(count)]


@pytest.mark.parametrize("count", range(1, 9))
def test_roots_are_those_of_rfc_6962(count: int) -> None:
    assert Tree(LEAVES[:count]).root.hex() == ROOTS[count - 1]


def test_audit_paths_are_those_of_rfc_6962() -> None:
    # Section 2.1.3: of seven leaves, the path of d3 is [c, g, l] and that of d6 is [i, k].
    tree = Tree(LEAVES[:7])
    assert tree.prove(3, 4) == (Tree(LEAVES[2:3]).root, Tree(LEAVES[:2]).root, Tree(LEAVES[4:7]).root)
    assert tree.prove(6, 7) == (Tree(LEAVES[4:6]).root, Tree(LEAVES[:4]).root)


@given(data=st.data())
def test_every_range_is_proven_with_few_hashes(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 70))
    start = data.draw(st.integers(0, count - 1))
    stop = data.draw(st.integers(start + 1, count))
    leaves = numbered(count)
    tree = Tree(leaves)
    proof = tree.prove(start, stop)
    verify(tree.root, tree.count, start, leaves[start:stop], proof)
    assert len(proof) <= 2 * (count - 1).bit_length()


@given(data=st.data())
def test_any_other_claim_is_refused(data: st.DataObject) -> None:
    count = data.draw(st.integers(2, 40))
    start = data.draw(st.integers(0, count - 1))
    stop = data.draw(st.integers(start + 1, count))
    leaves = numbered(count)
    tree, shown = Tree(leaves), leaves[start:stop]
    proof = list(tree.prove(start, stop))
    lies = [
        (tree.root, count, start, [*shown[:-1], b"another"], proof),
        (Tree(leaves[::-1]).root, count, start, shown, proof),
        (tree.root, count, start, shown, [*proof, bytes(32)]),
        (tree.root, count, start, shown, [bytes(32), *proof[1:]] if proof else [bytes(32)]),
        (tree.root, count, start, shown, proof[:-1] if proof else [bytes(31)]),
    ]
    if len(shown) > 1:
        lies += [(tree.root, count, start, shown[::-1], proof), (tree.root, count, start, shown[:-1], proof)]
    for root, width, index, part, hashes in lies:
        with pytest.raises(DataError):
            verify(root, width, index, part, hashes)


def test_leaf_is_proven_at_its_own_index_only() -> None:
    leaves = numbered(11)
    tree = Tree(leaves)
    for index in range(11):
        proof = tree.prove(index, index + 1)
        for claimed in set(range(11)) - {index}:
            with pytest.raises(DataError):
                verify(tree.root, 11, claimed, [leaves[index]], proof)


def test_inner_node_is_no_leaf() -> None:
    leaves = numbered(4)
    tree = Tree(leaves)
    left, right = Tree(leaves[:2]).root, Tree(leaves[2:]).root
    with pytest.raises(DataError, match="does not lead"):
        verify(tree.root, 2, 0, [left, right], ())


def test_hash_of_another_length_is_refused() -> None:
    tree = Tree(numbered(2))
    with pytest.raises(DataError, match="holds no hash"):
        verify(tree.root, 2, 0, numbered(1), [bytes(33)])


def test_nothing_cannot_be_committed_to() -> None:
    with pytest.raises(DataError, match="no leaves"):
        Tree([])


@pytest.mark.parametrize(("start", "stop"), [(-1, 1), (0, 0), (2, 1), (4, 6), (5, 6)])
def test_range_outside_the_list_is_refused(start: int, stop: int) -> None:
    tree = Tree(numbered(5))
    with pytest.raises(DataError, match="of 5"):
        tree.prove(start, stop)
    with pytest.raises(DataError, match="of 5"):
        verify(tree.root, 5, start, numbered(max(stop - start, 0)), ())
