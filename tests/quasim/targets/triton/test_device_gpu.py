from __future__ import annotations

from collections.abc import Iterator

import pytest

from quasim.kernels import statevector
from quasim.search import strategy
from quasim.standing import standing
from quasim.targets.triton.device import TritonTarget
from quasim.trial import Genome, Problem, Status
from quasim.tune import tune
from tests.quasim.gpu import on_gpu

pytestmark = on_gpu

PROBLEMS = [
    Problem.of("softmax", rows=512, cols=1000),
    Problem.of("layernorm", rows=512, cols=1024),
    Problem.of("add", rows=300, cols=1000),
    Problem.of("gelu_residual", rows=512, cols=512),
    Problem.of("stencil2d", h=1000, w=1030),
    Problem.of("matmul", m=256, n=512, k=128),
    Problem.of("matmul_tf32", m=512, n=512, k=256),
    Problem.of("matmul_bf16", m=512, n=512, k=512),
    Problem.of("matmul_fp16_nt", m=512, n=256, k=512),
    Problem.of("bmm_bf16_tn", b=3, m=256, n=256, k=256),
    statevector.problem(qubits=18, targets=(3,)),
    statevector.problem(qubits=18, targets=(11, 2)),
]


@pytest.fixture(scope="module")
def target() -> Iterator[TritonTarget]:
    with TritonTarget(energy_window_ns=0) as target:
        yield target


def _genomes(target: TritonTarget, problem: Problem, count: int) -> list[Genome]:
    return list(strategy("random", target.space(problem), 5).ask(count))


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_the_default_of_every_family_is_right(target: TritonTarget, problem: Problem) -> None:
    default = target.space(problem).default
    assert default is not None
    (trial,) = target.evaluate(problem, [default])
    assert trial.status is Status.OK, trial.detail
    assert trial.introspection is not None
    assert trial.introspection.registers
    assert trial.introspection.roofline_fraction is not None
    assert 0 < trial.introspection.roofline_fraction < 2


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_random_genomes_are_right_or_weeded_by_the_compilers_facts(target: TritonTarget, problem: Problem) -> None:
    trials = target.evaluate(problem, _genomes(target, problem, 8))
    wrong = [(str(t.genome), t.status, t.detail) for t in trials if t.status is not Status.OK and t.compile_ns]
    assert wrong == []
    assert any(t.status is Status.OK for t in trials)


def test_a_tuned_genome_stands_against_its_rivals(target: TritonTarget) -> None:
    problem = PROBLEMS[0]
    result = tune(target, problem, strategy("random", target.space(problem), 1), 8, playoff_size=3)
    assert result.best is not None
    found = standing(target, problem, result.best.genome)
    assert found.best.status is Status.OK
    assert found.default.ratio is not None
    assert found.baseline.ratio is not None, found.baseline.detail
    assert found.library.ratio is not None, found.library.detail
    assert found.peaks is not None
    assert found.peaks.copy_bytes_per_s > 1e11


def test_the_same_seed_gives_the_same_errors(target: TritonTarget) -> None:
    problem = PROBLEMS[5]
    default = target.space(problem).default
    assert default is not None
    first, second = (target.evaluate(problem, [default])[0] for _ in range(2))
    assert (first.error_frobenius, first.error_componentwise) == (second.error_frobenius, second.error_componentwise)


def test_a_playoff_meters_every_finalist_or_says_why_not() -> None:
    with TritonTarget() as target:
        problem = PROBLEMS[1]
        trials = target.playoff(problem, _genomes(target, problem, 2))
    for trial in trials:
        assert trial.status is Status.OK, trial.detail
        assert (trial.energy_j is not None) != trial.detail.startswith("unmetered: ")
        if trial.energy_j is not None:
            assert trial.energy_low_j is not None
            assert trial.energy_high_j is not None
            assert trial.energy_low_j <= trial.energy_j <= trial.energy_high_j
