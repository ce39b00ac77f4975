"""Recording spaces: on the CPU of this machine, and on recorded devices, whose times repeat."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest

from benchmarks.record_spaces import Deadline, Extent, file_name, problems, record
from quasim.errors import ConfigError, DataError
from quasim.kernels import check_problem
from quasim.targets.c.device import CTarget
from quasim.targets.replay import ReplayTarget, read_recording, write_t4
from quasim.targets.replay.facts import Facts
from quasim.targets.triton.space import space
from quasim.trial import EnergySource, Genome, Problem, Status, Trial
from tests.conftest import ROOT

SMALL = Extent(configurations=8, best=2, others=2, batch=4)

WHOLE = Extent(configurations=224, best=16, others=16)


class Meter(ReplayTarget):
    """A recorded device with a meter: a watt for the time that was recorded."""

    def meter(self, problem: Problem, genomes: Sequence[Genome], window_ns: int) -> list[Trial]:
        return [
            msgspec.structs.replace(trial, energy_j=trial.time_ns / 1e9, energy_source=EnergySource.MODEL)
            for trial in self.playoff(problem, genomes)
        ]


@pytest.fixture
def device(recorded_space: Path) -> Meter:
    return Meter("triton", [(0, recorded_space)])


def label(target: ReplayTarget | CTarget) -> str:
    return target.device.name.split()[0].lower()


def batches_only(count: int) -> Deadline:
    """Time is up after so many batches: the clock is read when one is thought of, begins and ends."""
    ticks = itertools.chain([0.0] * (1 + 3 * count), itertools.repeat(9.0))
    return Deadline(1.0, clock=lambda: next(ticks))


def test_a_real_space_is_recorded_stopped_resumed_and_replayed(tmp_path: Path) -> None:
    wanted = [Problem.of("softmax", rows=16, cols=64), Problem.of("matmul", m=16, n=16, k=16)]
    with CTarget(threads=1) as target:
        record(target, wanted, tmp_path, label(target), batches_only(1), SMALL)
        assert [path.name for path in tmp_path.iterdir()] == [file_name(label(target), wanted[0])]
        first = read_recording(next(tmp_path.iterdir())).trials(target.name)
        assert len(first) == 4
        records = record(target, wanted, tmp_path, label(target), Deadline(None), SMALL)
        default = target.space(wanted[0]).default
        name = target.device.name
    paths = [tmp_path / file_name(label(target), problem) for problem in wanted]
    replayed = ReplayTarget("c", [(0, path) for path in paths])
    assert replayed.problems == tuple(wanted)
    assert replayed.device.name == name
    assert replayed.space(wanted[0]).default == default
    for one, path in zip(records, paths, strict=True):
        trials = read_recording(path).trials("c")
        assert len(trials) == 8
        assert [Facts.of(trial) for trial in trials] == [Facts.of(trial) for trial in one.trials]
        assert {trial.status for trial in trials} == {Status.OK}
        assert all(trial.error_frobenius is not None and trial.compile_ns for trial in trials)
        # This machine has no meter, and the files say nothing else.
        assert {(trial.energy_j, trial.energy_source) for trial in trials} == {(None, EnergySource.UNMETERED)}
    assert read_recording(paths[0]).trials("c")[0].genome == first[0].genome == default
    assert [trial.timing for trial in records[0].trials[:4]] == [trial.timing for trial in first]


def test_a_recording_has_its_times_and_the_joules_of_some(device: Meter, tmp_path: Path) -> None:
    (one,) = record(device, device.problems, tmp_path, label(device), Deadline(None), WHOLE)
    trials = one.trials
    metered = [trial for trial in trials if trial.energy_j is not None]
    assert (len(trials), len(metered)) == (224, 32)
    ranked = sorted(trials, key=lambda trial: trial.time_ns)
    assert set(ranked[:16]) <= set(metered)
    assert {(trial.energy_j, trial.energy_source) for trial in metered} == {
        (trial.time_ns / 1e9, EnergySource.MODEL) for trial in metered
    }
    path = tmp_path / file_name(label(device), device.problem)
    replayed = ReplayTarget("triton", [(0, path)])
    assert replayed.evaluate(device.problem, [trial.genome for trial in trials]) == list(trials)
    # Nine files of 320 configurations stay below 5 MB together.
    assert path.stat().st_size / len(trials) * 9 * 320 < 5e6


@pytest.mark.parametrize("stops", [(2,), (1, 5), (8, 1, 1)])
def test_a_recording_in_parts_is_the_recording_in_one(device: Meter, tmp_path: Path, stops: tuple[int, ...]) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    record(device, device.problems, whole, label(device), Deadline(None), WHOLE)
    for stop in stops:
        record(device, device.problems, parts, label(device), batches_only(stop), WHOLE)
    name = file_name(label(device), device.problem)
    assert (parts / name).read_bytes() != (whole / name).read_bytes()
    record(device, device.problems, parts, label(device), Deadline(None), WHOLE)
    assert (parts / name).read_bytes() == (whole / name).read_bytes()


def test_a_complete_recording_is_left_alone(device: Meter, tmp_path: Path) -> None:
    record(device, device.problems, tmp_path, label(device), Deadline(None), WHOLE)
    path = tmp_path / file_name(label(device), device.problem)
    before = path.stat()
    record(device, device.problems, tmp_path, label(device), Deadline(None), WHOLE)
    assert path.stat() == before


def test_what_is_of_another_device_or_space_is_not_overwritten(device: Meter, tmp_path: Path) -> None:
    problem, known = device.problem, device.space(device.problem)
    trials = device.evaluate(problem, known.sample(np.random.default_rng(0), 4))
    path = tmp_path / file_name(label(device), problem)
    write_t4(path, "NVIDIA H100", problem, trials, known)
    with pytest.raises(DataError, match=r"records matmul.* on NVIDIA H100, not matmul.* on "):
        record(device, [problem], tmp_path, label(device), Deadline(None), SMALL)
    more = msgspec.structs.replace(known.parameters[0], values=(*known.parameters[0].values, 4096))
    other = msgspec.structs.replace(known, parameters=(more, *known.parameters[1:]))
    write_t4(path, device.device.name, problem, trials, other)
    with pytest.raises(DataError, match=r"records another space of matmul"):
        record(device, [problem], tmp_path, label(device), Deadline(None), SMALL)


@pytest.mark.parametrize("name", ["", "h100"])
def test_a_device_is_called_by_its_own_name(device: Meter, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="is no part of"):
        record(device, device.problems, tmp_path / "none", name, Deadline(None), SMALL)
    assert not (tmp_path / "none").exists()


def test_a_batch_that_would_not_end_in_time_is_not_begun() -> None:
    now = [0.0]
    deadline = Deadline(10.0, clock=lambda: now[0])
    assert not deadline.passed()
    with deadline.batch():
        now[0] = 6.0
    assert deadline.passed()
    assert not Deadline(None, clock=lambda: now[0]).passed()


def test_every_problem_that_is_recorded_has_a_space_on_an_h100() -> None:
    wanted = problems()
    assert len(wanted) == len(set(wanted)) == 6
    for problem in wanted:
        assert check_problem(problem) == problem
        assert space(problem, "sm_90").size > 200


def test_the_command_says_which_kernels_there_are() -> None:
    command = [sys.executable, "-m", "benchmarks.record_spaces", "--device-name", "x", "--out", "x", "--only", "fft"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "use softmax, stencil2d, gate1, matmul" in done.stderr
