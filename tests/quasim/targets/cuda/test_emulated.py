"""The emitted CUDA C++ computes what float64 says, on the host: ragged shapes, fenced arrays, all schedules."""

from __future__ import annotations

import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from quasim.kernels import family
from quasim.kernels.ir import Load, Store
from quasim.kernels.statevector import problem as state
from quasim.kernels.threaded import Barrier, For, Node
from quasim.kernels.walk import walk
from quasim.targets.cuda.emit import emit
from quasim.targets.cuda.prelude import PRELUDE
from quasim.trial import Problem
from tests.quasim.kernels.nest import guards, without_guard
from tests.quasim.targets.cuda.emulated import Case, compiled, errors
from tests.quasim.targets.cuda.variants import FLAT, PRODUCT, ROWS, TILED, genome

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler on this machine")

RAGGED = {"m": 37, "n": 45, "k": 21}
FOURS = {"m": 36, "n": 44, "k": 20}
WHOLE = {"m": 64, "n": 64, "k": 32}

CASES = {
    "product, ragged": Case(Problem.of("matmul", **RAGGED), genome(PRODUCT)),
    "product, nt ragged": Case(Problem.of("matmul_nt", **RAGGED), genome(PRODUCT, block_k=16)),
    "product, tn ragged": Case(Problem.of("matmul_tn", **RAGGED), genome(PRODUCT, block_n=64, each_n=8, group=1)),
    "product, by four": Case(Problem.of("matmul", **FOURS), genome(PRODUCT, block_m=64, each_m=8)),
    "product, nt by four": Case(Problem.of("matmul_nt", **FOURS), genome(PRODUCT)),
    "product, tn by four": Case(Problem.of("matmul_tn", **FOURS), genome(PRODUCT, block_k=16)),
    "product, whole": Case(Problem.of("matmul", **WHOLE), genome(PRODUCT, block_m=64, block_n=64, each_m=8, each_n=8)),
    "product, copied": Case(Problem.of("matmul", **FOURS), genome(PRODUCT, asynchronous=True)),
    "product, tn copied": Case(Problem.of("matmul_tn", **FOURS), genome(PRODUCT, block_m=64, asynchronous=True)),
    "product, whole copied": Case(Problem.of("matmul_tn", **WHOLE), genome(PRODUCT, asynchronous=True)),
    "product, copied in vain": Case(Problem.of("matmul_nt", **FOURS), genome(PRODUCT, asynchronous=True)),
    "product, tall": Case(Problem.of("matmul", m=3, n=130, k=1), genome(PRODUCT, group=8)),
    "product, batched": Case(Problem.of("bmm_nt", b=3, **RAGGED), genome(PRODUCT)),
    "softmax, ragged": Case(Problem.of("softmax", rows=5, cols=37), genome(ROWS)),
    "softmax, by four": Case(Problem.of("softmax", rows=7, cols=300), genome(ROWS, group=64, once=True)),
    "softmax, gangs": Case(Problem.of("softmax", rows=3, cols=515), genome(ROWS, threads=256, group=128)),
    "softmax, short": Case(Problem.of("softmax", rows=21, cols=5), genome(ROWS, group=8, rows=1)),
    "softmax, alone": Case(Problem.of("softmax", rows=33, cols=1), genome(ROWS, group=1, vector=1)),
    "layernorm, ragged": Case(Problem.of("layernorm", rows=5, cols=37), genome(ROWS, threads=32)),
    "layernorm, by four": Case(Problem.of("layernorm", rows=9, cols=132), genome(ROWS, group=64, rows=4)),
    "stencil, ragged": Case(Problem.of("stencil2d", h=11, w=37), genome(TILED)),
    "stencil, by four": Case(Problem.of("stencil2d", h=13, w=132), genome(TILED)),
    "stencil, wide": Case(Problem.of("stencil2d", h=12, w=264), genome(TILED, across=64, rows=4)),
    "stencil, one by one": Case(Problem.of("stencil2d", h=9, w=40), genome(TILED, vector=1, rows=1)),
    "stencil, least": Case(Problem.of("stencil2d", h=3, w=3), genome(TILED)),
    "add, ragged": Case(Problem.of("add", rows=9, cols=133), genome(FLAT, once=True)),
    "add, whole": Case(Problem.of("add", rows=8, cols=64), genome(FLAT)),
    "gelu, ragged": Case(Problem.of("gelu_residual", rows=9, cols=133), genome(FLAT)),
    "gelu, one by one": Case(Problem.of("gelu_residual", rows=9, cols=33), genome(FLAT, vector=1, items=1)),
    "gate, any size": Case(Problem.of("gate1", outer=37, inner=5), genome(FLAT)),
    "gate, lowest": Case(Problem.of("gate1", outer=333, inner=1), genome(FLAT)),
    "gate, low": Case(state(10, (1,)), genome(FLAT, once=True)),
    "gate, high": Case(state(10, (8,)), genome(FLAT, items=1)),
    "gate, alone": Case(state(1, (0,)), genome(FLAT)),
    "gates, lowest": Case(state(10, (1, 0)), genome(FLAT)),
    "gates, low": Case(state(10, (3, 1)), genome(FLAT)),
    "gates, apart": Case(state(10, (9, 0)), genome(FLAT)),
    "gates, any size": Case(Problem.of("gate2", outer=13, middle=3, inner=5), genome(FLAT)),
    "NaN in a product": Case(Problem.of("matmul", **RAGGED), genome(PRODUCT), nan_at=22),
    "NaN in a row": Case(Problem.of("softmax", rows=5, cols=37), genome(ROWS), nan_at=40),
    "NaN in a normed row": Case(
        Problem.of("layernorm", rows=5, cols=36), genome(ROWS, threads=64, group=64), nan_at=40
    ),
    "NaN in an element": Case(Problem.of("gelu_residual", rows=9, cols=33), genome(FLAT), nan_at=13),
    "NaN in a grid": Case(Problem.of("stencil2d", h=12, w=264), genome(TILED), nan_at=300),
}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled([case.program() for case in CASES.values()], tmp_path_factory.mktemp("emulated"))


