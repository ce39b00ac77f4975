"""Masks: an AES-256-CTR key stream added to a vector in Z_2^b, in place and at nearly the cipher's own speed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from quasim.errors import DataError

Ring = npt.NDArray[np.unsignedinteger]

KEY_BYTES = 32
# A key masks one vector and is then thrown away, so that its counter may start at zero.
_NONCE = bytes(16)
# Zeros, key stream and piece of the vector together stay in the second- or third-level cache.
CHUNK_BYTES = 1 << 18
_ZEROS = bytes(CHUNK_BYTES)
# Ciphers that are kept open at a time, about 1 KiB each.
_TOGETHER = 64


def add_mask(vector: Ring, key: bytes) -> None:
    """Add the key's stream to a vector in place, entry by entry modulo 2^b, read as little-endian integers.

    Args:
        vector: uint32 or uint64, shape (entries,), contiguous and writable.
        key: 32 bytes, used for this vector only.

    Raises:
        DataError: another kind of vector or length of key.
    """
    apply_masks(vector, [key], [])


def subtract_mask(vector: Ring, key: bytes) -> None:
    """Undo ``add_mask``, or add the opposite mask: what one of two partners adds, the other subtracts.

    Raises:
        DataError: as ``add_mask``.
    """
    apply_masks(vector, [], [key])


def apply_masks(vector: Ring, added: Sequence[bytes], subtracted: Sequence[bytes]) -> None:
    """Add the streams of some keys and subtract those of others, in place.

    All of them go over one piece of the vector while it is in the cache, which saves a tenth of the time.

    Raises:
        DataError: as ``add_mask``.
    """
    keys = [*added, *subtracted]
    for key in keys:
        _check(vector, key)
    operations = [np.add] * len(added) + [np.subtract] * len(subtracted)
    for first in range(0, len(keys), _TOGETHER):
        some = slice(first, first + _TOGETHER)
        _apply(vector, keys[some], operations[some])


def digest(vector: Ring) -> bytes:
    """SHA-256 of a vector's little-endian bytes, 32 bytes; what its sender signs."""
    little = vector.astype(vector.dtype.newbyteorder("<"), order="C", copy=False)
    return hashlib.sha256(little.data).digest()


def _apply(vector: Ring, keys: Sequence[bytes], operations: Sequence[np.ufunc]) -> None:
    streams: list[CipherContext] = [Cipher(AES(key), CTR(_NONCE)).encryptor() for key in keys]
    buffer = bytearray(CHUNK_BYTES)
    mask = np.frombuffer(buffer, dtype=vector.dtype.newbyteorder("<"))
    zeros = memoryview(_ZEROS)
    for start in range(0, len(vector), len(mask)):
        piece = vector[start : start + len(mask)]
        blank, part = zeros[: piece.nbytes], mask[: len(piece)]
        for stream, operation in zip(streams, operations, strict=True):
            stream.update_into(blank, buffer)
            operation(piece, part, out=piece)


def _check(vector: Ring, key: bytes) -> None:
    if len(key) != KEY_BYTES:
        raise DataError(f"a mask key of {len(key)} bytes", f"use {KEY_BYTES}")
    if vector.dtype not in (np.uint32, np.uint64) or vector.ndim != 1 or not vector.flags.c_contiguous:
        raise DataError(
            f"a {vector.ndim}-dimensional vector of {vector.dtype}", "mask a contiguous uint32 or uint64 one"
        )
