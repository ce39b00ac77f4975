"""Which plan a kernel runs with: the cheapest whose measured error fits the budget, and what happens when it does not.

Pure: measurements and the results of sampled checks come in, instructions go out; no clock, no device.

    chosen ──check over budget──► next safer ──…──► SAFE (last; a check over budget there is only recorded)
       ◄──────patience kept───────┘   (one rung at a time; the first product after it is checked)

Patience is a number of checks in a row within the budget. It doubles for a plan each time that the plan fails, so that
data which keep coming back make the manager stay with the safer plan, and is capped so that it never gives up.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from quasim.errors import ConfigError, DataError
from quasim.precision.budget import Budget, Measured
from quasim.precision.choice import Choice, choose
from quasim.precision.plan import SAFE, plan_named

PATIENCE = 16
"""Checks in a row within the budget before a cheaper plan is tried again; doubled whenever it fails."""

MAX_PATIENCE = 1024

_KEPT_SWITCHES = 100
"""Switches that a map remembers: a long run must not grow it without end."""


class Switch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Instruction: run the kernel with another plan from now on. Also the record that it was given.

    Attributes:
        check: number of the check that caused it, from 1.
        before: plan until now.
        after: plan from now on.
        reason: why.
        check_next: whether the very next product must be checked: the plan is tried again.
    """

    check: int
    before: str
    after: str
    reason: str
    check_next: bool = False


class PrecisionMap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known and was done about one kernel's precision; its JSON is the precision map.

    Attributes:
        budget: of the kernel.
        plan: that the next product runs with.
        zones: formats of the plan: outer, inner, boundary.
        choice: the ladder, and what was rejected.
        measured: what the choice rests on.
        checks: sampled checks so far.
        over: how many of them exceeded the budget.
        switches: the latest changes of plan, oldest first.
        version: of this form.
    """

    budget: Budget
    plan: str
    zones: dict[str, str]
    choice: Choice
    measured: tuple[Measured, ...]
    checks: int
    over: int
    switches: tuple[Switch, ...]
    version: int = 1

    def __post_init__(self) -> None:
        if self.version != 1:
            raise DataError(f"precision map of version {self.version}", "this program reads version 1")
        if self.plan not in self.choice.ladder or self.choice.ladder[-1] != SAFE:
            raise DataError(
                f"precision map of {self.budget.kernel!r} runs {self.plan!r} off its ladder", "write it anew"
            )
        if self.zones != _zones(self.plan):
            raise DataError(f"zones {self.zones} are not those of {self.plan!r}", "write it anew")


class Manager:
    """Keeps one kernel within its budget.

    Args:
        budget: of the kernel.
        measured: plans on data classes; ``SAFE`` on each declared class at least.
        patience: checks in a row within the budget before a cheaper plan is tried again.

    Raises:
        DataError: as ``choose``.
        ConfigError: a patience below 1.
    """

    def __init__(self, budget: Budget, measured: Iterable[Measured], patience: int = PATIENCE) -> None:
        if patience < 1:
            raise ConfigError(f"patience {patience}", "give 1 or more")
        self._budget, self._measured = budget, tuple(measured)
        self._choice = choose(budget, self._measured)
        self._rung = self._kept = self._checks = self._over = 0
        self._patience = dict.fromkeys(self._choice.ladder, patience)
        self._switches: tuple[Switch, ...] = ()

    @property
    def plan(self) -> str:
        """Name of the plan that the next product runs with."""
        return self._choice.ladder[self._rung]

    def handle_check(self, error: float) -> list[Switch]:
        """Take the error of a product by the current plan, of a sample of its rows (``check``) or of all (``probe``).

        NaN and infinity exceed every budget.
        """
        self._checks += 1
        if error <= self._budget.frobenius:
            return self._within()
        self._over += 1
        self._kept = 0
        if self._rung + 1 == len(self._choice.ladder):
            return []
        self._patience[self.plan] = min(2 * self._patience[self.plan], MAX_PATIENCE)
        return [self._move(1, f"a sampled error of {error:.3g} exceeds the budget of {self._budget.frobenius:.3g}")]

    def _within(self) -> list[Switch]:
        self._kept += 1
        if not self._rung or self._kept < self._patience[self._choice.ladder[self._rung - 1]]:
            return []
        return [self._move(-1, f"{self._kept} checks in a row within the budget")]

    def _move(self, by: int, reason: str) -> Switch:
        before, self._rung, self._kept = self.plan, self._rung + by, 0
        switch = Switch(self._checks, before, self.plan, reason, check_next=by < 0)
        self._switches = (*self._switches, switch)[-_KEPT_SWITCHES:]
        return switch

    def snapshot(self) -> PrecisionMap:
        """The precision map as it stands."""
        return PrecisionMap(
            self._budget,
            self.plan,
            _zones(self.plan),
            self._choice,
            self._measured,
            self._checks,
            self._over,
            self._switches,
        )


def _zones(plan: str) -> dict[str, str]:
    found = plan_named(plan)
    return {"outer": found.outer, "inner": found.inner, "boundary": found.boundary}
