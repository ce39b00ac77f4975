"""The modules compute what the IR says: Triton's interpreter against ours, and against float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from quasim.kernels import family
from quasim.kernels._base import Arrays
from quasim.kernels.accuracy import kernel_errors
from quasim.kernels.interpret import interpret
from quasim.kernels.statevector import problem as state
from quasim.trial import Problem
from tests.quasim.targets.triton.interpreted import Case, interpreted
from tests.quasim.targets.triton.variants import FLAT, PRODUCT, ROWS, TILED, genome

RAGGED = {"m": 37, "n": 45, "k": 21}
EIGHTS = {"m": 40, "n": 48, "k": 24}
"""Rows of whole 16 bytes, which descriptors need."""

CASES = {
    "product": Case(Problem.of("matmul", **RAGGED), genome(PRODUCT)),
    "product, halves": Case(Problem.of("matmul", **RAGGED), genome(PRODUCT, epilogue=2, group=1)),
    "product, descriptors": Case(
        Problem.of("matmul_nt", **EIGHTS), genome(PRODUCT, access="descriptor", walk="flat", epilogue=2)
    ),
    "product, tf32": Case(Problem.of("matmul_tf32_tn", **EIGHTS), genome(PRODUCT, walk="persistent")),
    "product, batched fp16": Case(Problem.of("bmm_fp16_tn", b=3, **RAGGED), genome(PRODUCT)),
    "product, batched descriptors": Case(
        Problem.of("bmm_fp16_nt", b=2, **EIGHTS), genome(PRODUCT, access="descriptor", walk="persistent")
    ),
    "product, quarters": Case(Problem.of("matmul_fp16_nt", **EIGHTS), genome(PRODUCT, block_n=64, epilogue=4)),
    "softmax": Case(Problem.of("softmax", rows=5, cols=37), genome(ROWS)),
    "softmax, rows together": Case(Problem.of("softmax", rows=13, cols=64), genome(ROWS, rows=2, persist=1, once=True)),
    "softmax, in pieces": Case(Problem.of("softmax", rows=5, cols=37), genome(ROWS, rows=2, block=16)),
    "layernorm": Case(Problem.of("layernorm", rows=5, cols=37), genome(ROWS, rows=4)),
    "layernorm, in pieces": Case(Problem.of("layernorm", rows=3, cols=37), genome(ROWS, block=16)),
    "stencil": Case(Problem.of("stencil2d", h=11, w=37), genome(TILED)),
    "stencil, aligned": Case(Problem.of("stencil2d", h=11, w=37), genome(TILED, align=True, persist=1)),
    "add": Case(Problem.of("add", rows=9, cols=33), genome(FLAT, cache="once")),
    "gelu": Case(Problem.of("gelu_residual", rows=9, cols=33), genome(FLAT, persist=1)),
    "gate, any size": Case(Problem.of("gate1", outer=7, inner=5), genome(FLAT, block=16, layout="flat")),
    "gate, lowest": Case(Problem.of("gate1", outer=37, inner=1), genome(FLAT, block=16, layout="packed")),
    "gate, low": Case(state(8, (2,)), genome(FLAT, block=16, layout="packed", persist=1, cache="kept")),
    "gate, high": Case(state(8, (6,)), genome(FLAT, block=16, layout="packed")),
    "gate, alone": Case(state(1, (0,)), genome(FLAT, block=16, layout="packed")),
    "gates, low": Case(state(8, (3, 1)), genome(FLAT, block=16, layout="packed")),
    "gates, apart": Case(state(8, (7, 0)), genome(FLAT, block=16, layout="packed")),
    "gates, high": Case(state(8, (7, 6)), genome(FLAT, block=16, layout="packed")),
    "gates, any size": Case(Problem.of("gate2", outer=3, middle=3, inner=5), genome(FLAT, block=16, layout="flat")),
    "NaN in a row": Case(Problem.of("softmax", rows=5, cols=37), genome(ROWS), nan_at=40),
    "NaN in a product": Case(Problem.of("matmul", **RAGGED), genome(PRODUCT), nan_at=22),
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Arrays]:
    folder: Path = tmp_path_factory.mktemp("interpreted")
    return dict(zip(CASES, interpreted(list(CASES.values()), folder), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_module_agrees_with_float64(name: str, answers: dict[str, Arrays]) -> None:
    case = CASES[name]
    member = family(case.problem.kernel)
    references = member.reference(case.problem.dims, case.inputs())
    errors = kernel_errors(member.kernel, answers[name], references)
    assert errors.frobenius < member.tolerance


@pytest.mark.parametrize("name", ["product", "softmax", "layernorm, in pieces", "stencil, aligned", "gate, any size"])
def test_module_agrees_with_our_interpreter(name: str, answers: dict[str, Arrays]) -> None:
    case = CASES[name]
    expected = interpret(family(case.problem.kernel).kernel, case.inputs(), case.problem.dims, {})
    for output, array in expected.items():
        np.testing.assert_allclose(answers[name][output], array, rtol=1e-5, atol=1e-6)


def test_text_is_equal_each_time() -> None:
    for case in CASES.values():
        assert case.source() == case.source()


def test_no_access_is_masked_where_tiles_fill_the_array() -> None:
    case = Case(Problem.of("matmul", m=64, n=64, k=64), genome(PRODUCT))
    assert "mask" not in case.source().text
