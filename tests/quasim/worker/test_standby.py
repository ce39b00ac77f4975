"""Who stands by takes over, even where some die while they start."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from quasim.trial import Problem
from quasim.worker.process import Limits, WorkerLostError, WorkerStartError
from quasim.worker.protocol import Prepare, Prepared
from quasim.worker.standby import TRIES, StandbyWorker

LIMITS = Limits(memory_bytes=1 << 30)
PREPARE = Prepare(Problem.of("matmul", m=8, n=8, k=8), 1)

DIES = """import os, sys
for name in os.listdir(FOLDER):
    os.unlink(os.path.join(FOLDER, name))
    print("dies while it starts", file=sys.stderr)
    os._exit(7)
"""


class Deaths:
    """So many of the processes that start next die, each before it has said a word."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def cause(self, count: int) -> None:
        for number in range(count):
            (self._folder / str(number)).touch()

    @property
    def left(self) -> int:
        return len(list(self._folder.iterdir()))


@pytest.fixture
def deaths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deaths:
    (tmp_path / "deaths").mkdir()
    (tmp_path / "sitecustomize.py").write_text(DIES.replace("FOLDER", repr(str(tmp_path / "deaths"))))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return Deaths(tmp_path / "deaths")


@pytest.fixture
def worker(deaths: Deaths) -> Iterator[StandbyWorker]:
    made = StandbyWorker(LIMITS, threads=1, desk="cpu")
    yield made
    made.close()


def lose(worker: StandbyWorker) -> None:
    """Kill the one that works."""
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(WorkerLostError):
        worker.call(PREPARE, 30)


def test_a_spare_that_died_while_it_started_is_replaced(worker: StandbyWorker, deaths: Deaths) -> None:
    worker.start()
    worker.settle()
    deaths.cause(1)
    lose(worker)
    worker.start()
    lose(worker)
    assert isinstance(worker.call(PREPARE, 30), Prepared)
    assert deaths.left == 0


def test_all_that_die_in_a_row_are_told_of_and_the_next_call_tries_again(deaths: Deaths) -> None:
    worker = StandbyWorker(LIMITS, threads=1, desk="cpu", spares=0)
    deaths.cause(TRIES)
    with pytest.raises(WorkerStartError, match=r"3 workers in a row: .* exited with code 7"):
        worker.start()
    assert (worker.starts, deaths.left) == (TRIES, 0)
    worker.start()
    worker.close()
