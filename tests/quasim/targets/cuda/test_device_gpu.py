from __future__ import annotations

from collections.abc import Iterator

import pytest

from quasim.kernels import statevector
from quasim.search import strategy
from quasim.standing import standing
from quasim.targets.cuda.device import CudaTarget
from quasim.trial import Problem, Status
from quasim.tune import tune
from tests.quasim.gpu import on_gpu

pytestmark = on_gpu

PROBLEMS = [
    Problem.of("softmax", rows=512, cols=1000),
    Problem.of("softmax", rows=37, cols=1023),
    Problem.of("layernorm", rows=512, cols=1024),
    Problem.of("layernorm", rows=4, cols=65536),
    Problem.of("add", rows=301, cols=1001),
    Problem.of("gelu_residual", rows=512, cols=512),
    Problem.of("stencil2d", h=1000, w=1032),
    Problem.of("stencil2d", h=1000, w=1031),
    Problem.of("matmul", m=256, n=512, k=128),
    Problem.of("matmul", m=255, n=77, k=129),
    Problem.of("matmul_nt", m=256, n=260, k=132),
    Problem.of("matmul_tn", m=512, n=512, k=256),
    Problem.of("bmm", b=3, m=256, n=256, k=256),
    statevector.problem(qubits=18, targets=(0,)),
    statevector.problem(qubits=18, targets=(3,)),
    statevector.problem(qubits=18, targets=(11, 2)),
]


@pytest.fixture(scope="module")
def target() -> Iterator[CudaTarget]:
    with CudaTarget(energy_window_ns=0) as target:
        yield target


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_defaults_and_random_genomes_are_right(target: CudaTarget, problem: Problem) -> None:
    known = target.space(problem)
    assert known.default is not None
    trials = target.evaluate(problem, [known.default, *strategy("random", known, 5).ask(6)])
    wrong = [(str(t.genome), t.status, t.detail) for t in trials if t.status is not Status.OK and t.compile_ns]
    assert wrong == []
    assert trials[0].status is Status.OK


def test_a_tuning_run_ends_with_a_standing(target: CudaTarget) -> None:
    problem = Problem.of("softmax", rows=1024, cols=1024)
    result = tune(target, problem, strategy("random", target.space(problem), 1), 8)
    assert result.best is not None
    assert result.best.target == "cuda"
    assert standing(target, problem, result.best.genome)
