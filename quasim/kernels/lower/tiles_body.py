"""From statements of the IR to statements over tiles, once a schedule has said where the axes lie."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from quasim.kernels.ir import Axis, Const, Dot, Extent, Load, Loop, Map, Reduce, ReduceOp, Set, Statement, Value, Var
from quasim.kernels.lower.pattern import LoweringError
from quasim.kernels.lower.tiles_scene import Scene, facing
from quasim.kernels.tiled import (
    Apply,
    Bind,
    Contract,
    Fetch,
    FetchTile,
    Fold,
    Full,
    Keep,
    Lanes,
    Node,
    Real,
    Reg,
    Shape,
    Splat,
    Tile,
)

IDENTITY: dict[ReduceOp, float] = {"sum": 0.0, "max": float("-inf")}
"""What dead lanes hold when they are combined."""

LoopBody = Callable[[Loop, Callable[[], Iterator[Node]]], Iterator[Node]]


class Translator:
    """Statements over tiles, one after the other.

    Args:
        scene: where the axes lie; may be replaced between statements.
        loop: how a loop of the IR is run: it places the axis, and calls back for the body.
    """

    def __init__(self, scene: Scene, loop: LoopBody | None = None) -> None:
        self.scene = scene
        self.loop = loop
        self.regs: dict[Var, Reg] = {}
        self.fetched: dict[Reg, Tile] = {}
        """Names of what was read as it is: dead lanes of these are what the access left there."""

    def run(self, body: tuple[Statement, ...]) -> Iterator[Node]:
        """The statements of a body."""
        for statement in body:
            if isinstance(statement, Set):
                yield self.bind(statement.var, self.tile(statement.value))
            elif isinstance(statement, Loop):
                if self.loop is None:
                    raise TypeError(f"no schedule for a loop over {statement.axis.name}")
                yield from self.loop(statement, partial(self.run, statement.body))
            else:
                yield from self.scene.put(statement, self.tile(statement.value))

    def bind(self, var: Var, value: Tile) -> Bind:
        """Name a value; a number fills the variable's lanes, since a loop may add to it."""
        if isinstance(value, Splat):
            value = Full(value.value, self._lanes(var.axes), value.dtype)
        self.regs[var] = Reg(var.name, value.shape, value.dtype)
        if isinstance(value, Fetch | FetchTile):
            self.fetched[self.regs[var]] = value
        return Bind(self.regs[var], value)

    def tile(self, value: Value) -> Tile:
        """A value of the IR."""
        if isinstance(value, Const):
            return Splat(value.value, dtype=value.dtype)
        if isinstance(value, Extent):
            return Real(self.scene.steps(value.axis))
        if isinstance(value, Var):
            return self.regs[value]
        if isinstance(value, Load):
            return self.scene.fetch(value)
        if isinstance(value, Map):
            return self._apply(value)
        if isinstance(value, Reduce):
            return fold(self.scene, value.op, self.tile(value.x), value.over)
        return self._contract(value)

    def _apply(self, value: Map) -> Tile:
        args = tuple(self.tile(arg) for arg in value.args)
        shape = self._union(args)
        return Apply(value.op, tuple(facing(arg, shape) for arg in args), shape, value.dtype)

    def _union(self, args: tuple[Tile, ...]) -> Shape:
        """All lanes of the arguments; where these agree on an order, that, and the scene's elsewhere."""
        shapes = {arg.shape for arg in args if arg.shape}
        if len(shapes) == 1:
            return shapes.pop()
        held: set[str] = set().union(*shapes)
        return tuple(name for name in self.scene.order if name in held)

    def _contract(self, dot: Dot) -> Tile:
        acc = self.regs[dot.acc]
        over = self.scene.lanes(dot.over).name
        rows, cols = acc.shape
        a, b = (self._factor(self.tile(side), dot.over) for side in (dot.a, dot.b))
        return Contract(facing(a, (rows, over)), facing(b, (over, cols)), acc, dot.precision)

    def _factor(self, value: Tile, over: Axis) -> Tile:
        """The value with 0 in the dead lanes of an axis."""
        read = self.fetched.get(value) if isinstance(value, Reg) else None
        live = self.scene.live(over)
        return value if read and live and _zero_where_dead(read, live) else keep(self.scene, value, over, 0.0)

    def _lanes(self, axes: tuple[Axis, ...]) -> tuple[Lanes, ...]:
        return tuple(dict.fromkeys(self.scene.lanes(axis) for axis in axes))


def fold(scene: Scene, op: ReduceOp, value: Tile, over: Axis) -> Tile:
    """Combine the live lanes of an axis."""
    lanes = scene.lanes(over)
    if lanes.size == 1:
        return value
    if lanes.name not in value.shape:
        raise LoweringError(f"a reduction over {over.name} of what does not vary along it", "multiply by the extent")
    return Fold(op, keep(scene, value, over, IDENTITY[op]), lanes.name)


def keep(scene: Scene, value: Tile, axis: Axis, fill: float) -> Tile:
    """The value with ``fill`` in the dead lanes of an axis."""
    live = scene.live(axis)
    if live is None or (fill == 0.0 and _zero_where_dead(value, live)):
        return value
    return Keep(value, live, fill)


def _zero_where_dead(value: Tile, live: object) -> bool:
    if isinstance(value, Apply) and value.op == "cast":
        return _zero_where_dead(value.args[0], live)
    return isinstance(value, FetchTile) or (isinstance(value, Fetch) and live in value.live)
