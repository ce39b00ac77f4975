"""Joules per operation, with what stands behind the figure."""

from __future__ import annotations

import math

import msgspec

from quasim.meters._base import ClockEvent
from quasim.trial import EnergySource


class Energy(msgspec.Struct, frozen=True, kw_only=True):
    """The energy of one operation, or the reason why there is no figure. Plain data: it crosses pipes and networks.

    Attributes:
        j_per_op: gross joules of one operation: what the device drew, its idle power included; None where voided.
        low, high: 95 % confidence interval of ``j_per_op``; None where voided.
        source: ``counter`` or ``integrated``; ``unmetered`` where voided.
        idle_subtracted_j_per_op: the same less idle power times time; None where no idle power was measured, or where
            it exceeds what the work drew.
        power_w: mean power in the window; None where voided.
        cross_check: integrated instantaneous power over the counter's energy, less 1; None where one is missing.
        window_ns: from the window's first tick to its last; 0 where voided.
        operations: done in the window.
        tick_ns: time between changes of the counter, as inferred; None without a counter.
        events: clock events that were seen in the window, those that do not void among them.
        voided: why there is no figure; "" where there is one.
    """

    j_per_op: float | None = None
    low: float | None = None
    high: float | None = None
    source: EnergySource = EnergySource.UNMETERED
    idle_subtracted_j_per_op: float | None = None
    power_w: float | None = None
    cross_check: float | None = None
    window_ns: int = 0
    operations: float = 0.0
    tick_ns: int | None = None
    events: tuple[ClockEvent, ...] = ()
    voided: str = ""

    def __post_init__(self) -> None:
        figures = (self.j_per_op, self.low, self.high, self.power_w)
        if self.voided:
            if self.source is not EnergySource.UNMETERED or any(figure is not None for figure in figures):
                raise ValueError(f"a voided energy has no figures: {self}")
            return
        if self.j_per_op is None or self.low is None or self.high is None:
            raise ValueError(f"an energy has an interval, or the reason why it was voided: {self}")
        if not 0 <= self.low <= self.j_per_op <= self.high < math.inf or self.j_per_op == 0:
            raise ValueError(f"not an interval of energies: {self.low}, {self.j_per_op}, {self.high} J")
        if self.source is EnergySource.UNMETERED:
            raise ValueError("a metered energy names its source")
