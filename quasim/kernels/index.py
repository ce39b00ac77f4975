"""Integer expressions of a lowered kernel: positions, bounds and sizes, in launch extents and loop variables.

Operators fold constants as they build, so that an expression is printed, compared and proved in one small form.
Division and remainder are only ever applied to values that are not negative, where C and mathematics agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ArithOp = Literal["+", "-", "*", "/", "%", "min", "max"]


class Index:
    """Base of all integer expressions."""

    __slots__ = ()

    def __add__(self, other: Index | int) -> Index:
        return _fold("+", self, other)

    def __sub__(self, other: Index | int) -> Index:
        return _fold("-", self, other)

    def __mul__(self, other: Index | int) -> Index:
        return _fold("*", self, other)

    def __floordiv__(self, other: Index | int) -> Index:
        return _fold("/", self, other)

    def __mod__(self, other: Index | int) -> Index:
        return _fold("%", self, other)


@dataclass(frozen=True, slots=True)
class Num(Index):
    """A constant."""

    value: int


@dataclass(frozen=True, slots=True)
class Sym(Index):
    """A launch extent (``n_`` and the dimension's name), a loop variable, or a name bound by ``Let``."""

    name: str


@dataclass(frozen=True, slots=True)
class Arith(Index):
    """``left op right``."""

    op: ArithOp
    left: Index
    right: Index


@dataclass(frozen=True, slots=True)
class ToAligned(Index):
    """Elements from an element of a buffer to the next address aligned to ``lanes`` elements: 0 to ``lanes − 1``."""

    buffer: str
    index: tuple[Index, ...]
    lanes: int


def extent_name(dim: str) -> str:
    """The symbol of a launch extent."""
    return f"n_{dim}"


def num(value: Index | int) -> Index:
    """The value as an expression."""
    return Num(value) if isinstance(value, int) else value


def least(left: Index | int, right: Index | int) -> Index:
    """The smaller of two."""
    return _fold("min", left, right)


def most(left: Index | int, right: Index | int) -> Index:
    """The larger of two."""
    return _fold("max", left, right)


def round_down(value: Index, step: int) -> Index:
    """The largest multiple of ``step`` up to ``value``, which is not negative."""
    return value - value % step


def round_up(value: Index, step: int) -> Index:
    """The smallest multiple of ``step`` from ``value`` on, which is not negative."""
    return (value + (step - 1)) // step * step


def _fold(op: ArithOp, left: Index | int, right: Index | int) -> Index:
    a, b = num(left), num(right)
    if isinstance(a, Num) and isinstance(b, Num):
        return Num(_apply(op, a.value, b.value))
    if isinstance(a, Num) and op in ("+", "*"):
        a, b = b, a
    if isinstance(b, Num):
        return _fold_constant(op, a, b.value)
    if a == b and op in ("-", "min", "max"):
        return Num(0) if op == "-" else a
    return Arith(op, a, b)


def _fold_constant(op: ArithOp, left: Index, value: int) -> Index:
    if op == "-":
        op, value = "+", -value
    if (op == "+" and value == 0) or (op in ("*", "/") and value == 1):
        return left
    if (op == "*" and value == 0) or (op == "%" and value == 1):
        return Num(0)
    if op == "+" and isinstance(left, Arith) and left.op == "+" and isinstance(left.right, Num):
        return _fold_constant("+", left.left, left.right.value + value)
    return Arith(op, left, Num(value))


def _apply(op: ArithOp, left: int, right: int) -> int:
    if op in ("/", "%") and (left < 0 or right <= 0):
        raise ValueError(f"{left} {op} {right} means one thing in C and another in mathematics")
    results = {
        "+": left + right,
        "-": left - right,
        "*": left * right,
        "min": min(left, right),
        "max": max(left, right),
    }
    if op == "/":
        return left // right
    return left % right if op == "%" else results[op]
