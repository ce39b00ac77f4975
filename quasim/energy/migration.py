"""Which task leaves a hot device, and where it goes. Pure: what nodes report in, at most one advice out.

Temperatures and seconds decide. Joules of two devices are never compared: meters of unlike devices count differently.
Every time is an age by the clock of who reports it, so that no two clocks have to agree. The aggregator advises by
these rules, and nodes check by the same ones whether they want to.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import msgspec

from quasim.energy.heat import HOT_SAMPLES, MARGIN_K, Forecast

COOLER_K = 10.0
"""By so much a target lies below the device that a task leaves, now and in the forecast."""

RISING_K = 1.0
"""A forecast this far above the present is a rise; less is the step of the sensor."""

NODE_REST_S = 30.0
"""Between two moves that a node takes part in: by then most of the first one's heat has shown."""

DWELL_S = 60.0
"""A task stays where it came to for so long at least, and its gain is counted over this time."""

GAIN_OVER_COST = 2.0

SLOWED_SHARE = 0.5
"""Work that a second above slowdown costs: NVIDIA's hardware slowdown halves the clocks or more (NVML, clock event
reasons)."""

STALE_S = 5.0
"""A report older than this says nothing of now."""


class Task(msgspec.Struct, frozen=True):
    """Work that can move.

    Attributes:
        name: the same wherever it runs, and of no other task.
        power_w: what it adds to the mean power of the device that it runs on.
        busy: share of the device's time that it takes.
        here_s: since it came there.
        movable: it stands at a boundary between trials.

    Raises:
        ValueError: a power or a share that no task has.
    """

    name: str
    power_w: float
    busy: float
    here_s: float
    movable: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.power_w < math.inf or not 0 <= self.busy <= 1:
            raise ValueError(f"no task takes {self.power_w} W in {self.busy} of the time")


class HeatReport(msgspec.Struct, frozen=True):
    """What a node says of its device.

    Attributes:
        age_s: of its newest sample.
        hot_samples: how many in a row were hot, see ``HeatWatch``.
        throttling: the device slows itself down for heat now, or is held down by a regulator that keeps a temperature.
        rested_s: since it last took part in a move.
        arrived_w: of the task that came with that move; 0: one left, or none was ever moved.

    Raises:
        ValueError: an age or a power that is negative or no number.
    """

    node: str
    age_s: float
    forecast: Forecast
    hot_samples: int
    tasks: tuple[Task, ...] = ()
    throttling: bool = False
    rested_s: float = math.inf
    arrived_w: float = 0.0

    def __post_init__(self) -> None:
        # An age may be infinite: of what never was.
        if not (self.age_s >= 0 and self.rested_s >= 0 and 0 <= self.arrived_w < math.inf):
            raise ValueError(f"not a report of heat: {self}")

    @property
    def busy(self) -> float:
        """Share of the device's time that its tasks take."""
        return sum(task.busy for task in self.tasks)

    @property
    def expected(self) -> Forecast:
        """The forecast, charged with what of an arrived task's heat has not shown in the temperature yet."""
        return self.forecast.charged(self.arrived_w * math.exp(-self.rested_s / self.forecast.tau_s))


class Move(msgspec.Struct, frozen=True):
    """The advice to move a task. Who is asked may refuse.

    Attributes:
        power_w, busy: of the task.
        gain_s: seconds of work that it is expected to save within ``DWELL_S``.
        cost_s: seconds of work that it is expected to take.

    Raises:
        ValueError: a power or a share that no task has.
    """

    task: str
    source: str
    target: str
    power_w: float
    busy: float
    gain_s: float
    cost_s: float

    def __post_init__(self) -> None:
        Task(self.task, self.power_w, self.busy, 0.0)


class MoveCost:
    """Seconds of work that a move takes: the mean of those made; until there was one, what is assumed."""

    def __init__(self, assumed_s: float) -> None:
        self._assumed_s = assumed_s
        self._measured: list[float] = []

    @property
    def seconds(self) -> float:
        """As known now."""
        return sum(self._measured) / len(self._measured) if self._measured else self._assumed_s

    def took(self, seconds: float) -> None:
        """A move was made."""
        self._measured.append(seconds)


def advise(reports: Sequence[HeatReport], cost_s: float) -> Move | None:
    """The move that gains most now; None where none is worth its cost."""
    sources = [report for report in reports if not why_not_from(report)]
    moves = (move for source in sources for target in reports for move in _moves(source, target, cost_s))
    return max(moves, key=lambda move: (move.gain_s, move.task, move.target), default=None)


def why_not_from(report: HeatReport) -> str:
    """Why no task leaves a node now; "" where one may."""
    if (reason := _unready(report)) or report.hot_samples >= HOT_SAMPLES:
        return reason
    return f"it is not hot: {report.hot_samples} samples in a row"


def why_not_task(task: Task) -> str:
    """Why a task stays where it is; "" where it may go."""
    if not task.movable:
        return "it is in the middle of a trial"
    return "" if task.here_s >= DWELL_S else f"it came only {task.here_s:.3g} s ago"


def why_not_to(report: HeatReport, power_w: float, busy: float) -> str:
    """Why a node takes no task of such power and share of time; "" where it would."""
    if reason := _unready(report):
        return reason
    expected = report.expected
    if report.throttling or expected.at() > expected.temperature_c + RISING_K:
        return "it is getting hotter itself"
    if report.busy + busy > 1:
        return f"its time is taken: {report.busy:.0%}"
    arrived = expected.charged(power_w)
    # Where it would be hot again it would only come back.
    headroom_k = min(arrived.headroom_k, arrived.slowdown_c - arrived.settles_c)
    return "" if headroom_k > MARGIN_K else f"it would come within {headroom_k:.3g} K of its slowdown"


def _unready(report: HeatReport) -> str:
    if report.age_s > STALE_S:
        return f"its last sample is {report.age_s:.3g} s old"
    return "" if report.rested_s >= NODE_REST_S else f"it took part in a move {report.rested_s:.3g} s ago"


def _moves(source: HeatReport, target: HeatReport, cost_s: float) -> Iterator[Move]:
    here, there = source.expected, target.expected
    cooler_k = min(here.at() - there.at(), here.temperature_c - there.temperature_c)
    if target.node == source.node or cooler_k < COOLER_K:
        return
    for task in source.tasks:
        if why_not_task(task) or why_not_to(target, task.power_w, task.busy):
            continue
        gain_s = _gain_s(source, there, task.power_w)
        if gain_s >= GAIN_OVER_COST * cost_s:
            yield Move(task.name, source.node, target.node, task.power_w, task.busy, gain_s, cost_s)


def _gain_s(source: HeatReport, target: Forecast, power_w: float) -> float:
    """Seconds of work within ``DWELL_S`` that moving so many watts is expected to save, on both devices together.

    A device that is throttled draws less, and so seems to settle at its limit: its forecast hides what it loses.
    """
    slowed_s = DWELL_S if source.throttling else source.expected.slowed_s(DWELL_S)
    relieved = slowed_s - source.expected.charged(-power_w).slowed_s(DWELL_S)
    burdened = target.charged(power_w).slowed_s(DWELL_S) - target.slowed_s(DWELL_S)
    return SLOWED_SHARE * (relieved - burdened)
