"""Whose joules are worth reading, and for how long. Pure.

A timing takes some milliseconds of a device, an energy window takes seconds. From its time and a few readings of others
it is known of most variants that they cannot win; the others are metered briefly, and longer only where a brief window
leaves open who is better.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import msgspec

from quasim.energy.objective import Objective
from quasim.energy.power_line import PowerLine
from quasim.meters import BRIEF_WORK_NS, MIN_WORK_NS
from quasim.trial import Genome, Problem, Trial

AT_ONCE = 2
"""Genomes that are metered before it is asked again who is still worth it."""

DOUBT = 1.0
"""Standard deviations that a variant's expected cost may lie above the best and still be metered at once: one in six as
far off is better."""

LAST_DOUBT = 3.0
"""Of those further off a few are metered now and then, the likeliest first; beyond this none ever."""

WIDE = 0.04
"""Half an interval, relative; wider than this it cannot show 5 %."""

MOST_READINGS = 2
"""Of one genome: a brief one, and one that is not."""


class Reading(msgspec.Struct, frozen=True):
    """Genomes to be metered, and how long each works for it."""

    genomes: tuple[Genome, ...]
    window_ns: int


@runtime_checkable
class Metering(Protocol):
    """A target that can read joules for as long as it is told."""

    def meter(self, problem: Problem, genomes: Sequence[Genome], window_ns: int) -> list[Trial]:
        """One trial for each genome, in order, with joules; where they could not be read ``detail`` says why."""
        ...


def next_reading(
    trials: Sequence[Trial], objective: Objective, readings: Mapping[Genome, int], *, patient: bool = False
) -> Reading | None:
    """Who is metered next; None where nobody is worth it.

    Args:
        trials: all that is known of one problem on one device, one of each genome.
        readings: how often each genome was metered, with or without success.
        patient: a few of those who are unlikely to win may have their turn, too.
    """
    timed = [trial for trial in trials if trial.timing is not None]
    metered = [trial for trial in timed if trial.energy_j is not None]
    fresh = [trial for trial in timed if trial.energy_j is None and not readings.get(trial.genome)]
    if chosen := _contenders(fresh, metered, objective, DOUBT)[:AT_ONCE]:
        return Reading(tuple(trial.genome for trial in chosen), BRIEF_WORK_NS)
    open_ones = [trial for trial in _undecided(metered) if readings.get(trial.genome, MOST_READINGS) < MOST_READINGS]
    if open_ones:
        return Reading(tuple(trial.genome for trial in open_ones[:AT_ONCE]), MIN_WORK_NS)
    unlikely = _contenders(fresh, metered, objective, LAST_DOUBT)[:AT_ONCE] if patient else []
    return Reading(tuple(trial.genome for trial in unlikely), BRIEF_WORK_NS) if unlikely else None


def _contenders(fresh: Sequence[Trial], metered: Sequence[Trial], objective: Objective, doubt: float) -> list[Trial]:
    """Those who may be better than the best that was metered, likeliest first; the fastest, where none was."""
    if not metered:
        return sorted(fresh, key=lambda trial: (trial.time_ns, str(trial.genome)))[:1]
    line = PowerLine(metered)
    best_ns = min(objective.cost_ns(trial, 1.0) for trial in metered)
    behind = [(_deviations(trial, line, objective, math.log(best_ns)), str(trial.genome), trial) for trial in fresh]
    return [trial for far, _, trial in sorted(behind, key=lambda each: each[:2]) if far <= doubt]


def _deviations(trial: Trial, line: PowerLine, objective: Objective, best: float) -> float:
    """By how many standard deviations a variant is expected to cost more than ``best``, the logarithm of a cost."""
    power, spread = line.log_power(trial.time_ns)
    return (math.log(trial.time_ns) + objective.weight * power - best) / (objective.weight * spread)


def _undecided(metered: Sequence[Trial]) -> list[Trial]:
    """The best, and those whose interval reaches below its own upper end, if their intervals are too wide to tell."""
    bounds = [
        (trial.energy_j, trial.energy_low_j, trial.energy_high_j, trial)
        for trial in metered
        if trial.energy_low_j is not None and trial.energy_high_j is not None
    ]
    lowest = min((high for _, _, high, _ in bounds), default=math.inf)
    return [
        trial
        for joules, low, high, trial in bounds
        if joules is not None and low <= lowest and high - low > 2 * WIDE * joules
    ]
