"""Family ``stencil2d``: one step of a 5-point stencil over the interior of a grid, in float32.

The axes start at 0 and have ``extent − 2`` steps, so offset 0 is the neighbour before, 1 the centre (and the element
written), 2 the neighbour after: every offset is ≥ 0, and an access is in bounds exactly when ``axis + 2 < extent``.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from quasim.kernels._base import Array, Arrays, CostFacts, Reference
from quasim.kernels.cost import cost_facts
from quasim.kernels.ir import Affine, Axis, Const, Dim, Kernel, Load, Map, Role, Store, Tensor
from quasim.trial import Problem

CENTRE = 0.5
NEIGHBOUR = 0.125

H = Dim("h", 3, 1 << 16)
W = Dim("w", 3, 1 << 16)
X = Tensor("x", (H, W), "float32", Role.INPUT)
Y = Tensor("y", (H, W), "float32", Role.OUTPUT, cover=((1, 1), (1, 1)))


def _kernel() -> Kernel:
    i, j = Axis("i", H, trim=2), Axis("j", W, trim=2)

    def x(di: int, dj: int) -> Load:
        return Load(X, (Affine(i, di), Affine(j, dj)), guard=(i, j))

    vertical, horizontal = Map("add", (x(0, 1), x(2, 1))), Map("add", (x(1, 0), x(1, 2)))
    around = Map("mul", (Const(NEIGHBOUR), Map("add", (vertical, horizontal))))
    value = Map("add", (Map("mul", (Const(CENTRE), x(1, 1))), around))
    store = Store(Y, (Affine(i, 1), Affine(j, 1)), value, guard=(i, j))
    return Kernel("stencil2d", (H, W), (X, Y), grid=(i, j), body=(store,))


class Stencil2d:
    """y = ½·centre + ⅛·(north + south + west + east) inside; the border of y is left as it is."""

    name = "stencil2d"
    summary = "5-point stencil over the interior, float32"
    kernel = _kernel()
    tolerance = 1e-5
    """Far above the few ulp of six operations, far below one wrong neighbour."""

    def inputs(self, shape: Mapping[str, int], rng: np.random.Generator) -> Arrays:
        """A standard normal grid."""
        return {"x": rng.standard_normal((shape["h"], shape["w"]), dtype=np.float32)}

    def reference(self, shape: Mapping[str, int], inputs: Arrays) -> dict[str, Reference]:
        """The stencil in float64, 0 on the border.

        The scale is the stencil of |x|, as |A||B| is for a product: y itself may cancel to nothing.
        """
        x = inputs["x"].astype(np.float64)
        value, scale = np.zeros_like(x), np.zeros_like(x)
        _step(x, value)
        _step(np.abs(x, out=x), scale)
        return {"y": Reference(value, scale)}

    def library(self, inputs: Arrays, outputs: Arrays) -> bool:
        """Whole-array numpy slices in float32, writing the interior in place."""
        _step(inputs["x"], outputs["y"])
        return True

    def cost(self, problem: Problem) -> CostFacts:
        """6 flops an inner element; x is read and the interior of y written once, as the IR says."""
        return cost_facts(self.kernel, problem.dims)


def _step(x: Array, y: Array) -> None:
    """Write the interior of y without a temporary array: arrays may be larger than what memory is left."""
    inner = y[1:-1, 1:-1]
    np.multiply(x[1:-1, 1:-1], 4.0, out=inner)
    for neighbour in (x[:-2, 1:-1], x[2:, 1:-1], x[1:-1, :-2], x[1:-1, 2:]):
        inner += neighbour
    inner *= 0.125
