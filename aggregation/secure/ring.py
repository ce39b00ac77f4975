"""The neighbour graph: a ring in an order that nobody can choose, and on it the k nearest of each member.

A position is the hash of a member's own nonce and of the root over everyone's advertisements, in which the nonces are
committed. The nonce keeps it from the server until all have committed; the root keeps it from the member, whose nonce
could otherwise be chosen for its place. Server and corrupt members together can only try one set of commitments after
another, each a draw of all their places by chance, and ``arcs`` allows for 2^60 of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from quasim.errors import DataError

NONCE_BYTES = 32
_COMMITMENT_TAG = b"quasim/secure/ring/commitment/1\x00"
_POSITION_TAG = b"quasim/secure/ring/position/1\x00"


def commitment(nonce: bytes) -> bytes:
    """SHA-256 that a member signs in its key advertisement; 32 bytes that tell nothing of the nonce.

    Raises:
        DataError: a nonce that is not 32 bytes.
    """
    return hashlib.sha256(_COMMITMENT_TAG + _nonce(nonce)).digest()


def position(fixed: bytes, member: str, nonce: bytes) -> bytes:
    """Where a member lies on the ring: 32 bytes, compared as an unsigned big-endian number.

    Args:
        fixed: Merkle root over the advertisements of all participants of this round.

    Raises:
        DataError: a nonce that is not 32 bytes, or a root that is no SHA-256.
    """
    if len(fixed) != hashlib.sha256().digest_size:
        raise DataError(f"a root of {len(fixed)} bytes", "use the Merkle root of the fixed advertisements")
    # The parts before the name have fixed lengths, so that two members never hash the same bytes.
    return hashlib.sha256(_POSITION_TAG + fixed + _nonce(nonce) + member.encode()).digest()


def order(fixed: bytes, nonces: Mapping[str, bytes]) -> tuple[str, ...]:
    """Members in the order of their positions, from the nonce of each.

    Raises:
        DataError: as ``position``.
    """
    return tuple(sorted(nonces, key=lambda member: position(fixed, member, nonces[member])))


def offsets(count: int, k: int) -> tuple[int, ...]:
    """Steps from a member to its neighbours in a ring of ``count``: -k/2, ..., -1, 1, ..., k/2.

    The neighbour at steps s has the member at steps -s. With k = count - 1 everyone is everyone's neighbour.

    Raises:
        DataError: k that is not even and below ``count`` - 1, and is not ``count`` - 1 either.
    """
    if k == count - 1:
        return tuple(range(1, count))
    if k % 2 or not 0 < k < count - 1:
        raise DataError(f"{k} neighbours among {count} members", "use an even number below, or all others")
    return (*range(-k // 2, 0), *range(1, k // 2 + 1))


def neighbours(ring: Sequence[str], index: int, k: int) -> tuple[str, ...]:
    """The k neighbours of the member at ``index``, in the order of ``offsets``.

    Raises:
        DataError: an index outside the ring, or k as in ``offsets``.
    """
    if not 0 <= index < len(ring):
        raise DataError(f"index {index} in a ring of {len(ring)}", "ask for a member of it")
    return tuple(ring[(index + step) % len(ring)] for step in offsets(len(ring), k))


def _nonce(nonce: bytes) -> bytes:
    if len(nonce) != NONCE_BYTES:
        raise DataError(f"a position nonce of {len(nonce)} bytes", f"draw {NONCE_BYTES} random bytes")
    return nonce
