"""A random rotation that spreads a vector's length evenly over its entries: signs, then a Hadamard transform.

Source: Ailon and Chazelle 2006 ("approximate nearest neighbors and the fast Johnson–Lindenstrauss transform"); for
secure aggregation Kairouz, Liu, Steinke 2021, section 4.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np

from quasim.errors import DataError
from quasim.space import Floats

_DOMAIN = b"quasim rotation v1\0"

_FAILURE = 1e-9
"""Chance that any entry of a rotated vector exceeds the bound that is claimed for all of them."""


class Rotation:
    """The rotation of vectors of one length, the same for all who know the seed.

    Args:
        seed: public, such as a round's session id; it must not be known when a vector is chosen.
        length: entries of a vector before; after, the next power of two.
    """

    def __init__(self, seed: bytes, length: int) -> None:
        self._length = length
        self._signs = _signs(seed, padded(length))

    def forward(self, values: Floats) -> Floats:
        """The rotated vector, shape (padded,), of the same L2 norm.

        Raises:
            DataError: not of this length.
        """
        self._demand(values, self._length)
        spread = np.zeros(len(self._signs))
        spread[: self._length] = values
        return _hadamard(spread * self._signs)

    def back(self, rotated: Floats) -> Floats:
        """The vector, shape (length,), of which ``forward`` made this; sums turn back into sums.

        Raises:
            DataError: not of the padded length.
        """
        self._demand(rotated, len(self._signs))
        return (_hadamard(rotated) * self._signs)[: self._length]

    def _demand(self, values: Floats, length: int) -> None:
        if values.shape != (length,):
            raise DataError(f"a vector of shape {values.shape}, not ({length},)", "use the length of the round")


def padded(length: int) -> int:
    """The least power of two that is no smaller, at least 1."""
    return 1 << max(length - 1, 0).bit_length()


def largest_entry(norm: float, length: int) -> float:
    """What no entry of a rotated vector exceeds but with a chance of 10^-9, by Hoeffding's bound on random signs.

    Args:
        norm: L2 norm of the vector.
        length: its entries before the rotation.
    """
    size = padded(length)
    return norm * min(1.0, math.sqrt(2 * math.log(2 * size / _FAILURE) / size))


def _signs(seed: bytes, count: int) -> Floats:
    stream = hashlib.shake_256(_DOMAIN + seed).digest(-(-count // 8))
    bits = np.unpackbits(np.frombuffer(stream, dtype=np.uint8), count=count)
    return 1.0 - 2.0 * bits.astype(np.float64)


def _hadamard(values: Floats) -> Floats:
    """The orthonormal Walsh–Hadamard transform, its own inverse; the length is a power of two."""
    turned: Floats = values.copy()
    stride = 1
    while stride < len(turned):
        pairs = turned.reshape(-1, 2, stride)
        turned = np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1).reshape(-1)
        stride *= 2
    return turned / math.sqrt(len(turned))
