"""Which target to open, as plain data: it travels in configs and to the processes that measure."""

from __future__ import annotations

from pathlib import Path

import msgspec

from quasim.errors import ConfigError
from quasim.targets.c.device import CTarget
from quasim.targets.replay import ReplayTarget
from quasim.trial import Problem


class CSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="c", tag_field="kind"):
    """Compiled C on this host's CPU; ``threads`` None: every core that the process may use.

    Raises:
        ConfigError: threads below 1.
    """

    threads: int | None = None

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"threads={self.threads} is too small", "give 1 or more, or null for every usable core")

    def open(self) -> CTarget:
        """The target, ready to measure.

        Raises:
            MissingToolError: there is no C compiler.
        """
        return CTarget(threads=self.threads)


class Recording(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A recorded space that a replay device serves from ``from_cycle`` on."""

    path: str
    from_cycle: int = 0


class ReplaySpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="replay", tag_field="kind"):
    """A device whose times are read from recordings (Kernel Tuner cache files)."""

    recordings: tuple[Recording, ...]

    def problem(self) -> Problem:
        """The problem that was recorded.

        Raises:
            DataError: a recording is missing or does not hold what its format says.
        """
        return self.open().problem

    def open(self) -> ReplayTarget:
        """The target, with its recordings read.

        Raises:
            DataError: a recording is missing or does not hold what its format says.
        """
        return ReplayTarget("replay", [(r.from_cycle, Path(r.path)) for r in self.recordings])


TargetSpec = CSpec | ReplaySpec
