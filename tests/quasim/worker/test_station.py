from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from quasim.lease import Lease
from quasim.trial import Problem, Status
from quasim.worker.process import Limits
from quasim.worker.protocol import DevicePeak, DevicePeakKind, Entry, Library, Outcome, Plan, Run, Variant
from quasim.worker.standby import StandbyWorker
from quasim.worker.station import Station
from tests.quasim.worker.variants import PROBLEM, variant

QUICK = Plan(rounds=2, window_ns=10**12, min_samples=1, max_samples=2)
LIMITS = Limits(memory_bytes=1 << 30, run_s=0.7)


@pytest.fixture
def worker() -> Iterator[StandbyWorker]:
    worker = StandbyWorker(LIMITS, threads=1, desk="cpu")
    yield worker
    worker.close()


@pytest.fixture
def station(worker: StandbyWorker, tmp_path: Path) -> Station:
    return Station(worker, Lease("station", folder=tmp_path))


def _run(station: Station, *entries: Entry, problem: Problem = PROBLEM) -> list[Outcome]:
    return station.run(Run(problem, 1, entries, QUICK))


def test_a_crash_and_a_hang_fail_alone_and_the_others_are_timed(station: Station, tmp_path: Path) -> None:
    right = variant(tmp_path)
    crash, hang = variant(tmp_path, before="abort();"), variant(tmp_path, before="for (;;) calls++;")
    outcomes = _run(station, right, crash, right, hang)
    assert [o.status for o in outcomes] == [Status.OK, Status.CRASHED, Status.OK, Status.TIMEOUT]
    assert [len(o.windows) for o in outcomes] == [2, 0, 2, 0]
    assert outcomes[1].detail == "killed by SIGABRT"


def test_no_entries_need_no_worker(station: Station) -> None:
    assert _run(station) == []
    assert station.pid is None


def test_the_worker_that_stands_by_takes_over(worker: StandbyWorker, station: Station, tmp_path: Path) -> None:
    station.start()
    worker.settle()
    first = station.pid
    assert worker.starts == 2
    (outcome,) = _run(station, variant(tmp_path, before="abort();"))
    assert outcome.status is Status.CRASHED
    assert _run(station, variant(tmp_path))[0].status is Status.OK
    assert station.pid != first
    assert worker.starts == 3


def test_a_worker_that_died_between_runs_is_charged_to_nobody(station: Station, tmp_path: Path) -> None:
    station.start()
    assert station.pid is not None
    os.kill(station.pid, signal.SIGKILL)
    assert _run(station, variant(tmp_path))[0].status is Status.OK


def test_a_problem_that_cannot_be_prepared_fails_every_entry(station: Station) -> None:
    outcomes = _run(station, Library(), Library(), problem=Problem.of("nonsense", n=1))
    assert [o.status for o in outcomes] == [Status.LAUNCH_ERROR] * 2
    assert "nonsense" in outcomes[0].detail


def test_closing_ends_all_workers_and_the_station_starts_anew(worker: StandbyWorker, station: Station) -> None:
    station.start()
    worker.settle()
    station.close()
    assert station.pid is None
    assert _run(station, Library())[0].status is Status.OK


def test_large_requests_pass_whole(station: Station, tmp_path: Path) -> None:
    path = tmp_path / ("x" * 200)
    entries: list[Entry] = [Variant(str(path))] * 2000
    outcomes = _run(station, *entries)
    assert {o.status for o in outcomes} == {Status.LAUNCH_ERROR}
    assert len(outcomes) == 2000


def test_an_entry_of_a_gpu_worker_is_a_launch_error_on_a_cpu(station: Station) -> None:
    (outcome,) = _run(station, DevicePeak(DevicePeakKind.COPY))
    assert outcome.status is Status.LAUNCH_ERROR
    assert "ask a GPU worker" in outcome.detail


def test_workers_lost_while_preparing_fail_the_run_and_not_each_entry_again(tmp_path: Path) -> None:
    worker = StandbyWorker(Limits(memory_bytes=1 << 30, prepare_s=0.001), threads=1, desk="cpu")
    try:
        outcomes = _run(Station(worker, Lease("station", folder=tmp_path)), Library(), Library())
        assert {(o.status, o.detail.partition(":")[0]) for o in outcomes} == {
            (Status.LAUNCH_ERROR, f"two workers were lost while they prepared {PROBLEM}")
        }
        assert worker.starts <= 4
    finally:
        worker.close()


def test_a_problem_prepared_before_its_run_is_not_prepared_again(station: Station, tmp_path: Path) -> None:
    station.prepare(PROBLEM, 1)
    pid = station.pid
    assert pid is not None
    assert _run(station, variant(tmp_path))[0].status is Status.OK
    assert station.pid == pid


def test_preparing_in_advance_leaves_what_fails_to_the_run(station: Station) -> None:
    unknown = Problem.of("nonsense", n=1)
    station.prepare(unknown, 1)
    assert _run(station, Library(), problem=unknown)[0].status is Status.LAUNCH_ERROR
