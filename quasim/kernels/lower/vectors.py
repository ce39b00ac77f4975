"""From a value of the tile IR to operations on vectors of columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from quasim.kernels.index import Index
from quasim.kernels.ir import Axis, Const, Extent, Load, Map, Value
from quasim.kernels.lower.parts import NOTHING, Span, extent, place
from quasim.kernels.lowered import Apply, Bind, Count, Fixed, Get, Local, Node, Operand, Spread

At = Mapping[Axis, Index]


@dataclass(slots=True)
class Vectors:
    """Builds the statements of one straight piece of code; what is read twice is loaded once.

    Attributes:
        cols: the contiguous axis.
        prefix: begins the names of registers.
        scalars: registers of what is the same in every column, such as reductions that are done.
        nodes: the statements so far.
        loaded: registers by what was read into them.
        known: operands by value and first column, for values that need not be computed again.
    """

    cols: Axis
    prefix: str = "x"
    scalars: Mapping[Value, Local] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    loaded: dict[Get, Local] = field(default_factory=dict)
    known: dict[tuple[Value, Index], Operand] = field(default_factory=dict)

    def get(self, get: Get) -> Local:
        """A register with what is read."""
        if get not in self.loaded:
            self.loaded[get] = self.bind(get, get.lanes)
        return self.loaded[get]

    def bind(self, value: Operand, lanes: int) -> Local:
        """A new register with this value."""
        local = Local(f"{self.prefix}{sum(isinstance(node, Bind) for node in self.nodes)}", lanes)
        self.nodes.append(Bind(local, value))
        return local

    def value(self, value: Value, at: At, span: Span) -> Operand:
        """The vector of a value at the columns of ``span`` and the other positions ``at``."""
        if self.known and (value, span.start) in self.known:
            return self.known[value, span.start]
        if self.scalars and value in self.scalars:
            return _spread(self.scalars[value], span.lanes)
        if isinstance(value, Const):
            return Fixed(value.value, span.lanes)
        if isinstance(value, Extent):
            return _spread(Count(extent(value.axis)), span.lanes)
        if isinstance(value, Load):
            index = place(value, {**at, self.cols: span.start})
            return self.get(Get(value.tensor.name, index, span.lanes, span.live(value, self.cols)))
        if isinstance(value, Map):
            args = tuple(self.value(arg, at, span) for arg in value.args)
            return args[0] if value.op in ("cast", "promote") else Apply(value.op, args, span.lanes)
        raise TypeError(f"{type(value).__name__} belongs to another pattern")

    def scalar(self, value: Value) -> Operand:
        """A value that is the same at all columns and rows, but for what is in ``scalars``."""
        return self.value(value, {}, Span(NOTHING, 1))


def _spread(value: Operand, lanes: int) -> Operand:
    return value if lanes == 1 else Spread(value, lanes)
