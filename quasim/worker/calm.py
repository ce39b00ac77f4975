"""Waits until the other threads of this process sleep: idle OpenMP threads spin on for some milliseconds."""

from __future__ import annotations

import threading
import time
from pathlib import Path

TASKS = Path("/proc/self/task")

PERIOD_S = 0.001
"""Between two looks, which take a fifth of this: they should not be what disturbs."""


def await_calm(most_s: float) -> bool:
    """Wait until no other thread of this process runs or wants to; False where some still did after ``most_s``."""
    deadline = time.monotonic() + most_s
    while others_running():
        if time.monotonic() > deadline:
            return False
        time.sleep(PERIOD_S)
    return True


def others_running() -> int:
    """How many threads of this process, beside the caller's own, run or wait for a core."""
    own = str(threading.get_native_id())
    return sum(_state(task) == "R" for task in TASKS.iterdir() if task.name != own)


def _state(task: Path) -> str:
    """The letter of proc(5); empty for a thread that has ended meanwhile."""
    try:
        # The name before it is in parentheses, and may hold some itself.
        return (task / "stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""
