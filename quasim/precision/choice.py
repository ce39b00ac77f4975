"""Which plans fit a budget: the cheapest first, then ever safer ones."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from quasim.errors import DataError
from quasim.precision.budget import Budget, Measured
from quasim.precision.plan import SAFE

_Table = dict[str, dict[str, Measured]]


class Rejected(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why a plan was not chosen."""

    plan: str
    reason: str


class Choice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The plans that a kernel may run with.

    Attributes:
        ladder: the cheapest that fits first, then ever safer ones; the last is ``SAFE``.
        rejected: the measured plans that do not fit.
    """

    ladder: tuple[str, ...]
    rejected: tuple[Rejected, ...]


def choose(budget: Budget, measured: Iterable[Measured]) -> Choice:
    """The ladder of plans for a budget.

    A plan fits when its Frobenius error is within the budget on each class; ``SAFE`` is what is left where none does. A
    plan's price is its mean time over the declared classes. A rung is safer than the one before when its worst error
    over them is smaller.

    Raises:
        DataError: ``SAFE`` was not measured on every class, or a pair was measured twice.
    """
    table = _table(budget, measured)
    reasons = {plan: _misfit(budget, plan, table) for plan in table}
    fitting = sorted((p for p, why in reasons.items() if not why and p != SAFE), key=lambda p: (_price(table[p]), p))
    ladder: list[str] = []
    limit = _price(table[SAFE])
    for plan in fitting:
        if _price(table[plan]) < limit and (not ladder or _worst(table[plan]) < _worst(table[ladder[-1]])):
            ladder.append(plan)
    rejected = tuple(Rejected(plan, why) for plan, why in sorted(reasons.items()) if why)
    return Choice((*ladder, SAFE), rejected)


def _table(budget: Budget, measured: Iterable[Measured]) -> _Table:
    table: _Table = {SAFE: {}}
    for one in measured:
        if one.data in table.setdefault(one.plan, {}):
            raise DataError(f"{one.plan} was measured twice on {one.data}", "give each pair once")
        if one.data in budget.classes:
            table[one.plan][one.data] = one
    missing = [name for name in budget.classes if name not in table[SAFE]]
    if missing:
        raise DataError(f"{SAFE} was not measured on {', '.join(missing)}", "it is what others are compared with")
    return table


def _misfit(budget: Budget, plan: str, table: _Table) -> str:
    for name in budget.classes:
        one = table[plan].get(name)
        if one is None:
            return f"not measured on {name}"
        if one.errors.frobenius > budget.frobenius:
            return f"off by {one.errors.frobenius:.3g} on {name}"
    return ""


def _price(rows: dict[str, Measured]) -> float:
    return sum(one.time_ns for one in rows.values()) / len(rows)


def _worst(rows: dict[str, Measured]) -> float:
    return max(one.errors.frobenius for one in rows.values())
