"""Every node of an IR tree, for those who ask of a kernel without running it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

from quasim.kernels.ir import Axis, Kernel


def walk(node: object) -> Iterator[object]:
    """The node and all below it, parents first; one that is used twice comes twice."""
    waiting: list[Any] = [node]
    while waiting:
        first = waiting.pop()
        yield first
        if isinstance(first, tuple):
            waiting.extend(reversed(first))
        else:
            waiting.extend([getattr(first, name) for name in _fields_last_first(first.__class__)])


@cache
def _fields_last_first(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in reversed(fields(kind))) if is_dataclass(kind) else ()


def axes(kernel: Kernel) -> dict[str, Axis]:
    """The kernel's axes by name: the grid's, then the others in the order of their first use."""
    return {node.name: node for node in walk((kernel.grid, kernel.body)) if isinstance(node, Axis)}
