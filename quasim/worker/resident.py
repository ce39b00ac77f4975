"""A limit on resident memory, for processes whose address space says nothing of what they use."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

PERIOD_S = 0.2
"""Memory grows by some gigabytes in this time at most; reading the file takes microseconds."""

STATM = Path("/proc/self/statm")


def limit_resident(memory_bytes: int) -> None:
    """End the process, group and all, when more than this is resident; watched by a thread."""
    threading.Thread(target=_watch, args=(memory_bytes,), name="resident memory", daemon=True).start()


def _watch(memory_bytes: int) -> None:
    page = os.sysconf("SC_PAGE_SIZE")
    while int(STATM.read_text().split()[1]) * page <= memory_bytes:
        time.sleep(PERIOD_S)
    sys.stderr.write(f"a worker has more than {memory_bytes >> 20} MiB resident and is killed\n")
    os.killpg(0, signal.SIGKILL)
