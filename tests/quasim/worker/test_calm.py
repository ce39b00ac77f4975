from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from quasim.targets.c.compile import CCompiler
from quasim.worker.calm import await_calm, others_running

SPINNER = """
void spin(volatile int *started, volatile int *go, volatile int *done)
{
    *started = 1;
    while (!*go)
        ;
    *done = 1;
}
"""

LONG_S = 60.0


class Spinner:
    """A thread that keeps a core busy until it is released."""

    def __init__(self, folder: Path) -> None:
        self.started, self.go, self.done = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        spin = ctypes.CDLL(str(CCompiler.find().compile(SPINNER, folder).path)).spin
        flags = [ctypes.byref(flag) for flag in (self.started, self.go, self.done)]
        self._thread = threading.Thread(target=spin, args=flags)
        self._thread.start()
        while not self.started.value:
            pass

    def release(self) -> None:
        self.go.value = 1

    def join(self) -> None:
        self.release()
        self._thread.join()


@pytest.fixture
def spinner(tmp_path: Path) -> Iterator[Spinner]:
    spinner = Spinner(tmp_path)
    yield spinner
    spinner.join()


def test_a_thread_that_spins_is_seen_and_not_waited_for_forever(spinner: Spinner) -> None:
    assert others_running() >= 1
    assert not await_calm(0.005)


def test_calm_comes_after_the_last_thread_sleeps(spinner: Spinner) -> None:
    timer = threading.Timer(0.02, spinner.release)
    timer.start()
    assert await_calm(LONG_S)
    assert spinner.done.value
    timer.join()


def test_threads_that_sleep_disturb_nobody() -> None:
    asleep = threading.Event()
    sleeper = threading.Thread(target=asleep.wait)
    sleeper.start()
    assert await_calm(LONG_S)
    assert sleeper.is_alive()
    asleep.set()
    sleeper.join()
