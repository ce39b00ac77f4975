from __future__ import annotations

import signal
import subprocess
import sys

from quasim.worker.process import ROOT

SCRIPT = """
import mmap, sys, time
from quasim.worker.resident import limit_resident
limit_resident(int(sys.argv[1]))
block = mmap.mmap(-1, 1 << 30)
for at in range(0, int(sys.argv[2]), 4096):
    block[at] = 1
time.sleep(float(sys.argv[3]))
"""


def _run(limit: int, touched: int, sleep_s: float) -> int:
    command = [sys.executable, "-c", SCRIPT, str(limit), str(touched), str(sleep_s)]
    return subprocess.run(command, cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL).returncode


def test_who_holds_more_than_the_limit_is_killed() -> None:
    assert _run(300 << 20, 500 << 20, 60.0) == -signal.SIGKILL


def test_address_space_that_is_not_touched_does_not_count() -> None:
    assert _run(300 << 20, 4096, 0.5) == 0
