"""Shamir's secret sharing over one 256-bit prime field, in plain integers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import mul

import numpy as np

from quasim.errors import DataError

# The largest prime below 2^256: a secret of 32 random bytes is an element but for a chance of 2^-248.
PRIME = 2**256 - 189
SECRET_BYTES = 32
# Points number the holders of one secret, 1, ..., k; quick evaluation and weights need them small.
MAX_POINT = 1024
# Complete graphs share the weights of every secret; in k-regular ones hardly two secrets have the same holders.
REMEMBERED = 64


def split(secret: bytes, points: Sequence[int], threshold: int, rng: Callable[[int], bytes]) -> list[bytes]:
    """Shares of a secret, any ``threshold`` of which give it back, and fewer nothing.

    Args:
        secret: 32 bytes, big-endian, below ``PRIME``.
        points: where the polynomial is evaluated, distinct, 1 <= x <= ``MAX_POINT``: the holder's slot.
        threshold: shares that are needed, 1 <= threshold <= len(points).
        rng: gives so many random bytes; asked once.

    Returns:
        Shares of 32 bytes in the order of the points.

    Raises:
        DataError: a secret, points or threshold outside these ranges.
    """
    _check_points(points, threshold)
    constant = _element(secret, "secret")
    drawn = rng((threshold - 1) * SECRET_BYTES)
    # A coefficient is uniform but for a bias of 2^-248.
    higher = [int.from_bytes(drawn[i : i + SECRET_BYTES], "big") % PRIME for i in range(0, len(drawn), SECRET_BYTES)]
    return [_evaluate([*higher, constant], x).to_bytes(SECRET_BYTES, "big") for x in points]


def join(shares: Mapping[int, bytes], threshold: int) -> bytes:
    """The secret behind shares by point; of more than ``threshold`` shares the smallest points count.

    Nothing tells wrong shares from right ones: check the secret against a commitment.

    Raises:
        DataError: too few shares, or one that is no field element.
    """
    points = tuple(sorted(shares)[:threshold])
    _check_points(points, threshold)
    elements = [_element(shares[x], f"share {x}") for x in points]
    secret: int = sum(map(mul, weights(points), elements)) % PRIME
    return secret.to_bytes(SECRET_BYTES, "big")


@lru_cache(maxsize=REMEMBERED)
def weights(points: tuple[int, ...]) -> tuple[int, ...]:
    """Lagrange weights at zero modulo ``PRIME``: prod_{j != i} x_j / (x_j - x_i) for ascending points x.

    Slots are small and most of 1, ..., K = max(points) are present, so that it is less work to multiply the
    differences to those that are missing: with m over these, the weight is

        (-1)^(x - 1) * C(K, x) * prod_m (m - x) * (prod of all points) / K!

    and no set of points needs an inversion of its own.

    Raises:
        DataError: points that repeat, descend, or are outside 1 <= x <= ``MAX_POINT``.
    """
    _check_points(points, len(points))
    signed, inverse = _binomials(max(points))
    common = _product(points) * inverse % PRIME
    differences = _differences_to_missing(points)
    return tuple(difference * signed[x] * common % PRIME for x, difference in zip(points, differences, strict=True))


@lru_cache(maxsize=REMEMBERED)
def _binomials(last: int) -> tuple[list[int], int]:
    """(-1)^(x - 1) * C(last, x) by x, and 1 / last! modulo ``PRIME``."""
    signed = [math.comb(last, x) if x % 2 else -math.comb(last, x) for x in range(last + 1)]
    return signed, pow(math.factorial(last), -1, PRIME)


def _differences_to_missing(points: Sequence[int]) -> list[int]:
    """For each point x the product of (m - x) over all m < max(points) that are no points, not reduced."""
    absent = np.ones(max(points) + 1, np.bool_)
    absent[[0, *points]] = False
    missing = np.flatnonzero(absent)
    if not missing.size:
        return [1] * len(points)
    matrix = missing[None, :] - np.array(points)[:, None]
    # So many differences fit one int64: with points below 128, nine.
    together = 63 // max(points).bit_length()
    parts = np.multiply.reduceat(matrix, np.arange(0, missing.size, together), axis=1)
    return [_product(row) for row in parts.tolist()]


def _evaluate(coefficients: Sequence[int], x: int) -> int:
    """Horner's rule, highest coefficient first, reduced once: growing by a small x is cheaper than dividing."""
    value = 0
    for coefficient in coefficients:
        value = value * x + coefficient
    return value % PRIME


def _product(factors: Sequence[int]) -> int:
    result = 1
    for factor in factors:
        result *= factor
    return result


def _element(data: bytes, name: str) -> int:
    value = int.from_bytes(data, "big")
    if len(data) != SECRET_BYTES or value >= PRIME:
        raise DataError(f"{name} of {len(data)} bytes is no element of the field", "draw or ask for 32 bytes anew")
    return value


def _check_points(points: Sequence[int], threshold: int) -> None:
    if not 1 <= threshold <= len(points):
        raise DataError(f"{len(points)} shares cannot meet the threshold {threshold}", "wait for more shares")
    if len(set(points)) != len(points) or min(points) < 1 or max(points) > MAX_POINT:
        raise DataError("points of shares repeat or are out of range", f"use distinct points from 1 to {MAX_POINT}")
