"""Every node of an IR tree, for those who ask of a kernel without running it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass

from quasim.kernels.ir import Axis, Kernel


def walk(node: object) -> Iterator[object]:
    """The node and all below it, parents first; one that is used twice comes twice."""
    yield node
    if isinstance(node, tuple):
        for child in node:
            yield from walk(child)
    elif is_dataclass(node):
        for field in fields(node):
            yield from walk(getattr(node, field.name))


def axes(kernel: Kernel) -> dict[str, Axis]:
    """The kernel's axes by name: the grid's, then the others in the order of their first use."""
    return {node.name: node for node in walk((kernel.grid, kernel.body)) if isinstance(node, Axis)}
