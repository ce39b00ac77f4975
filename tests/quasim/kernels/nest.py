"""Runs the integer part of a lowered kernel: which elements of which buffer it touches, in what order, at a shape."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from itertools import product
from typing import Any, TypeVar, cast

from quasim.kernels.index import Arith, ArithOp, Index, Num, Sym, ToAligned, extent_name
from quasim.kernels.ir import Axis, Kernel, Load, Role, Store, extents
from quasim.kernels.lowered import (
    Apply,
    Assign,
    Bind,
    Compare,
    For,
    Get,
    If,
    Keep,
    Lane,
    Let,
    Lowered,
    Node,
    Operand,
    Prefetch,
    Put,
    Region,
    Spread,
    Touch,
)
from quasim.kernels.walk import walk

T = TypeVar("T")
Env = dict[str, int]
OPS: dict[ArithOp, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.floordiv,
    "%": operator.mod,
    "min": min,
    "max": max,
}
Element = tuple[str, tuple[int, ...]]


@dataclass
class Touched:
    """What a launch touches.

    Attributes:
        outside: elements of any buffer or tensor that do not exist, prefetched ones included.
        stored: how often each element of an output was written.
    """

    outside: set[Element]
    stored: Counter[Element]


def touched(lowered: Lowered, shape: Mapping[str, int], head: int = 0) -> Touched:
    """Follow the loop nest; ``head`` stands for the distance to an aligned address, as far as it goes."""
    run = _Run(lowered, {extent_name(name): extent for name, extent in shape.items()}, head)
    run.block(lowered.body, dict(run.extents))
    outputs = {t.name for t in lowered.kernel.tensors if t.role is Role.OUTPUT}
    stored = Counter({at: n for at, n in run.stored.items() if at[0] in outputs})
    return Touched(run.outside, stored)


def cover(kernel: Kernel, shape: Mapping[str, int]) -> set[Element]:
    """Every element of every output that must be written."""
    elements: set[Element] = set()
    for tensor in kernel.tensors:
        if tensor.role is Role.OUTPUT:
            edges = tensor.cover or ((0, 0),) * len(tensor.shape)
            sizes = zip(extents(tensor, shape), edges, strict=True)
            elements |= {(tensor.name, at) for at in product(*(range(lo, size - hi) for size, (lo, hi) in sizes))}
    return elements


def guards(kernel: Kernel) -> list[tuple[Load | Store, Axis]]:
    """Every (access, axis) pair of a kernel."""
    found = dict.fromkeys(node for node in walk(kernel.body) if isinstance(node, Load | Store))
    return [(access, axis) for access in found for axis in access.guard]


def without_guard(kernel: Kernel, access: Load | Store, axis: Axis) -> Kernel:
    """The kernel with one guard of one access removed."""
    bare = replace(access, guard=tuple(a for a in access.guard if a != axis))
    return replace(kernel, body=_swap(kernel.body, access, bare))


def _swap(node: T, old: object, new: Any) -> T:
    if node == old:
        return cast(T, new)
    if isinstance(node, tuple):
        return cast(T, tuple(_swap(child, old, new) for child in node))
    if is_dataclass(node) and not isinstance(node, type):
        return cast(T, replace(node, **{f.name: _swap(getattr(node, f.name), old, new) for f in fields(node)}))
    return node


class _Run:
    def __init__(self, lowered: Lowered, extents: Env, head: int) -> None:
        self.extents = extents
        self.head = head
        self.sizes = {
            name: tuple(self.number(size, extents) for size in shape) for name, shape in lowered.shapes.items()
        }
        self.outside: set[Element] = set()
        self.stored: Counter[Element] = Counter()
        self._gets: dict[int, tuple[Get, ...]] = {}

    def block(self, body: tuple[Node, ...], env: Env) -> None:
        env = dict(env)
        for node in body:
            if isinstance(node, Let):
                env[node.name] = self.number(node.value, env)
            elif isinstance(node, For):
                for value in range(self.number(node.low, env), self.number(node.high, env), node.step):
                    self.block(node.body, {**env, node.name: value})
            elif isinstance(node, If):
                holds = all(self.holds(condition, env) for condition in node.conditions)
                self.block(node.then if holds else node.otherwise, env)
            elif isinstance(node, Region):
                self.block(node.body, env)
            else:
                self.access(node, env)

    def number(self, index: Index, env: Env) -> int:
        if isinstance(index, Sym):
            return env[index.name]
        if isinstance(index, Num):
            return index.value
        if isinstance(index, ToAligned):
            return min(self.head, index.lanes - 1)
        assert isinstance(index, Arith)
        left, right = self.number(index.left, env), self.number(index.right, env)
        assert index.op not in ("/", "%") or left >= 0, "C and mathematics differ here"
        return OPS[index.op](left, right)

    def holds(self, compare: Compare, env: Env) -> bool:
        left, right = self.number(compare.left, env), self.number(compare.right, env)
        return {"<": left < right, "<=": left <= right, "==": left == right}[compare.op]

    def access(self, node: Node, env: Env) -> None:
        if isinstance(node, Bind | Assign | Put | Touch):
            for get in self.gets(node.value):
                self.touch(get.buffer, get.index, get.lanes, get.live, env)
        if isinstance(node, Prefetch):
            self.touch(node.buffer, node.index, 1, None, env)
        if isinstance(node, Put):
            self.stored.update(_elements(node.buffer, *self.touch(node.buffer, node.index, node.lanes, node.live, env)))

    def gets(self, value: Operand) -> tuple[Get, ...]:
        """Those of an operand of the nest, whose loops come by it again and again."""
        if id(value) not in self._gets:
            self._gets[id(value)] = tuple(_gets(value))
        return self._gets[id(value)]

    def touch(
        self, buffer: str, index: tuple[Index, ...], lanes: int, live: Index | None, env: Env
    ) -> tuple[list[int], int]:
        """Where the first element is, and how many there are."""
        at = [self.number(i, env) for i in index]
        count = lanes if live is None else max(0, min(lanes, self.number(live, env)))
        sizes = self.sizes[buffer]
        last = [*at[:-1], at[-1] + count - 1]
        if count and not all(0 <= i <= j < n for i, j, n in zip(at, last, sizes, strict=True)):
            self.outside |= {
                element
                for element in _elements(buffer, at, count)
                if any(not 0 <= i < n for i, n in zip(element[1], sizes, strict=True))
            }
        return at, count


def _elements(buffer: str, at: list[int], count: int) -> list[Element]:
    return [(buffer, (*at[:-1], at[-1] + lane)) for lane in range(count)]


def _gets(value: Operand) -> Iterator[Get]:
    if isinstance(value, Get):
        yield value
    elif isinstance(value, Apply):
        for arg in value.args:
            yield from _gets(arg)
    elif isinstance(value, Spread | Lane | Keep):
        yield from _gets(value.value)