@pytest.fixture(scope="module", params=["behind", "before"])
def found(library: Path, request: pytest.FixtureRequest) -> dict[str, float]:
    return dict(zip(CASES, errors(library, list(CASES.values()), behind=request.param == "behind"), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_source_agrees_with_float64_and_touches_nothing_else(name: str, found: dict[str, float]) -> None:
    assert 0 <= found[name] < family(CASES[name].problem.kernel).tolerance


GUARDED = [
    "product, tn copied",
    "product, ragged",
    "product, nt by four",
    "softmax, ragged",
    "layernorm, by four",
    "stencil, by four",
    "add, ragged",
]


@pytest.mark.parametrize("name", [*GUARDED, "gate, any size", "gates, any size", "product, batched"])
def test_removing_any_guard_changes_the_source(name: str) -> None:
    kernel = family(CASES[name].problem.kernel).kernel
    text = emit(CASES[name].program())
    pairs = [(access, axis) for access, axis in guards(kernel) if axis.name != "b"]
    same = [
        (a.tensor.name, axis.name)
        for a, axis in pairs
        if emit(CASES[name].program(without_guard(kernel, a, axis))) == text
    ]
    assert pairs
    assert same == []


def test_a_guard_missing_from_the_ir_makes_the_source_run_into_the_page(tmp_path: Path) -> None:
    names = ["product, ragged", "softmax, ragged", "add, ragged", "stencil, ragged"]
    planted = []
    for name in names:
        kernel = family(CASES[name].problem.kernel).kernel
        access = next(node for node in walk(kernel.body) if isinstance(node, Load | Store))
        # The axis of the first dimension: without its guard an access leaves the array by whole rows.
        planted.append(CASES[name].program(without_guard(kernel, access, access.guard[0])))
    outcomes = errors(compiled(planted, tmp_path), [CASES[name] for name in names])
    assert outcomes == [-float(signal.SIGSEGV)] * len(names)


@pytest.mark.parametrize("name", ["product, copied", "softmax, by four"])
def test_a_missing_barrier_shows_in_one_order_of_threads_or_the_other(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    program = case.program()
    library = compiled([replace(program, body=_without_barriers(program.body))], tmp_path)
    outcomes = [errors(library, [case], behind=behind)[0] for behind in (True, False)]
    assert max(outcomes) > family(case.problem.kernel).tolerance


def _without_barriers(body: tuple[Node, ...]) -> tuple[Node, ...]:
    found: list[Node] = []
    for node in body:
        if isinstance(node, For):
            found.append(replace(node, body=_without_barriers(node.body)))
        elif not isinstance(node, Barrier):
            found.append(node)
    return tuple(found)


def test_text_is_equal_each_time() -> None:
    for case in CASES.values():
        assert emit(case.program()) == emit(case.program())


def test_nothing_is_guarded_where_tiles_fill_the_array() -> None:
    whole = emit(CASES["product, whole"].program()).removeprefix(PRELUDE)
    assert "else zero" not in whole
    assert "else" not in emit(CASES["add, whole"].program()).removeprefix(PRELUDE)
