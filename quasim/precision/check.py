"""How wrong a product is against float64: all of it, or, in use, a sample of its rows.

A guard proves what range can do; a sample sees whatever happens, but only where it looks. Rows are drawn anew for each
check, so that an error that lasts is met sooner or later. One row of a 4096^3 product costs a 4096th of its operations.
Plans of words are looked at after every product besides (``quasim.precision.probe``), from one direction.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
import numpy.typing as npt

from quasim.errors import ShapeError
from quasim.precision.formats import Floats

Rows = npt.NDArray[np.int64]

_SMALLEST_SCALE = float(np.finfo(np.float32).tiny)
"""Nothing smaller can be resolved, so that no smaller |A||B| makes an error large."""


class ProductErrors(msgspec.Struct, frozen=True):
    """Errors of C = AB by two norms; infinite where something that should be finite is not.

    Attributes:
        frobenius: ‖C - AB‖_F / ‖AB‖_F.
        componentwise: the largest |C - AB|_ij / (|A||B|)_ij (Higham 2002, "Accuracy and Stability", section 3.5).
    """

    frobenius: float
    componentwise: float


def product_errors(c: Floats, a: Floats, b: Floats) -> ProductErrors:
    """Both errors of c (M, N) as the product of finite a (M, K) and b (K, N)."""
    exact = a.astype(np.float64) @ b.astype(np.float64)
    scale = np.maximum(np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64), _SMALLEST_SCALE)
    if not np.isfinite(c).all():
        return ProductErrors(math.inf, math.inf)
    off = np.abs(c.astype(np.float64) - exact)
    return ProductErrors(_relative(float(np.linalg.norm(off)), exact), float((off / scale).max()))


def sample_rows(rng: np.random.Generator, m: int, count: int) -> Rows:
    """``count`` rows of m, each at most once, in order; all of them where there are no more.

    Raises:
        ShapeError: nothing to draw, or from nothing.
    """
    if m < 1 or count < 1:
        raise ShapeError(f"{count} rows of {m} cannot be checked", "give both as 1 or more")
    return np.sort(rng.choice(m, size=min(m, count), replace=False)).astype(np.int64)


def sampled_error(a_rows: Floats, b: Floats, c_rows: Floats) -> float:
    """‖C - AB‖_F / ‖AB‖_F over some rows: a_rows (R, K), b (K, N), c_rows (R, N).

    An infinity or NaN counts as right where float32 sums of the exact products have the same; anywhere else the error
    is infinite.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        exact = a_rows.astype(np.float64) @ b.astype(np.float64)
        rounded = exact.astype(np.float32)
    finite = np.isfinite(rounded)
    if not np.array_equal(rounded[~finite], c_rows[~finite], equal_nan=True) or not np.isfinite(c_rows[finite]).all():
        return math.inf
    return _relative(float(np.linalg.norm(c_rows[finite] - exact[finite])), exact[finite])


def _relative(off: float, exact: npt.NDArray[np.float64]) -> float:
    norm = float(np.linalg.norm(exact))
    return off / norm if norm else (math.inf if off else 0.0)
