from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from quasim.errors import ConfigError
from quasim.trial import Status
from quasim.worker.process import ROOT, Limits, Worker, WorkerLostError, WorkerStartError
from quasim.worker.protocol import Outcome, Plan, Prepare, Prepared, Ran, Run, Variant
from tests.quasim.worker.variants import PROBLEM, variant

LIMITS = Limits(memory_bytes=1 << 30)
QUICK = Plan(min_samples=1, max_samples=2)

PARENT = """
import sys
from pathlib import Path
from quasim.worker.process import Limits, Worker
from quasim.worker.protocol import Plan, Prepare, Run, Variant
from tests.quasim.worker.variants import PROBLEM
worker = Worker(Limits(memory_bytes=1 << 30), threads=1)
worker.call(Prepare(PROBLEM, 1), 60)
print(worker.pid, flush=True)
worker.call(Run(PROBLEM, 1, (Variant(sys.argv[1]),), Plan()), 600)
"""


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker(LIMITS, threads=1)
    yield worker
    worker.close()


def _try(worker: Worker, entry: Variant, timeout_s: float = 30) -> Outcome:
    assert isinstance(worker.call(Prepare(PROBLEM, 1), 60), Prepared)
    reply = worker.call(Run(PROBLEM, 1, (entry,), QUICK), timeout_s)
    assert isinstance(reply, Ran)
    return reply.outcomes[0]


def _gone(pid: int) -> bool:
    """Whether the process has ended; one that its new parent has not reaped yet has, too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def _wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 20
    while not _gone(pid):
        assert time.monotonic() < deadline, f"process {pid} lives on"
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("before", "detail"),
    [
        ("*(volatile int *)8 = 1;", "killed by SIGSEGV"),
        ("abort();", "killed by SIGABRT"),
        ("volatile int zero = 0; calls /= zero;", "killed by SIGFPE"),
        ("_exit(3);", "the worker exited with code 3"),
        ("kill(getpid(), SIGKILL);", "killed by SIGKILL, as the system does when memory runs out"),
    ],
)
def test_a_crash_is_told_with_its_signal_and_the_next_run_works(
    worker: Worker, tmp_path: Path, before: str, detail: str
) -> None:
    with pytest.raises(WorkerLostError) as caught:
        _try(worker, variant(tmp_path, before=before))
    assert (caught.value.status, caught.value.what) == (Status.CRASHED, detail)
    assert _try(worker, variant(tmp_path)).status is Status.OK
    assert worker.starts == 2


def test_a_hang_is_killed_and_the_next_run_works(worker: Worker, tmp_path: Path) -> None:
    worker.start()
    pid = worker.pid
    assert pid is not None
    with pytest.raises(WorkerLostError, match=r"no answer within 0.5 s") as caught:
        _try(worker, variant(tmp_path, before="for (;;) calls++;"), timeout_s=0.5)
    assert caught.value.status is Status.TIMEOUT
    assert not Path(f"/proc/{pid}").exists()
    assert _try(worker, variant(tmp_path)).status is Status.OK


def test_children_of_a_variant_die_with_its_worker(worker: Worker, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    before = f"""
        pid_t child = fork();
        while (!child) pause();
        FILE *note = fopen("{note}", "w");
        fprintf(note, "%d", child);
        fclose(note);
        abort();
    """
    with pytest.raises(WorkerLostError):
        _try(worker, variant(tmp_path, before=before), timeout_s=1)
    _wait_until_gone(int(note.read_text()))


def test_memory_beyond_the_limit_is_not_given(worker: Worker, tmp_path: Path) -> None:
    grab = "void *block = malloc((size_t)2 << 30); if (!block) return 1; memset(block, 1, (size_t)2 << 30);"
    outcome = _try(worker, variant(tmp_path, before=grab))
    assert outcome.status is Status.LAUNCH_ERROR
    assert "memory" in outcome.detail
    assert _try(worker, variant(tmp_path)).status is Status.OK
    assert worker.starts == 1


def test_memory_that_blows_up_unchecked_is_a_crash(worker: Worker, tmp_path: Path) -> None:
    blow = "for (;;) memset(malloc(1 << 26), 1, 1 << 26);"
    with pytest.raises(WorkerLostError, match="SIGSEGV"):
        _try(worker, variant(tmp_path, before=blow))
    assert _try(worker, variant(tmp_path)).status is Status.OK


def test_what_a_variant_prints_goes_to_stderr(
    worker: Worker, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    chatty = variant(tmp_path, before='printf("hello from %d\\n", 1); fflush(stdout);')
    assert _try(worker, chatty).status is Status.OK
    captured = capfd.readouterr()
    assert "hello from 1" in captured.err
    assert captured.out == ""


def test_a_worker_that_died_between_requests_is_told_as_a_crash(worker: Worker, tmp_path: Path) -> None:
    worker.start()
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(WorkerLostError, match="SIGKILL"):
        _try(worker, variant(tmp_path))
    assert _try(worker, variant(tmp_path)).status is Status.OK


def test_no_core_is_dumped(worker: Worker) -> None:
    worker.start()
    limits = Path(f"/proc/{worker.pid}/limits").read_text()
    assert [line.split()[4:6] for line in limits.splitlines() if line.startswith("Max core")] == [["0", "0"]]


def test_a_limit_that_nothing_can_start_under_is_an_error_of_ours() -> None:
    worker = Worker(Limits(memory_bytes=1 << 20), threads=1)
    with pytest.raises(WorkerStartError, match="with 1 MiB did not start"):
        worker.start()
    assert worker.pid is None


def test_limits_of_nothing_are_refused() -> None:
    with pytest.raises(ConfigError):
        Limits(memory_bytes=0)


def test_close_leaves_no_process_and_no_file_and_may_be_repeated(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    worker = Worker(LIMITS, threads=1)
    worker.start()
    pid = worker.pid
    worker.close()
    worker.close()
    assert not Path(f"/proc/{pid}").exists()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_crash_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    worker = Worker(LIMITS, threads=1)
    with pytest.raises(WorkerLostError):
        _try(worker, variant(tmp_path, before="abort();"))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_worker_dies_with_its_parent_even_in_native_code(tmp_path: Path) -> None:
    note = tmp_path / "running"
    hang = variant(tmp_path, before=f'fclose(fopen("{note}", "w")); for (;;) calls++;')
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, hang.path], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        while not note.exists():
            time.sleep(0.005)
        assert not _gone(pid)
        os.kill(parent.pid, signal.SIGKILL)
    _wait_until_gone(pid)
