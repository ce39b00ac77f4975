"""A device that is read from recordings: Kernel Tuner cache files, its own or ours."""

from __future__ import annotations

from quasim.targets.replay.cachefile import Recording, read_cache, write_cache
from quasim.targets.replay.record import record
from quasim.targets.replay.target import ReplayTarget

__all__ = ["Recording", "ReplayTarget", "read_cache", "record", "write_cache"]
