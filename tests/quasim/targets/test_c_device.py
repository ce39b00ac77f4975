from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from quasim.errors import ShapeError, SpaceError, UnknownNameError
from quasim.kernels.statevector import problem
from quasim.lease import Lease, LeaseTimeoutError
from quasim.search import strategy
from quasim.standing import Contestable, standing
from quasim.targets.c.device import CTarget
from quasim.trial import EnergySource, Genome, Problem, Status, Trial
from quasim.tune import tune
from quasim.worker.process import Limits

PROBLEMS = (
    Problem.of("matmul", m=65, n=70, k=33),
    Problem.of("softmax", rows=37, cols=101),
    Problem.of("stencil2d", h=50, w=61),
    problem(qubits=9, targets=(5, 2)),
    Problem.of("bmm_bf16_nt", b=2, m=17, n=9, k=33),
)


OUTPUT_ROUNDING = {"bmm_bf16_nt": 2**-8}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("c_device")


@pytest.fixture(scope="module")
def target(folder: Path) -> Iterator[CTarget]:
    with CTarget(threads=2, cache=folder, lease=Lease("cpu", folder=folder)) as target:
        yield target


def _default(target: CTarget, problem: Problem) -> Genome:
    genome = target.space(problem).default
    assert genome is not None
    return genome


def _sound(trial: Trial) -> None:
    assert trial.status is Status.OK, trial.detail
    assert trial.timing is not None
    assert trial.error_frobenius is not None
    assert trial.error_frobenius < max(1e-6, OUTPUT_ROUNDING.get(trial.problem.kernel, 0))
    assert trial.error_componentwise is not None
    assert trial.energy_j is None
    assert trial.energy_source is EnergySource.UNMETERED
    assert trial.compile_ns is not None
    assert trial.check_ns
    assert trial.measure_ns


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.kernel)
def test_the_default_genome_of_every_family_runs_end_to_end(target: CTarget, problem: Problem) -> None:
    genome = _default(target, problem)
    (trial,) = target.evaluate(problem, [genome])
    _sound(trial)
    assert (trial.problem, trial.target, trial.genome) == (problem, "c", genome)


