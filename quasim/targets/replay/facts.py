"""What was recorded of one configuration, whatever the form of its file."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from quasim.measure import median_interval
from quasim.trial import EnergySource, ErrorAgainst, Genome, Problem, Status, Timing, Trial

SLACK = 1e-3
"""How far, relatively, a mean may lie outside its samples by rounding before it is another quantity."""


class Facts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A trial without its problem, target and genome; the fields are those of ``Trial``.

    Raises:
        ValueError: a timing without status ok or the reverse, joules without a source or the reverse, or a figure that
            nothing measures.
    """

    status: Status
    timing: Timing | None = None
    error_frobenius: float | None = None
    error_componentwise: float | None = None
    detail: str = ""
    energy_j: float | None = None
    energy_source: EnergySource = EnergySource.UNMETERED
    energy_low_j: float | None = None
    energy_high_j: float | None = None
    energy_above_idle_j: float | None = None
    compile_ns: int | None = None
    check_ns: int | None = None
    measure_ns: int | None = None
    error_against: ErrorAgainst = ErrorAgainst.FLOAT64

    def __post_init__(self) -> None:
        if (self.timing is None) == (self.status is Status.OK):
            raise ValueError(f"a timing goes with status ok alone, not {self.status.value}")
        if (self.energy_j is None) != (self.energy_source is EnergySource.UNMETERED):
            raise ValueError(f"energy_j={self.energy_j} does not go with source {self.energy_source.value}")
        if self.energy_j is not None and not 0 < self.energy_j < math.inf:
            raise ValueError(f"energy_j={self.energy_j} is not positive")

    @classmethod
    def of(cls, trial: Trial) -> Facts:
        """What is to be recorded of a trial; the compiler's facts of its variant are not kept."""
        return cls(**{name: getattr(trial, name) for name in cls.__struct_fields__})

    def trial(self, problem: Problem, target: str, genome: Genome) -> Trial:
        """The trial that a device gives which behaves as recorded."""
        return Trial(problem=problem, target=target, genome=genome, **msgspec.structs.asdict(self))


def timing_of(time_ns: float, times_ns: Sequence[float]) -> Timing:
    """The timing behind a mean and its repeats; where these are of another clock, the mean is all there is.

    Raises:
        ValueError: a time is not positive.
    """
    if not all(0 < t < math.inf for t in (time_ns, *times_ns)):
        raise ValueError(f"time {time_ns}, times {list(times_ns)} are not all positive")
    if times_ns and min(times_ns) * (1 - SLACK) <= time_ns <= max(times_ns) * (1 + SLACK):
        median, low, high = median_interval(times_ns)
        return Timing(median, low, high, len(times_ns))
    return Timing(time_ns, time_ns, time_ns, 1)
