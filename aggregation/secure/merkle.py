"""A Merkle tree over an ordered list, hashed as in RFC 6962, with proofs for ranges of neighbouring leaves."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from quasim.errors import DataError

HASH_BYTES = 32


class Tree:
    """All hashes of a list of at least one leaf.

    Attributes:
        count: leaves.
        root: 32 bytes.
    """

    def __init__(self, leaves: Sequence[bytes]) -> None:
        if not leaves:
            raise DataError("a Merkle tree of no leaves", "commit to at least one")
        # A last node without a sibling rises as it is, which gives RFC 6962's split at the largest power of two.
        self._levels = [[_leaf(leaf) for leaf in leaves]]
        while len(self._levels[-1]) > 1:
            self._levels.append(_parents(self._levels[-1]))
        self.count = len(leaves)
        self.root = self._levels[-1][0]

    def prove(self, start: int, stop: int) -> tuple[bytes, ...]:
        """What ``verify`` needs besides the leaves of [start, stop): at most 2 log2(count) hashes.

        Raises:
            DataError: an empty range, or one outside the list.
        """
        _check_range(self.count, start, stop)
        proof: list[bytes] = []
        for level in self._levels[:-1]:
            left, right = _outside(len(level), start, stop)
            proof += [level[i] for i in (left, right) if i is not None]
            start, stop = start // 2, (stop + 1) // 2
        return tuple(proof)


def verify(root: bytes, count: int, start: int, leaves: Sequence[bytes], proof: Sequence[bytes]) -> None:
    """Check that a list of ``count`` leaves under ``root`` holds these, in this order, from index ``start``.

    Raises:
        DataError: it does not, or the proof is of another shape.
    """
    stop = start + len(leaves)
    _check_range(count, start, stop)
    nodes, rest = [_leaf(leaf) for leaf in leaves], list(reversed(proof))
    while count > 1:
        left, right = _outside(count, start, stop)
        if left is not None:
            nodes.insert(0, _take(rest))
        if right is not None:
            nodes.append(_take(rest))
        nodes = _parents(nodes)
        start, stop, count = start // 2, (stop + 1) // 2, (count + 1) // 2
    if rest or nodes != [root]:
        raise DataError("a Merkle proof does not lead to its root", "refuse the list it came with")


def _outside(width: int, start: int, stop: int) -> tuple[int | None, int | None]:
    """Indices of the siblings that [start, stop) lacks on either side, in a level of ``width`` nodes."""
    left = start - 1 if start % 2 else None
    right = stop if stop % 2 and stop < width else None
    return left, right


def _parents(nodes: Sequence[bytes]) -> list[bytes]:
    pairs = [hashlib.sha256(b"\x01" + a + b).digest() for a, b in zip(nodes[::2], nodes[1::2], strict=False)]
    return [*pairs, nodes[-1]] if len(nodes) % 2 else pairs


def _leaf(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def _take(rest: list[bytes]) -> bytes:
    if not rest or len(rest[-1]) != HASH_BYTES:
        raise DataError("a Merkle proof is too short or holds no hash", "refuse the list it came with")
    return rest.pop()


def _check_range(count: int, start: int, stop: int) -> None:
    if not 0 <= start < stop <= count:
        raise DataError(f"leaves {start} to {stop} of {count}", "ask for a range inside the list")
