"""Whether a product came out right: its error by one vector of signs, from three passes over the matrices.

With a vector v of signs, r = A (B v) - C v is the error of C = AB seen from one direction (Freivalds 1977,
"Probabilistic machines can use less running time"; as a check of kernels: Huang and Abraham 1984, "Algorithm-based
fault tolerance for matrix operations"). For signs of which any two are uncorrelated the mean of sum(r^2) is the squared
Frobenius error, so that

    sum(r^2) <= tolerance^2 * sum(C^2)

holds a result against its own relative error, whatever caused it. All sums are float64, whose rounding is below 1e-9
of |A||B| up to N = K = 16384.

One vector does not make a proof. Errors of many rows and columns are averaged over about as many directions as the
error matrix has rank; a single element's error is seen as it is; but an error of rank one along one unlucky direction
is seen as z times its size, z standard normal: one in 25 is seen at less than a twentieth. Errors that all point one
way along a row, as those of cut sums do, are the exception: the signs sum to the root of their number, which makes such
an error show as exactly what it is.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from quasim.errors import DataError
from quasim.precision.formats import Floats

Refusal = Literal["", "guard", "verification"]
"""Who refused the result of words, so that the safe product answered; empty: nobody."""

REFUSALS: tuple[Refusal, ...] = ("", "guard", "verification")
"""By the number that the launches of a product leave in their workspace."""

SEED = 1977
"""Of the signs. They are fixed, so that a product is repeated bit for bit, and chosen without regard to any data."""

SMALLEST = 1e-300
"""Added to what squares are compared with, so that zeros pass; below the squares of all float32 products."""


def signs(count: int) -> Floats:
    """``count`` times +-1, the same each time; their sum is the whole number of its parity nearest to sqrt(count)."""
    odd = count % 2
    total = 2 * round((math.sqrt(count) - odd) / 2) + odd
    ordered = np.repeat(np.array([1, -1], np.float32), [(count + total) // 2, (count - total) // 2])
    return np.random.default_rng(SEED).permutation(ordered)


def squares(a: Floats, b: Floats, c: Floats) -> tuple[float, float]:
    """sum(r^2) and sum(C^2) of C (M, N) as the product of A (M, K) and B (K, N)."""
    v = signs(b.shape[1]).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        seen = a.astype(np.float64) @ (b.astype(np.float64) @ v) - c.astype(np.float64) @ v
        return float(seen @ seen), float(np.square(c, dtype=np.float64).sum())


def probed_error(a: Floats, b: Floats, c: Floats) -> float:
    """About ||C - AB||_F / ||C||_F, at the price of three passes; infinite where something is not finite."""
    off, norm = squares(a, b, c)
    if not math.isfinite(off + norm):
        return math.inf
    return math.sqrt(off / norm) if norm else (math.inf if off else 0.0)


def holds(a: Floats, b: Floats, c: Floats, tolerance: float) -> bool:
    """Whether C may be returned as AB: its error is about the tolerance at most, and it is finite."""
    off, norm = squares(a, b, c)
    return off < tolerance**2 * norm + SMALLEST


def refusal(code: float) -> Refusal:
    """Who refused, by the number in the workspace.

    Raises:
        DataError: no such number is ever written.
    """
    if code not in range(len(REFUSALS)):
        raise DataError(f"a verdict of {code}", "launch all stages of the product")
    return REFUSALS[int(code)]
