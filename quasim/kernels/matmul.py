"""Family ``matmul``: C = A·B in float32."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from quasim.kernels._base import Arrays, CostFacts, Reference
from quasim.kernels.cost import cost_facts
from quasim.kernels.ir import Affine, Axis, Const, Dim, Dot, Kernel, Load, Loop, Role, Set, Store, Tensor, Var
from quasim.trial import Problem

M = Dim("m", 1, 16384)
N = Dim("n", 1, 16384)
K = Dim("k", 1, 16384)
A = Tensor("a", (M, K), "float32", Role.INPUT)
B = Tensor("b", (K, N), "float32", Role.INPUT)
C = Tensor("c", (M, N), "float32", Role.OUTPUT)


def _kernel() -> Kernel:
    m, n, k = Axis("m", M), Axis("n", N), Axis("k", K)
    acc = Var("acc", (m, n))
    a = Load(A, (Affine(m), Affine(k)), guard=(m, k))
    b = Load(B, (Affine(k), Affine(n)), guard=(k, n))
    body = (
        Set(acc, Const(0.0)),
        Loop(k, (Set(acc, Dot(a, b, over=k, acc=acc)),)),
        Store(C, (Affine(m), Affine(n)), acc, guard=(m, n)),
    )
    return Kernel("matmul", (M, N, K), (A, B, C), grid=(m, n), body=body)


class Matmul:
    """C = A·B with A of shape (m, k), B of (k, n) and C of (m, n)."""

    name = "matmul"
    summary = "C = A·B, float32"
    kernel = _kernel()
    tolerance = 1e-5
    """Four times what sums of 16384 random products, the most there are, lose in sequence (2.5e-6)."""

    def inputs(self, shape: Mapping[str, int], rng: np.random.Generator) -> Arrays:
        """Standard normal A and B."""
        return {
            "a": rng.standard_normal((shape["m"], shape["k"]), dtype=np.float32),
            "b": rng.standard_normal((shape["k"], shape["n"]), dtype=np.float32),
        }

    def reference(self, shape: Mapping[str, int], inputs: Arrays) -> dict[str, Reference]:
        """A·B in float64. The scale is |A|·|B|, to which every bound on rounding errors of a sum is proportional."""
        a, b = inputs["a"].astype(np.float64), inputs["b"].astype(np.float64)
        return {"c": Reference(a @ b, np.abs(a) @ np.abs(b))}

    def library(self, inputs: Arrays, outputs: Arrays) -> bool:
        """The BLAS behind numpy, writing in place."""
        np.matmul(inputs["a"], inputs["b"], out=outputs["c"])
        return True

    def cost(self, problem: Problem) -> CostFacts:
        """2·m·n·k flops over 4·(m·k + k·n + m·n) bytes, as the IR says."""
        return cost_facts(self.kernel, problem.dims)
