"""A user's file: a kernel without a reference, on a grid of two axes, with a configuration that computes otherwise."""

from __future__ import annotations

import triton
import triton.language as tl

from quasim.space import AtMost, Parameter, SearchSpace
from quasim.targets.triton.foreign import ForeignKernel, In, Out


@triton.jit  # type: ignore[untyped-decorator]
def outer(a, b, c, n, step, bias, extra, FACTOR: tl.constexpr, EXPECTED: tl.constexpr, BLOCK: tl.constexpr = 64):  # type: ignore[no-untyped-def]
    """C = FACTOR·(a bᵀ + bias), a row and a block of columns for each program."""
    row = tl.program_id(1)
    at = (tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)) * step
    product = tl.load(a + row) * tl.load(b + at, mask=at < n, other=0.0) + bias
    tl.store(c + row * n + at, FACTOR * product, mask=at < n)


SPACE = SearchSpace(
    (Parameter("BLOCK", (64, 128)), Parameter("FACTOR", (1, 2)), Parameter("num_warps", (1, 4, 64))),
    (AtMost(("BLOCK", "num_warps"), 128 * 64),),
)

OUTER = ForeignKernel(
    function=outer,
    shape={"m": 48, "n": 160},
    arguments={
        "a": In(("m",)),
        "b": In(("n",), make=lambda rng, sizes: rng.uniform(1, 2, sizes)),
        "c": Out(("m", "n")),
        "n": "n",
        "step": lambda shape: shape["m"] // 48,
        "bias": 0.5,
        "extra": 7,
        "EXPECTED": "n",
    },
    grid=lambda meta: (triton.cdiv(meta["n"], meta["BLOCK"]), meta["m"]),
    configs=SPACE,
    key=("n",),
)

NOT_ONE = 3
