"""Accesses of several elements of a thread, put together into as few as can be: four neighbours move at once.

Elements are told apart by a line, within which they lie next to one another, and a place in it, relative to where the
thread is. Places 0, 4, 8, … of a line must be aligned where lanes are four.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass

from quasim.kernels.index import Index, Num
from quasim.kernels.ir import Load as Read
from quasim.kernels.ir import Store, Tensor
from quasim.kernels.lower.threads_parts import FOUR, Lanes
from quasim.kernels.threaded import Array, Cell, Declare, Load, Node, Save

Access = Read | Store


@dataclass(frozen=True, slots=True)
class Element:
    """An element of a tensor, relative to where a thread is."""

    tensor: Tensor
    line: Hashable
    place: int


class Gather:
    """The registers that hold elements, by element.

    Args:
        elements: all that are needed.
        offset: of an element from its tensor's first.
        lanes: the most that one access moves.
    """

    def __init__(self, elements: Iterable[Element], offset: Callable[[Element], Index], lanes: Lanes) -> None:
        self._offset, self._lanes = offset, lanes
        self._groups: dict[tuple[Tensor, Hashable, int], list[Element]] = {}
        for element in dict.fromkeys(elements):
            key = (element.tensor, element.line, element.place // lanes)
            self._groups.setdefault(key, []).append(element)
        counts: dict[Tensor, int] = {}
        self._cells: dict[Element, Cell] = {}
        self._arrays: list[Array] = []
        for (tensor, _, _), group in self._groups.items():
            number = counts[tensor] = counts.get(tensor, -1) + 1
            array = Array(f"held_{tensor.name}_{number}", (lanes,) if lanes > 1 else ())
            self._arrays.append(array)
            for element in group:
                self._cells[element] = Cell(array, (Num(element.place % lanes),) if lanes > 1 else ())

    def cell(self, element: Element) -> Cell:
        """The register of an element."""
        return self._cells[element]

    @property
    def declarations(self) -> tuple[Node, ...]:
        """Of all registers."""
        return tuple(map(Declare, self._arrays))

    def loads(self, once: bool) -> Iterator[Node]:
        """What fills the registers."""
        for first, lanes in self._moves():
            yield Load(self._cells[first], first.tensor, self._offset(first), lanes, (), once)

    def saves(self, once: bool) -> Iterator[Node]:
        """What writes the registers to their elements."""
        for first, lanes in self._moves():
            yield Save(first.tensor, self._offset(first), self._cells[first], lanes, (), once)

    def _moves(self) -> Iterator[tuple[Element, Lanes]]:
        for group in self._groups.values():
            if len(group) == self._lanes == FOUR:
                yield min(group, key=lambda element: element.place), FOUR
            else:
                yield from ((element, 1) for element in group)
