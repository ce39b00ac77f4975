"""Family ``softmax``: the stable softmax of every row, in float32.

The row's sum is inverted once: a division for each element takes as long as half of its exp, and the second rounding
is lost in the error of exp. The sum is at least exp(0) = 1, so its inverse is never out of range.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from quasim.kernels._base import Arrays, CostFacts, Reference
from quasim.kernels.cost import cost_facts
from quasim.kernels.ir import Affine, Axis, Const, Dim, Kernel, Load, Map, Reduce, Role, Set, Store, Tensor, Var
from quasim.trial import Problem

ROWS = Dim("rows", 1, 1 << 20)
COLS = Dim("cols", 1, 1 << 16)
X = Tensor("x", (ROWS, COLS), "float32", Role.INPUT)
Y = Tensor("y", (ROWS, COLS), "float32", Role.OUTPUT)


def _kernel() -> Kernel:
    r, c = Axis("r", ROWS), Axis("c", COLS, whole=True)
    x, e = Var("x", (r, c)), Var("e", (r, c))
    top, total = Var("top", (r,)), Var("total", (r,))
    at = (Affine(r), Affine(c))
    body = (
        Set(x, Load(X, at, guard=(r, c))),
        Set(top, Reduce("max", x, over=c)),
        Set(e, Map("exp", (Map("sub", (x, top)),))),
        Set(total, Reduce("sum", e, over=c)),
        Store(Y, at, Map("mul", (e, Map("div", (Const(1.0), total)))), guard=(r, c)),
    )
    return Kernel("softmax", (ROWS, COLS), (X, Y), grid=(r,), body=body)


class Softmax:
    """y = exp(x − max x) / Σ exp(x − max x) along each row; x and y of shape (rows, cols)."""

    name = "softmax"
    summary = "softmax of every row, float32"
    kernel = _kernel()
    tolerance = 1e-5
    """Twice what a row of 65536 elements, the longest there is, loses when it is summed in sequence (4e-6)."""

    def inputs(self, shape: Mapping[str, int], rng: np.random.Generator) -> Arrays:
        """Standard normal rows."""
        return {"x": rng.standard_normal((shape["rows"], shape["cols"]), dtype=np.float32)}

    def reference(self, shape: Mapping[str, int], inputs: Arrays) -> dict[str, Reference]:
        """Softmax in float64. The scale is y itself, which is never negative.

        A row with NaN or +inf, or of −inf alone, is NaN throughout.
        """
        x = inputs["x"].astype(np.float64)
        with np.errstate(invalid="ignore"):
            x -= x.max(axis=1, keepdims=True)
        np.exp(x, out=x)
        x /= x.sum(axis=1, keepdims=True)
        return {"y": Reference(x, x)}

    def library(self, inputs: Arrays, outputs: Arrays) -> bool:
        """Whole-array numpy expressions in float32, writing in place."""
        x, y = inputs["x"], outputs["y"]
        with np.errstate(invalid="ignore"):
            np.subtract(x, x.max(axis=1, keepdims=True), out=y)
        np.exp(y, out=y)
        np.divide(y, y.sum(axis=1, keepdims=True), out=y)
        return True

    def cost(self, problem: Problem) -> CostFacts:
        """5 flops (max, sub, exp, sum, mul) and 8 bytes an element, and a division a row, as the IR says."""
        return cost_facts(self.kernel, problem.dims)