def test_several_genomes_give_trials_in_order(target: CTarget) -> None:
    space = target.space(PROBLEMS[0])
    genomes = [space.genome_at(cell) for cell in (0, space.size // 2, space.size - 1)]
    trials = target.evaluate(PROBLEMS[0], genomes)
    assert [trial.genome for trial in trials] == genomes
    for trial in trials:
        _sound(trial)


def test_a_genome_seen_before_is_not_compiled_again(target: CTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    genome = _default(target, PROBLEMS[1])
    target.evaluate(PROBLEMS[1], [genome])

    def never(*_: object) -> None:
        raise AssertionError("the compiler ran again")

    monkeypatch.setattr("quasim.targets.c.compile.CCompiler._run", never)
    (again,) = target.evaluate(PROBLEMS[1], [genome])
    assert again.status is Status.OK


def test_a_playoff_times_its_genomes_in_rounds(target: CTarget) -> None:
    space = target.space(PROBLEMS[2])
    genomes = [_default(target, PROBLEMS[2]), space.genome_at(0)]
    trials = target.playoff(PROBLEMS[2], genomes)
    assert [trial.genome for trial in trials] == genomes
    for trial in trials:
        _sound(trial)


def test_a_contest_has_everyone_and_the_peaks(target: CTarget) -> None:
    assert isinstance(target, Contestable)
    shown = standing(target, PROBLEMS[2], _default(target, PROBLEMS[2]))
    _sound(shown.best)
    for rival in (shown.default, shown.baseline, shown.library):
        assert rival.timing is not None, rival.detail
        assert rival.ratio is not None
        assert rival.ratio.rounds == 11
    assert shown.peaks is not None
    assert shown.peaks.copy_bytes_per_s > 1e8
    assert shown.peaks.flops_per_s > 1e8
    assert shown.stream_fraction is not None
    assert shown.roofline_fraction is not None


def test_a_genome_outside_the_space_is_refused(target: CTarget) -> None:
    with pytest.raises(SpaceError, match="not in the space"):
        target.evaluate(PROBLEMS[0], [Genome({"tile": 3})])


def test_unknown_kernels_and_shapes_outside_the_domain_are_refused(target: CTarget) -> None:
    with pytest.raises(UnknownNameError):
        target.space(Problem.of("matmull", m=1, n=1, k=1))
    with pytest.raises(ShapeError):
        target.space(Problem.of("stencil2d", h=2, w=9))


def test_a_worker_that_died_between_evaluations_is_no_genomes_fault(target: CTarget) -> None:
    genome = _default(target, PROBLEMS[0])
    target.evaluate(PROBLEMS[0], [genome])
    before = target.worker_pid
    assert before is not None
    os.kill(before, signal.SIGKILL)
    for trial in target.evaluate(PROBLEMS[0], [genome, genome]):
        _sound(trial)
    assert target.worker_pid != before


def test_a_variant_that_takes_too_long_is_a_timeout_and_the_next_works(folder: Path) -> None:
    limits = Limits(memory_bytes=2 << 30, run_s=0.001)
    with CTarget(threads=1, cache=folder, lease=Lease("cpu", folder=folder), limits=limits) as hasty:
        problem = Problem.of("matmul", m=700, n=700, k=700)
        (late,) = hasty.evaluate(problem, [_default(hasty, problem)])
        assert late.status is Status.TIMEOUT
        assert hasty.worker_pid is None


def test_a_problem_beyond_the_memory_limit_is_a_failed_trial(folder: Path) -> None:
    limits = Limits(memory_bytes=700 << 20)
    with CTarget(threads=1, cache=folder, lease=Lease("cpu", folder=folder), limits=limits) as small:
        problem = Problem.of("stencil2d", h=8000, w=8000)
        (trial,) = small.evaluate(problem, [_default(small, problem)])
        assert trial.status is Status.LAUNCH_ERROR
        assert "MemoryError" in trial.detail
        (trial,) = small.evaluate(PROBLEMS[2], [_default(small, PROBLEMS[2])])
        _sound(trial)


def test_nothing_is_timed_while_another_holds_the_lease(folder: Path) -> None:
    held = Lease("busy", folder=folder)
    impatient = Lease("busy", folder=folder, timeout_s=0.2)
    with (
        CTarget(threads=1, cache=folder, lease=impatient) as waiting,
        held.exclusive(),
        pytest.raises(LeaseTimeoutError),
    ):
        waiting.evaluate(PROBLEMS[1], [_default(waiting, PROBLEMS[1])])


def test_close_ends_the_worker_and_may_be_repeated(folder: Path) -> None:
    target = CTarget(threads=1, cache=folder, lease=Lease("cpu", folder=folder))
    target.evaluate(PROBLEMS[1], [_default(target, PROBLEMS[1])])
    pid = target.worker_pid
    assert pid is not None
    target.close()
    target.close()
    assert not Path(f"/proc/{pid}").exists()


def test_the_device_names_cpu_cohort_and_what_times_depend_on(target: CTarget) -> None:
    device = target.device
    assert device.family.startswith("cpu-")
    assert dict(device.versions)["threads"] == "2"
    assert "compiler" in dict(device.versions)


def test_cache_and_lease_are_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUASIM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("QUASIM_RUNTIME_DIR", str(tmp_path / "run"))
    with CTarget(threads=1) as target:
        target.evaluate(PROBLEMS[1], [_default(target, PROBLEMS[1])])
    (per_cpu,) = (tmp_path / "cache").iterdir()
    assert len(list(per_cpu.glob("*.so"))) == 1
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"cpu.lease", "cpu.turnstile"}


def test_a_real_kernel_is_tuned_on_the_machine(target: CTarget) -> None:
    problem = PROBLEMS[0]
    result = tune(target, problem, strategy("random", target.space(problem), 7), 6, playoff_size=2)
    assert result.evaluations == 6
    assert len(result.playoff) == 2
    assert result.best is not None
    _sound(result.best)
