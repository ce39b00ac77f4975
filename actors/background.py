"""What a machine that has time does next for its kernels, as a pure function: no clock, meter or disk.

``decide`` looks at what is left of the day's allowance, at whether the device is in use, and at what each problem still
promises, and says: evolve this problem by so many genomes, retrain, or rest until then.

What a problem promises: the best time of a search falls about linearly in the logarithm of its evaluations, so the
slope over the last doubling says how much a few more evaluations bring. Times the launches a day, that is the time that
they save each day, and the next turn goes to whoever saves most for a second of tuning.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from quasim.errors import ConfigError
from quasim.trial import Problem

DAY_NS = 86_400 * 10**9

TRUST = 16
"""Evaluations before a curve says anything: until then a problem goes before those that have one."""

LEAST_SLOPE = 0.005
"""Of a search that stood still over its last doubling: it may have half a percent left, and is not given up."""

LEAST_TURN_S = 1e-3
"""A turn on a recording takes next to nothing; it is not free all the same, or one problem would get all turns."""

FIRST_TURN = 2
"""Genomes of the first turn, which tells what one costs."""


class Allowance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What tuning in the background may take of a day (UTC).

    Attributes:
        seconds: in which the device is compiled for or measured on.
        joules: that the device draws meanwhile, gross; None: no limit. Where no meter reads them, seconds alone count.

    Raises:
        ConfigError: one of them is not above 0.
    """

    seconds: float = 3600.0
    joules: float | None = None

    def __post_init__(self) -> None:
        if self.seconds <= 0 or (self.joules is not None and self.joules <= 0):
            raise ConfigError(f"an allowance of {self.seconds} s and {self.joules} J", "give numbers above 0")


class Spending(msgspec.Struct, frozen=True):
    """What was taken of a day's allowance.

    Attributes:
        day: days since 1970-01-01 in UTC.
        joules: of the turns that were metered.
        unmetered: why the joules of a turn are not known; empty: all are.
    """

    day: int = 0
    seconds: float = 0.0
    joules: float = 0.0
    unmetered: str = ""

    def on(self, now_ns: int) -> Spending:
        """As of now: nothing yet, where a new day has begun."""
        day = now_ns // DAY_NS
        return self if day == self.day else Spending(day)

    def plus(self, seconds: float, joules: float | None, unmetered: str) -> Spending:
        """With another turn.

        Args:
            joules: None: not metered, ``unmetered`` says why.
        """
        total = self.joules + (joules or 0.0)
        return Spending(self.day, self.seconds + seconds, total, self.unmetered or unmetered)


class Progress(msgspec.Struct, frozen=True):
    """How far the search of one problem is.

    Attributes:
        launches: of the kernel a day.
        size: of its search space.
        curve: (evaluations, best time in ns or None) after each turn since the device last changed.
        seconds, joules: that its evaluations took, those before a change of the device included; joules 0: unmetered.
        paid: how many evaluations they paid for.
    """

    problem: Problem
    launches: float
    size: int
    curve: tuple[tuple[int, float | None], ...] = ()
    seconds: float = 0.0
    joules: float = 0.0
    paid: int = 0

    @property
    def evaluations(self) -> int:
        """Genomes evaluated since the device last changed."""
        return self.curve[-1][0] if self.curve else 0

    @property
    def best_ns(self) -> float | None:
        """Best time; None while nothing worked."""
        return self.curve[-1][1] if self.curve else None

    @property
    def seconds_each(self) -> float:
        """That one evaluation took so far, on average."""
        return max(self.seconds, LEAST_TURN_S) / self.paid

    @property
    def slope(self) -> float:
        """By how much the logarithm of the best time falls with that of the evaluations; at least ``LEAST_SLOPE``."""
        half = next((point for point in reversed(self.curve) if 2 * point[0] <= self.evaluations), None)
        if half is None or half[1] is None or self.best_ns is None:
            return LEAST_SLOPE
        return max(LEAST_SLOPE, math.log(half[1] / self.best_ns) / math.log(self.evaluations / half[0]))

    def saving(self, genomes: int) -> float:
        """Seconds that so many more evaluations are expected to save each day; 0 while nothing worked."""
        if self.best_ns is None:
            return 0.0
        share = 1 - math.pow(1 + genomes / self.evaluations, -self.slope)
        return self.launches * self.best_ns / 1e9 * share


@dataclass(frozen=True, slots=True)
class Evolve:
    """Search a problem for so many genomes."""

    problem: Problem
    genomes: int


@dataclass(frozen=True, slots=True)
class Retrain:
    """Measure every problem's best again, so that strategies learn from what holds now, and versions are looked at."""


@dataclass(frozen=True, slots=True)
class Rest:
    """Do nothing until then; ``why`` is for people."""

    until_ns: int
    why: str


Decision = Evolve | Retrain | Rest


@dataclass(frozen=True, slots=True)
class Terms:
    """How a machine uses its idle time.

    Attributes:
        genomes: of a turn, after which is decided anew.
        retrain_ns: between two retrainings.
        look_ns: after so long, a device that was in use is looked at again.
    """

    allowance: Allowance
    genomes: int
    retrain_ns: int
    look_ns: int


def decide(
    now_ns: int, terms: Terms, spending: Spending, problems: Sequence[Progress], retrained_ns: int, in_use: str
) -> Decision:
    """What to do next.

    Args:
        now_ns: time since 1970-01-01 in UTC.
        spending: of the last day on which anything was done.
        retrained_ns: when the best were last measured again, or the first search began.
        in_use: who needs the device now; empty: nobody.
    """
    if in_use:
        return Rest(now_ns + terms.look_ns, in_use)
    today = spending.on(now_ns)
    tomorrow_ns = (today.day + 1) * DAY_NS
    used_up = _used_up(terms.allowance, today)
    if used_up:
        return Rest(tomorrow_ns, used_up)
    due_ns = retrained_ns + terms.retrain_ns
    if due_ns <= now_ns and any(one.curve for one in problems):
        return Retrain()
    open_ones = [one for one in problems if one.evaluations < one.size]
    if not open_ones:
        return Rest(due_ns, "every search space was searched whole")
    for one in sorted(open_ones, key=lambda one: _urgency(one, terms.genomes), reverse=True):
        genomes = min(_affordable(terms, today, one), one.size - one.evaluations)
        if genomes >= 1:
            return Evolve(one.problem, genomes)
    return Rest(tomorrow_ns, "what is left of today's allowance is less than a genome takes")


def _used_up(allowance: Allowance, today: Spending) -> str:
    if today.seconds >= allowance.seconds:
        return f"today's {allowance.seconds:g} s are used up"
    if allowance.joules is not None and today.joules >= allowance.joules:
        return f"today's {allowance.joules:g} J are used up"
    return ""


def _urgency(one: Progress, genomes: int) -> tuple[bool, int, float]:
    """First what is hardly known, evenly; then what saves most for a second of tuning."""
    if one.evaluations < TRUST:
        return True, -one.evaluations, one.launches
    return False, 0, one.saving(genomes) / (genomes * one.seconds_each)


def _affordable(terms: Terms, today: Spending, one: Progress) -> int:
    """Genomes of the next turn, of which each is expected to cost what this problem's cost so far."""
    if not one.paid:
        return min(FIRST_TURN, terms.genomes)
    counts = [terms.genomes, (terms.allowance.seconds - today.seconds) / one.seconds_each]
    if terms.allowance.joules is not None and one.joules > 0:
        counts.append((terms.allowance.joules - today.joules) / (one.joules / one.paid))
    return int(min(counts))
