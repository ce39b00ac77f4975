"""Family ``layernorm``: every row brought to mean 0 and variance 1, scaled and shifted by column, in float32.

Mean first, then the squared deviations from it: the shortcut by the mean of squares cancels where rows are far from 0.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from quasim.kernels._base import Arrays, CostFacts, Reference
from quasim.kernels.cost import cost_facts
from quasim.kernels.ir import Affine, Axis, Const, Dim, Extent, Kernel, Load, Map, Reduce, Role, Set, Store, Tensor, Var
from quasim.trial import Problem

EPSILON = 1e-5
"""Added to the variance, so that a constant row is no division by 0; PyTorch's default."""

ROWS = Dim("rows", 1, 1 << 20)
COLS = Dim("cols", 1, 1 << 16)
X = Tensor("x", (ROWS, COLS), "float32", Role.INPUT)
GAMMA = Tensor("gamma", (COLS,), "float32", Role.INPUT)
BETA = Tensor("beta", (COLS,), "float32", Role.INPUT)
Y = Tensor("y", (ROWS, COLS), "float32", Role.OUTPUT)


def _kernel() -> Kernel:
    r, c = Axis("r", ROWS), Axis("c", COLS, whole=True)
    x, d = Var("x", (r, c)), Var("d", (r, c))
    mean, inverse = Var("mean", (r,)), Var("inverse", (r,))
    at, by_column = (Affine(r), Affine(c)), (Affine(c),)
    gamma, beta = Load(GAMMA, by_column, guard=(c,)), Load(BETA, by_column, guard=(c,))
    variance = Map("div", (Reduce("sum", Map("mul", (d, d)), over=c), Extent(c)))
    deviation = Map("sqrt", (Map("add", (variance, Const(EPSILON))),))
    scaled = Map("mul", (Map("mul", (d, inverse)), gamma))
    body = (
        Set(x, Load(X, at, guard=(r, c))),
        Set(mean, Map("div", (Reduce("sum", x, over=c), Extent(c)))),
        Set(d, Map("sub", (x, mean))),
        Set(inverse, Map("div", (Const(1.0), deviation))),
        Store(Y, at, Map("add", (scaled, beta)), guard=(r, c)),
    )
    return Kernel("layernorm", (ROWS, COLS), (X, GAMMA, BETA, Y), grid=(r,), body=body)


class Layernorm:
    """y = gamma · (x − mean x) / √(var x + 1e-5) + beta along each row.

    x and y have the shape (rows, cols), gamma and beta (cols,); the variance divides by cols.
    """

    name = "layernorm"
    summary = "layer normalisation of every row, float32"
    kernel = _kernel()
    tolerance = 2e-5
    """Three times what rows of 65536 elements, the longest there are, lose when they are summed in sequence (7e-6)."""

    def inputs(self, shape: Mapping[str, int], rng: np.random.Generator) -> Arrays:
        """Normal rows around 1, so that a wrong mean shows; scales around 1, shifts around 0."""
        rows, cols = shape["rows"], shape["cols"]
        x = rng.standard_normal((rows, cols), dtype=np.float32)
        gamma, beta = rng.standard_normal((2, cols), dtype=np.float32)
        x += 1
        return {"x": x, "gamma": 1 + gamma / 4, "beta": beta}

    def reference(self, shape: Mapping[str, int], inputs: Arrays) -> dict[str, Reference]:
        """Layer normalisation in float64, by numpy's own mean and variance.

        The scale is |gamma| · (|x| + |mean|) / √(var + 1e-5) + |beta|: the differences may cancel to nothing.
        """
        x, gamma, beta = (inputs[name].astype(np.float64) for name in ("x", "gamma", "beta"))
        with np.errstate(invalid="ignore"):
            mean = x.mean(axis=1, keepdims=True)
            scale = gamma / np.sqrt(x.var(axis=1, keepdims=True) + EPSILON)
            value = (x - mean) * scale + beta
            return {"y": Reference(value, (np.abs(x) + np.abs(mean)) * np.abs(scale) + np.abs(beta))}

    def library(self, inputs: Arrays, outputs: Arrays) -> bool:
        """Whole-array numpy expressions in float32, writing in place."""
        x, y = inputs["x"], outputs["y"]
        with np.errstate(invalid="ignore"):
            np.subtract(x, x.mean(axis=1, keepdims=True), out=y)
            variance = np.einsum("rc,rc->r", y, y) / np.float32(x.shape[1])
            y /= np.sqrt(variance + np.float32(EPSILON))[:, None]
            y *= inputs["gamma"]
            y += inputs["beta"]
        return True

    def cost(self, problem: Problem) -> CostFacts:
        """7 flops an element, 5 a row; x, gamma and beta are read and y written once, as the IR says."""
        return cost_facts(self.kernel, problem.dims)
