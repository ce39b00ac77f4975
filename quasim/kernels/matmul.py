"""Families ``matmul…`` and ``bmm…`` (batched): C = A·B by the operands' format and by which is stored transposed.

Sums are of float32 in every form. Operands of 16 bits are taken as they are (their products are exact in float32), and
C is rounded to their format once, at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Literal

import numpy as np

from quasim.kernels._base import Array, Arrays, CostFacts, Reference, numpy_dtype
from quasim.kernels.cost import cost_facts
from quasim.kernels.ir import (
    Affine,
    Axis,
    Const,
    Dim,
    Dot,
    Dtype,
    Kernel,
    Load,
    Loop,
    Map,
    Precision,
    Role,
    Set,
    Store,
    Tensor,
    Value,
    Var,
    extents,
)
from quasim.trial import Problem

Operands = Literal["float32", "tf32", "bfloat16", "float16"]
Layout = Literal["nn", "nt", "tn"]
"""Of A and B: ``n`` is (m, k) or (k, n), ``t`` is stored transposed."""

BATCH = Dim("b", 1, 65536)
M = Dim("m", 1, 16384)
N = Dim("n", 1, 16384)
K = Dim("k", 1, 16384)

OPERANDS: dict[Operands, tuple[str, float]] = {
    # Four times what sums of 16384 random products, the most there are, lose in sequence (2.5e-6).
    "float32": ("", 1e-5),
    # Both operands may be cut to 10 bits of mantissa instead of rounded: 2·2⁻¹⁰ a product.
    "tf32": ("_tf32", 2e-3),
    # Twice what rounding C to 8 bits may lose; sums of 16-bit numbers lose more beyond K = 16.
    "bfloat16": ("_bf16", 2**-8),
    # Twice what rounding C to 11 bits may lose; sums of 16-bit numbers lose more beyond K = 16.
    "float16": ("_fp16", 2**-10),
}
"""Format of the operands: what its families' names have in them, and their tolerance."""

LAYOUTS: dict[Layout, str] = {"nn": "", "nt": "_nt", "tn": "_tn"}
"""Layout: how the families' names end."""


class Matmul:
    """C = A·B with A of shape (m, k), B of (k, n) and C of (m, n), all with a first dimension b when batched.

    Args:
        operands: of A and B; C has their format, and float32 for ``tf32``.
        layout: which of A and B is stored transposed.
        batched: b independent products.
    """

    def __init__(self, operands: Operands = "float32", layout: Layout = "nn", batched: bool = False) -> None:
        part, self.tolerance = OPERANDS[operands]
        self.operands, self.layout, self.batched = operands, layout, batched
        self.name = f"{'bmm' if batched else 'matmul'}{part}{LAYOUTS[layout]}"
        left, right = ("ᵀ" if side == "t" else "" for side in layout)
        self.summary = f"C = A{left}·B{right}, {operands}{', batched' if batched else ''}"
        self.kernel = _kernel(self.name, operands, layout, batched)

    def inputs(self, shape: Mapping[str, int], rng: np.random.Generator) -> Arrays:
        """Standard normal A and B, rounded to the operands' format."""
        return {
            t.name: rng.standard_normal(extents(t, shape), dtype=np.float32).astype(numpy_dtype(t.dtype), copy=False)
            for t in self.kernel.tensors
            if t.role is Role.INPUT
        }

    def reference(self, shape: Mapping[str, int], inputs: Arrays) -> dict[str, Reference]:
        """A·B in float64, of the operands as they are.

        The scale is |A|·|B|, to which every bound on rounding errors of a sum is proportional.
        """
        a, b = (x.astype(np.float64) for x in self._upright(inputs))
        return {"c": Reference(a @ b, np.abs(a) @ np.abs(b))}

    def library(self, inputs: Arrays, outputs: Arrays) -> bool:
        """The BLAS behind numpy, writing in place; it has no 16-bit formats, so these are converted and back."""
        a, b = (x.astype(np.float32, copy=False) for x in self._upright(inputs))
        if outputs["c"].dtype == np.float32:
            np.matmul(a, b, out=outputs["c"])
        else:
            outputs["c"][...] = a @ b
        return True

    def cost(self, problem: Problem) -> CostFacts:
        """2·m·n·k flops over m·k + k·n + m·n elements, for each product of a batch, as the IR says."""
        return cost_facts(self.kernel, problem.dims)

    def _upright(self, inputs: Arrays) -> tuple[Array, Array]:
        """A and B as (…, m, k) and (…, k, n)."""
        a, b = (
            inputs[name].swapaxes(-2, -1) if side == "t" else inputs[name]
            for name, side in zip("ab", self.layout, strict=True)
        )
        return a, b


def _kernel(name: str, operands: Operands, layout: Layout, batched: bool) -> Kernel:
    first = (Axis("b", BATCH),) if batched else ()
    m, n, k = Axis("m", M), Axis("n", N), Axis("k", K)
    dtype: Dtype = "float32" if operands == "tf32" else operands
    precision: Precision = "tf32" if operands == "tf32" else "float32"
    a = _operand("a", dtype, (*first, *_stored((m, k), layout[0])), (*first, m, k))
    b = _operand("b", dtype, (*first, *_stored((k, n), layout[1])), (*first, k, n))
    c = Tensor("c", tuple(axis.dim for axis in (*first, m, n)), dtype, Role.OUTPUT)
    acc = Var("acc", (*first, m, n))
    result: Value = acc if dtype == "float32" else Map("cast", (acc,), dtype)
    body = (
        Set(acc, Const(0.0)),
        Loop(k, (Set(acc, Dot(a, b, over=k, acc=acc, precision=precision)),)),
        Store(c, tuple(Affine(axis) for axis in (*first, m, n)), result, guard=(*first, m, n)),
    )
    dims = (*(axis.dim for axis in first), M, N, K)
    return Kernel(name, dims, (a.tensor, b.tensor, c), grid=(*first, m, n), body=body)


def _stored(axes: tuple[Axis, Axis], side: str) -> tuple[Axis, ...]:
    return axes[::-1] if side == "t" else axes


def _operand(name: str, dtype: Dtype, axes: tuple[Axis, ...], guard: tuple[Axis, ...]) -> Load:
    tensor = Tensor(name, tuple(axis.dim for axis in axes), dtype, Role.INPUT)
    return Load(tensor, tuple(Affine(axis) for axis in axes), guard)


MATMULS = tuple(Matmul(o, layout, batched) for batched, o, layout in product((False, True), OPERANDS, LAYOUTS))
"""Every form, the plain one first."""
