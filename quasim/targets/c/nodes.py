"""Printing the nodes of a lowered kernel as C, one by one: nothing is decided here."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from quasim.kernels.index import Arith, Index, Num, Sym, ToAligned
from quasim.kernels.ir import Dtype
from quasim.kernels.lowered import (
    Apply,
    Assign,
    Bind,
    Compare,
    Count,
    Fence,
    Fixed,
    For,
    Get,
    If,
    Keep,
    Lane,
    Let,
    Local,
    Node,
    Operand,
    Prefetch,
    Put,
    Region,
    Spread,
    Touch,
    flat,
)

INDENT = "    "
_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
_CALLS = {"min": "min_of", "max": "max_of"}

Shapes = Mapping[str, tuple[Index, ...]]


def memory(buffer: str) -> str:
    """The C name of a tensor or buffer."""
    return f"m_{buffer}"


class Printer:
    """Prints expressions and statements, and keeps in mind what the printed text needs.

    Args:
        shapes: sizes of every tensor and buffer.
        formats: of the tensors; a buffer holds float32.
        thread_pointers: declarations that each thread of a region begins with.

    Attributes:
        lanes: floats in the widest vector so far.
        threads: of the largest team so far.
        exp: whether there was an exponential.
    """

    def __init__(self, shapes: Shapes, formats: Mapping[str, Dtype], thread_pointers: tuple[str, ...]) -> None:
        self._shapes = shapes
        self._formats = formats
        self._thread_pointers = thread_pointers
        self.lanes = 1
        self.threads = 1
        self.exp = False

    def index(self, index: Index) -> str:
        """An integer expression."""
        if isinstance(index, Num):
            return str(index.value)
        if isinstance(index, Sym):
            return index.name
        if isinstance(index, ToAligned):
            return f"to_aligned({self._address(index.buffer, index.index)}, {index.lanes})"
        assert isinstance(index, Arith)
        left, right = self.index(index.left), self.index(index.right)
        if index.op in _CALLS:
            return f"{_CALLS[index.op]}({left}, {right})"
        return f"({left} {index.op} {right})"

    def _address(self, buffer: str, index: tuple[Index, ...]) -> str:
        return f"&{memory(buffer)}[{self.index(flat(index, self._shapes[buffer]))}]"

    def _access(self, verb: str, lanes: int, buffer: str) -> str:
        """The name of the helper that reads or writes so many elements, in the format of the buffer."""
        dtype = self._formats.get(buffer, "float32")
        return f"{verb}{lanes}" if dtype == "float32" else f"{verb}{lanes}_{dtype}"

    def operand(self, value: Operand) -> str:
        """A scalar or vector expression."""
        if isinstance(value, Local):
            return value.name
        if isinstance(value, Fixed):
            return _number(value.value) if value.lanes == 1 else f"spread{value.lanes}({_number(value.value)})"
        if isinstance(value, Count):
            return f"((float){self.index(value.value)})"
        if isinstance(value, Get):
            return self._get(value)
        if isinstance(value, Spread):
            one = self.operand(value.value)
            return one if value.lanes == 1 else f"spread{value.lanes}({one})"
        if isinstance(value, Lane):
            return f"{value.value.name}[{value.lane}]"
        if isinstance(value, Keep):
            live, fill = self.index(value.live), _number(value.fill)
            return f"keep{value.lanes}({self.operand(value.value)}, {live}, {fill})"
        return self._apply(value)

    def _get(self, get: Get) -> str:
        self.lanes = max(self.lanes, get.lanes)
        address = self._address(get.buffer, get.index)
        if get.live is not None:
            return f"{self._access('load_part', get.lanes, get.buffer)}({address}, {self.index(get.live)})"
        load = self._access("load", get.lanes, get.buffer)
        return address[1:] if load == "load1" else f"{load}({address})"

    def _apply(self, value: Apply) -> str:
        args = [self.operand(arg) for arg in value.args]
        self.exp |= value.op == "exp"
        if value.op in _INFIX:
            return f"({args[0]} {_INFIX[value.op]} {args[1]})"
        return f"(-{args[0]})" if value.op == "neg" else f"{value.op}{value.lanes}({', '.join(args)})"

    def block(self, body: tuple[Node, ...], depth: int) -> Iterator[str]:
        """The lines of some statements."""
        for node in body:
            yield from self._node(node, depth)

    def _node(self, node: Node, depth: int) -> Iterator[str]:
        pad = INDENT * depth
        if isinstance(node, For):
            yield from self._for(node, depth)
        elif isinstance(node, If):
            yield from self._if(node, depth)
        elif isinstance(node, Region):
            self.threads = max(self.threads, node.threads)
            yield f"#pragma omp parallel num_threads({node.threads})"
            yield pad + "{"
            yield from (INDENT * (depth + 1) + line for line in self._thread_pointers)
            yield from self.block(node.body, depth + 1)
            yield pad + "}"
        else:
            yield pad + self._line(node) + ";"

    def _for(self, node: For, depth: int) -> Iterator[str]:
        name, low, high = node.name, self.index(node.low), self.index(node.high)
        if node.shared:
            yield "#pragma omp for schedule(dynamic)"
        yield INDENT * depth + f"for (int64_t {name} = {low}; {name} < {high}; {name} += {node.step}) {{"
        yield from self.block(node.body, depth + 1)
        yield INDENT * depth + "}"

    def _if(self, node: If, depth: int) -> Iterator[str]:
        conditions = " && ".join(self._compare(condition) for condition in node.conditions)
        yield INDENT * depth + f"if ({conditions}) {{"
        yield from self.block(node.then, depth + 1)
        if node.otherwise:
            yield INDENT * depth + "} else {"
            yield from self.block(node.otherwise, depth + 1)
        yield INDENT * depth + "}"

    def _compare(self, compare: Compare) -> str:
        return f"{self.index(compare.left)} {compare.op} {self.index(compare.right)}"

    def _line(self, node: Let | Bind | Assign | Put | Touch | Prefetch | Fence) -> str:
        if isinstance(node, Let):
            return f"const int64_t {node.name} = {self.index(node.value)}"
        if isinstance(node, Bind):
            return f"{_type(node.local)} {node.local.name} = {self._pinned(node)}"
        if isinstance(node, Assign):
            return f"{node.local.name} = {self._pinned(node)}"
        if isinstance(node, Put):
            return self._put(node)
        if isinstance(node, Touch):
            return f"touch({self._address(node.value.buffer, node.value.index)})"
        if isinstance(node, Prefetch):
            return f"__builtin_prefetch({self._address(node.buffer, node.index)})"
        return "fence()"

    def _pinned(self, node: Bind | Assign) -> str:
        value = self.operand(node.value)
        return f"pin{node.local.lanes}({value})" if node.pinned else value

    def _put(self, put: Put) -> str:
        address, value = self._address(put.buffer, put.index), self.operand(put.value)
        if put.live is not None:
            part = self._access("store_part", put.lanes, put.buffer)
            return f"{part}({address}, {value}, {self.index(put.live)})"
        store = self._access("stream" if put.stream else "store", put.lanes, put.buffer)
        return f"{address[1:]} = {value}" if store == "store1" else f"{store}({address}, {value})"


def _type(local: Local) -> str:
    return "float" if local.lanes == 1 else f"v{local.lanes}"


def _number(value: float) -> str:
    if math.isnan(value):
        return '__builtin_nanf("")'
    if math.isinf(value):
        return "__builtin_inff()" if value > 0 else "-__builtin_inff()"
    return f"{float(np.float32(value))!r}f"
