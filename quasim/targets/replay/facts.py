"""What was recorded of one configuration, whatever the form of its file."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from quasim.measure import median_interval
from quasim.trial import Findings, Genome, Problem, Timing, Trial

SLACK = 1e-3
"""How far, relatively, a mean may lie outside its samples by rounding before it is another quantity."""


class Facts(Findings, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What became of a genome, and no figure that nothing measures.

    Raises:
        ValueError: see ``Findings``; or joules that are not above 0.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
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
