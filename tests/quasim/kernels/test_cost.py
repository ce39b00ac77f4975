from __future__ import annotations

import pytest

from quasim.kernels import family
from quasim.kernels.cost import cost_facts
from quasim.kernels.ir import Affine, Axis, Dim, Kernel, Load, Map, Role, Store, Tensor
from quasim.trial import Problem


@pytest.mark.parametrize(
    ("problem", "flops", "nbytes"),
    [
        (Problem.of("matmul", m=2, n=3, k=5), 2 * 2 * 3 * 5, 4 * (10 + 15 + 6)),
        (Problem.of("softmax", rows=3, cols=7), 5 * 21 + 3, 8 * 21),
        (Problem.of("stencil2d", h=5, w=8), 6 * 18, 4 * (40 + 18)),
        (Problem.of("layernorm", rows=3, cols=7), 7 * 21 + 5 * 3, 4 * (21 + 7 + 7 + 21)),
        (Problem.of("add", rows=3, cols=7), 21, 12 * 21),
        (Problem.of("gelu_residual", rows=3, cols=7), 8 * 21, 12 * 21),
    ],
)
def test_cost_facts_are_those_counted_by_hand(problem: Problem, flops: int, nbytes: int) -> None:
    facts = family(problem.kernel).cost(problem)
    assert (facts.flops, facts.bytes) == (flops, nbytes)
    assert facts.intensity == flops / nbytes


def test_roofline_is_the_slower_of_both_peaks() -> None:
    facts = family("matmul").cost(Problem.of("matmul", m=100, n=100, k=100))
    assert facts.roofline_ns(flops_per_s=1e9, bytes_per_s=1e12) == pytest.approx(2e6)
    assert facts.roofline_ns(flops_per_s=1e15, bytes_per_s=1e9) == pytest.approx(1.2e5)


def test_changes_of_format_cost_bytes_but_no_flops() -> None:
    n = Dim("n", 1, 9)
    i = Axis("i", n)
    x, y = Tensor("x", (n,), "float32", Role.INPUT), Tensor("y", (n,), "float64", Role.OUTPUT)
    wide = Map("cast", (Load(x, (Affine(i),), (i,)),), "float64")
    kernel = Kernel("widen", (n,), (x, y), (i,), (Store(y, (Affine(i),), wide, (i,)),))
    facts = cost_facts(kernel, {"n": 6})
    assert (facts.flops, facts.bytes) == (0, 6 * (4 + 8))


def test_a_constant_extent_counts_whole_and_a_constant_position_as_no_axis() -> None:
    n = Dim("n", 1, 9)
    i = Axis("i", n)
    x, y = Tensor("x", (2, n, 3), "float16", Role.INPUT), Tensor("y", (n,), "float32", Role.OUTPUT)
    load = Load(x, (Affine(None, 1), Affine(i), Affine(None, 2)), (i,))
    kernel = Kernel("pick", (n,), (x, y), (i,), (Store(y, (Affine(i),), Map("sqrt", (load,)), (i,)),))
    facts = cost_facts(kernel, {"n": 6})
    assert (facts.flops, facts.bytes) == (6, 2 * 2 * 6 * 3 + 4 * 6)
