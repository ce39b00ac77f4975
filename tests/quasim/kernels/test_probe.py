"""Kernels that look at a finished product, run by our interpreter against numpy in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest

from quasim.kernels.interpret import interpret
from quasim.kernels.ir import Dim, Kernel, Role, Tensor
from quasim.kernels.probe import Seen, column, probe_kernel, verdict_kernel
from quasim.targets.triton.source import source
from quasim.trial import Genome

M, N = Dim("m", 1, 64), Dim("n", 1, 64)
SHAPE = {"m": 7, "n": 37}
SIGNS = Tensor("signs", (N,), "float32", Role.INPUT)
FLAG, GUARDED = (Tensor(name, (1,), "float32", Role.OUTPUT) for name in ("refused", "guarded"))
SEEN = Seen(column("due", M), column("got", M), column("squares", M))
TOLERANCE = 1e-3


def probe(across: bool) -> Kernel:
    x = Tensor("x", (N, M) if across else (M, N), "float32", Role.OUTPUT)
    return probe_kernel("probe", x, SIGNS, SEEN.got, SEEN.squares)


@pytest.mark.parametrize("across", [False, True])
def test_rows_by_a_vector_and_their_squares_are_summed_in_float64(across: bool) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((37, 7) if across else (7, 37), dtype=np.float32)
    v = rng.standard_normal(37, dtype=np.float32)
    found = interpret(probe(across), {"x": x, "signs": v}, SHAPE, {"m": 4})
    rows = (x.T if across else x).astype(np.float64)
    assert found["got"].dtype == found["squares"].dtype == np.float64
    np.testing.assert_allclose(found["got"], rows @ v, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(found["squares"], (rows * rows).sum(axis=1), rtol=1e-13)


@pytest.mark.parametrize("across", [False, True])
def test_rows_in_pieces_are_summed_in_float64_too(across: bool) -> None:
    genes = {"rows": 2, "block": 16, "warps": 1, "persist": 0, "stages": 1, "once": False}
    text = source(probe(across), Genome(genes), SHAPE).text
    assert text.count("_lanes = tl.full(") == text.count("0.0, tl.float64)") == 2


def judged(due: float, got: float, squares: float, guarded: float = 0.0) -> float:
    """The verdict on seven rows, of which the last differs from the others, which are right."""
    kernel = verdict_kernel("verdict", SEEN, GUARDED, FLAG, TOLERANCE)
    seen = {"due": (1.0, due), "got": (1.0, got), "squares": (1.0, squares)}
    inputs = {name: np.array([usual] * 6 + [last]) for name, (usual, last) in seen.items()}
    found = interpret(kernel, {**inputs, "guarded": np.array([guarded], np.float32)}, {"m": 7}, {})
    return float(found["refused"][0])


def test_a_verdict_compares_what_is_off_with_what_there_is() -> None:
    off = TOLERANCE * math.sqrt(10.0)
    assert judged(2.0, 2.0 + 0.999 * off, 4.0) == 0
    assert judged(2.0, 2.0 + 1.001 * off, 4.0) == 2


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    assert judged(bad, 1.0, 1.0) == judged(1.0, bad, bad) == judged(bad, bad, bad) == 2


@pytest.mark.parametrize("found", [0.0, 5.0, math.nan])
def test_what_the_guard_refused_is_not_judged_again(found: float) -> None:
    assert judged(found, 1.0, 1.0, guarded=1.0) == 1


def test_zeros_pass() -> None:
    kernel = verdict_kernel("verdict", SEEN, GUARDED, FLAG, TOLERANCE)
    nothing = {name: np.zeros(7) for name in ("due", "got", "squares")}
    found = interpret(kernel, {**nothing, "guarded": np.zeros(1, np.float32)}, {"m": 7}, {})
    assert found["refused"][0] == 0
