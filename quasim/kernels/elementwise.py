"""Families ``add`` and ``gelu_residual``: what stands between the products of a transformer block, in float32."""

from __future__ import annotations

from collections.abc import Mapping
from math import pi, sqrt

import numpy as np

from quasim.kernels._base import Arrays, CostFacts, Reference
from quasim.kernels.cost import cost_facts
from quasim.kernels.ir import Affine, Axis, Const, Dim, Kernel, Load, Map, Role, Set, Store, Tensor, Value, Var
from quasim.trial import Problem

CUBIC = 0.044715
"""Of the tanh form of GELU (Hendrycks and Gimpel 2016)."""

ROWS = Dim("rows", 1, 1 << 20)
COLS = Dim("cols", 1, 1 << 16)
X = Tensor("x", (ROWS, COLS), "float32", Role.INPUT)
RESIDUAL = Tensor("residual", (ROWS, COLS), "float32", Role.INPUT)
Y = Tensor("y", (ROWS, COLS), "float32", Role.OUTPUT)
R, C = Axis("r", ROWS), Axis("c", COLS)


def _load(tensor: Tensor) -> Load:
    return Load(tensor, (Affine(R), Affine(C)), guard=(R, C))


def _kernel(name: str, value: Value, *before: Set) -> Kernel:
    """The kernel that stores ``value`` + residual."""
    store = Store(Y, (Affine(R), Affine(C)), Map("add", (value, _load(RESIDUAL))), guard=(R, C))
    return Kernel(name, (ROWS, COLS), (X, RESIDUAL, Y), grid=(R, C), body=(*before, store))


def _gelu_residual() -> Kernel:
    """½(1 + tanh u) = 1 / (1 + exp(−2u)); u is an odd polynomial, here by Horner with the factor −2 in its numbers."""
    x = Var("x", (R, C))
    slope = 2 * sqrt(2 / pi)
    bent = Map("add", (Map("mul", (Map("mul", (x, x)), Const(-CUBIC * slope))), Const(-slope)))
    below = Map("add", (Const(1.0), Map("exp", (Map("mul", (bent, x)),))))
    return _kernel("gelu_residual", Map("div", (x, below)), Set(x, _load(X)))


class _Elementwise:
    """What both have in common: x, residual and y of shape (rows, cols)."""

    kernel: Kernel

    def inputs(self, shape: Mapping[str, int], rng: np.random.Generator) -> Arrays:
        """Standard normal arrays."""
        size = (shape["rows"], shape["cols"])
        return {name: rng.standard_normal(size, dtype=np.float32) for name in ("x", "residual")}

    def cost(self, problem: Problem) -> CostFacts:
        """12 bytes an element, and the flops that the IR says: 1 of ``add``, 8 of ``gelu_residual``."""
        return cost_facts(self.kernel, problem.dims)


class Add(_Elementwise):
    """y = x + residual."""

    name = "add"
    summary = "sum of two arrays, float32"
    kernel = _kernel("add", _load(X))
    tolerance = 1e-6
    """One rounding loses at most 6e-8 of each element."""

    def reference(self, shape: Mapping[str, int], inputs: Arrays) -> dict[str, Reference]:
        """The sum in float64; the scale is |x| + |residual|."""
        x, residual = inputs["x"].astype(np.float64), inputs["residual"].astype(np.float64)
        return {"y": Reference(x + residual, np.abs(x) + np.abs(residual))}

    def library(self, inputs: Arrays, outputs: Arrays) -> bool:
        """numpy's sum in float32, in place."""
        np.add(inputs["x"], inputs["residual"], out=outputs["y"])
        return True


class GeluResidual(_Elementwise):
    """y = gelu(x) + residual, with gelu(x) = ½x (1 + tanh(√(2/π) (x + 0.044715 x³)))."""

    name = "gelu_residual"
    summary = "GELU (tanh form) plus residual, float32"
    kernel = _gelu_residual()
    tolerance = 1e-5
    """Above the few ulp of eight operations, below the 1e-4 by which the form with erf differs."""

    def reference(self, shape: Mapping[str, int], inputs: Arrays) -> dict[str, Reference]:
        """The definition in float64, with a real tanh; the scale is |gelu(x)| + |residual|.

        An x of −∞ gives NaN, as 0 · ∞ does.
        """
        x, residual = inputs["x"].astype(np.float64), inputs["residual"].astype(np.float64)
        with np.errstate(invalid="ignore"):
            gelu = x * (0.5 * (1 + np.tanh(sqrt(2 / pi) * (x + CUBIC * x**3))))
            return {"y": Reference(gelu + residual, np.abs(gelu) + np.abs(residual))}

    def library(self, inputs: Arrays, outputs: Arrays) -> bool:
        """Whole-array numpy expressions in float32, writing in place."""
        x, y = inputs["x"], outputs["y"]
        with np.errstate(invalid="ignore", over="ignore"):
            np.multiply(x, x, out=y)
            y *= np.float32(CUBIC)
            y += np.float32(1)
            y *= x
            y *= np.float32(sqrt(2 / pi))
            np.tanh(y, out=y)
            y += np.float32(1)
            y *= x
            y *= np.float32(0.5)
            y += inputs["residual"]
        return True
