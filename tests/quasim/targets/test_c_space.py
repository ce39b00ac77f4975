from __future__ import annotations

import pytest

from quasim.errors import ShapeError, UnknownNameError
from quasim.kernels import family
from quasim.kernels.lower import LoweringError, lower
from quasim.space import SearchSpace
from quasim.targets.c.space import space
from quasim.trial import Genome, Problem

PROBLEMS = [
    Problem.of("matmul", m=768, n=768, k=768),
    Problem.of("softmax", rows=64, cols=64),
    Problem.of("stencil2d", h=64, w=64),
    Problem.of("layernorm", rows=64, cols=64),
    Problem.of("gelu_residual", rows=64, cols=64),
    Problem.of("matmul_fp16_nt", m=768, n=768, k=768),
    Problem.of("bmm_bf16", b=16, m=64, n=64, k=64),
    Problem.of("gate1", outer=64, inner=64),
    Problem.of("gate2", outer=8, middle=8, inner=64),
]
EACH = [(problem, threads, lanes) for problem in PROBLEMS for threads, lanes in [(1, 8), (2, 8), (3, 4), (96, 16)]]


@pytest.mark.parametrize(("problem", "threads", "lanes"), EACH)
def test_every_space_is_worth_searching_and_can_be_enumerated(problem: Problem, threads: int, lanes: int) -> None:
    found = space(problem, threads, lanes)
    assert 500 <= found.size <= 32_768
    assert found.default is not None
    assert found.default["threads"] == threads


@pytest.mark.parametrize("problem", PROBLEMS)
def test_every_value_of_every_gene_can_be_lowered(problem: Problem) -> None:
    found = space(problem, 2)
    kernel = family(problem.kernel).kernel
    for genome in _one_for_each_value(found):
        assert lower(kernel, genome, "c").genome == genome


def _one_for_each_value(found: SearchSpace) -> list[Genome]:
    columns = range(len(found.parameters))
    firsts = {int((found.rows[:, c] == v).argmax()) for c in columns for v in range(found.cardinalities[c])}
    return [found.genome_at(row) for row in sorted(firsts)]


def test_accumulators_fit_into_the_registers() -> None:
    found = space(PROBLEMS[0], 2, 8)
    for cell in range(0, found.size, 101):
        genome = found.genome_at(cell)
        assert genome.integer("mr") * genome.integer("nv") * genome.integer("lanes") <= 13 * 8


def test_a_right_operand_whose_columns_are_apart_is_always_packed() -> None:
    found = space(Problem.of("matmul_nt", m=64, n=64, k=64), 2)
    assert all(found.genome_at(cell)["pack_b"] is True for cell in range(0, found.size, 101))


def test_tensor_core_products_have_no_space() -> None:
    with pytest.raises(LoweringError, match="CPUs have no such products"):
        space(Problem.of("matmul_tf32", m=64, n=64, k=64), 2)


def test_a_problem_that_does_not_exist_has_no_space() -> None:
    with pytest.raises(UnknownNameError):
        space(Problem.of("fft", n=8), 2)
    with pytest.raises(ShapeError):
        space(Problem.of("matmul", m=0, n=1, k=1), 2)
