"""The data classes that a plan is judged on: seeded pairs of float32 matrices, benign and hostile.

An error figure without its data says little: normal data forgive any scaling, opposed data none. A plan is accepted
for a kernel when it keeps its budget on every class here, or is refused in time by its guard.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np

from quasim.errors import UnknownNameError
from quasim.precision.formats import Floats

Pair = tuple[Floats, Floats]
_Make = Callable[[np.random.Generator, int, int, int], Pair]

SPREAD = 20.0
"""Magnitudes of the spread and opposed classes run over 2^-SPREAD to 2^SPREAD."""


@dataclass(frozen=True, slots=True)
class DataClass:
    """A way of drawing inputs.

    Attributes:
        name: as precision maps say it.
        benign: whether no guard of a split plan may refuse it.
        what: in words.
        draw: (generator, m, n, k) to A (m, k) and B (k, n).
    """

    name: str
    benign: bool
    what: str
    draw: _Make


def _normal(rng: np.random.Generator, m: int, n: int, k: int) -> Pair:
    return rng.standard_normal((m, k), np.float32), rng.standard_normal((k, n), np.float32)


def _uniform(rng: np.random.Generator, m: int, n: int, k: int) -> Pair:
    return rng.random((m, k), np.float32), rng.random((k, n), np.float32)


def _powers(rng: np.random.Generator, *shape: int) -> Floats:
    return np.exp2(rng.uniform(-SPREAD, SPREAD, shape)).astype(np.float32)


def _spread(rng: np.random.Generator, m: int, n: int, k: int) -> Pair:
    a, b = _normal(rng, m, n, k)
    return a * _powers(rng, m, k), b * _powers(rng, k, n)


def _opposed(rng: np.random.Generator, m: int, n: int, k: int) -> Pair:
    a, b = _normal(rng, m, n, k)
    d = _powers(rng, k)
    return a * d, b / d[:, None]


def _cancelling(rng: np.random.Generator, m: int, n: int, k: int) -> Pair:
    a, b = _normal(rng, m, n, k)
    half = k // 2
    a[:, half : 2 * half] = a[:, :half]
    b[half : 2 * half] *= np.float32(2.0**-12)
    b[half : 2 * half] -= b[:half]
    return a, b


def _huge_row(rng: np.random.Generator, m: int, n: int, k: int) -> Pair:
    a, b = _normal(rng, m, n, k)
    a[int(rng.integers(m))] *= np.float32(2.0**60)
    return a, b


def _denormals(rng: np.random.Generator, m: int, n: int, k: int) -> Pair:
    _, b = _normal(rng, m, n, k)
    bits = rng.integers(1, 1 << 23, (m, k), np.int32)
    return bits.view(np.float32) * rng.choice(np.array([-1, 1], np.float32), (m, k)), b


CLASSES: dict[str, DataClass] = {
    c.name: c
    for c in (
        DataClass("normal", True, "standard normal", _normal),
        DataClass("uniform", True, "uniform in [0, 1)", _uniform),
        DataClass("spread", False, "normal, each element times its own 2^u, u uniform in [-20, 20]", _spread),
        DataClass("opposed", False, "(A D)(D^-1 B), A and B normal, D_k = 2^u, u uniform in [-20, 20]", _opposed),
        DataClass("cancelling", True, "[X, X] times [Y; 2^-12 Z - Y]: all but 2^-12 cancels", _cancelling),
        DataClass("huge_row", True, "normal, one row of A times 2^60", _huge_row),
        DataClass("denormals", True, "A subnormal throughout, its bits uniform; B normal", _denormals),
    )
}
"""Every class by name; benign means: to words that are scaled by row and column."""


def data_class(name: str) -> DataClass:
    """The class of that name.

    Raises:
        UnknownNameError: no such class.
    """
    if name in CLASSES:
        return CLASSES[name]
    near = get_close_matches(name, CLASSES, n=1)
    do = f"did you mean {near[0]!r}?" if near else f"one of {', '.join(CLASSES)}"
    raise UnknownNameError(f"no data class is called {name!r}", do)


def draw(name: str, seed: int, m: int, n: int, k: int) -> Pair:
    """A (m, k) and B (k, n) of a class, the same for the same seed.

    Raises:
        UnknownNameError: no such class.
    """
    return data_class(name).draw(np.random.default_rng(seed), m, n, k)
