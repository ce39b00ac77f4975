"""The form of a Kernel Tuner cache file (van Werkhoven 2019), and what one entry of it means.

Of Kernel Tuner's fields only those that a replay needs are read; times are in ms. Its ``time`` is the mean of
``times``. A file of our own has the field ``quasim`` in each entry besides, with exactly what our trial held, which
Kernel Tuner passes over.
"""

from __future__ import annotations

import math

import msgspec

from quasim.targets.replay.facts import Facts, timing_of
from quasim.trial import Genome, Problem, Status, Value

NS_PER_MS = 1e6

FAILURES = {
    "CompilationFailedConfig": Status.COMPILE_ERROR,
    "RuntimeFailedConfig": Status.LAUNCH_ERROR,
    "InvalidConfig": Status.LAUNCH_ERROR,
    "compile": Status.COMPILE_ERROR,
    "runtime": Status.LAUNCH_ERROR,
    "constraints": Status.LAUNCH_ERROR,
    "correctness": Status.WRONG_RESULT,
    "timeout": Status.TIMEOUT,
}
"""Kernel Tuner's words for a failed configuration, those of its newer T4 result format below."""


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One configuration.

    Attributes:
        time: mean time of a launch in ms, or why it failed.
        times: the repeats in ms.
    """

    time: float | str
    times: tuple[float, ...] = ()
    quasim: Facts | None = None

    def __post_init__(self) -> None:
        if isinstance(self.time, str):
            if self.time not in FAILURES:
                raise ValueError(f"time {self.time!r} is neither a number nor one of {', '.join(FAILURES)}")
        elif not all(0 < t < math.inf for t in (self.time, *self.times)):
            raise ValueError(f"time {self.time}, times {self.times} are not all positive")

    def facts(self) -> Facts:
        """What was recorded."""
        if self.quasim is not None:
            return self.quasim
        if isinstance(self.time, str):
            return Facts(status=FAILURES[self.time], detail=f"recorded as {self.time}")
        timing = timing_of(NS_PER_MS * self.time, [NS_PER_MS * t for t in self.times])
        return Facts(status=Status.OK, timing=timing)


class CacheFile(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A whole file; entries are kept raw, so that a bad one can be named.

    Attributes:
        problem_size: extents in the order x, y, z, or in that of ``problem_dims``.
        problem_dims: names of the extents, in a file of our own.
        cache: entries by the values of ``tune_params_keys``, joined by commas.
    """

    device_name: str = ""
    kernel_name: str
    problem_size: int | tuple[int, ...]
    problem_dims: tuple[str, ...] | None = None
    tune_params_keys: tuple[str, ...]
    tune_params: dict[str, tuple[Value, ...]]
    cache: dict[str, msgspec.Raw]

    def problem(self) -> Problem:
        """What was tuned.

        Raises:
            ValueError: extents and their names do not match.
        """
        extents = (self.problem_size,) if isinstance(self.problem_size, int) else self.problem_size
        names = self.problem_dims if self.problem_dims is not None else ("x", "y", "z")[: len(extents)]
        if len(names) != len(extents):
            raise ValueError(f"problem_size {extents} does not go with dimensions {names}")
        return Problem(self.kernel_name, tuple(zip(names, extents, strict=True)))


def key(genome: Genome, names: tuple[str, ...]) -> str:
    """The key of a configuration in ``cache``."""
    return ",".join(str(genome[name]) for name in names)
