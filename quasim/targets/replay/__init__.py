"""A device that is read from recordings: T4 results files and Kernel Tuner cache files, of others or ours."""

from __future__ import annotations

from quasim.targets.replay.cachefile import read_cache, write_cache
from quasim.targets.replay.read import read_recording
from quasim.targets.replay.record import record
from quasim.targets.replay.recording import Recording
from quasim.targets.replay.t4file import read_t4, write_t4
from quasim.targets.replay.target import ReplayTarget

__all__ = [
    "Recording",
    "ReplayTarget",
    "read_cache",
    "read_recording",
    "read_t4",
    "record",
    "write_cache",
    "write_t4",
]
