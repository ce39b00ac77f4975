"""Rows that are reduced and mapped, on a machine of tiles: a few whole rows for each block, or pieces one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from quasim.kernels.index import Num, Sym
from quasim.kernels.ir import Axis, Const, Dtype, Kernel, Load, Loop, Map, Reduce, Set, Statement, Store, Value, Var
from quasim.kernels.lower.pattern import unsupported
from quasim.kernels.lower.tiles_body import IDENTITY, Translator, keep
from quasim.kernels.lower.tiles_grid import TILE, axis_count, axis_tiles, over_tiles, program
from quasim.kernels.lower.tiles_known import Known, power_of_two
from quasim.kernels.lower.tiles_scene import AxisTile, GridScene, axis_tile
from quasim.kernels.tiled import Apply, Bind, Fold, For, Full, Let, Node, PointerTo, Reg, TileProgram
from quasim.kernels.walk import axes, walk
from quasim.trial import Genome


def row_axes(kernel: Kernel) -> tuple[Axis, Axis]:
    """The axis of the rows, and the one along them.

    Raises:
        LoweringError: there are others.
    """
    found = tuple(axes(kernel).values())
    whole = [axis for axis in found if axis.whole]
    if len(found) != 2 or len(whole) != 1 or len(kernel.grid) != 1 or kernel.grid[0].whole:
        raise unsupported(kernel, f"axes {[axis.name for axis in found]} instead of rows and what lies along them")
    if any(isinstance(statement, Loop) for statement in kernel.body):
        raise unsupported(kernel, "a loop beside reductions of whole rows")
    return kernel.grid[0], whole[0]


def lower_rows(kernel: Kernel, genome: Genome, known: Known) -> TileProgram:
    """``rows`` rows for each block, ``block`` columns at a time.

    Where ``block`` holds a whole row, each element is read once and stays in registers. Otherwise a pass over the row
    is made for each reduction and each store, and what they need is read and computed again. ``persist`` blocks for
    each multiprocessor may loop over the rows.

    Raises:
        LoweringError: the kernel is of another form.
        SpaceError: the genome lacks a gene.
    """
    rows, cols = row_axes(kernel)
    held, block, persist = genome.integer("rows"), genome.integer("block"), genome.integer("persist")
    row = axis_tile(known, rows, held, Sym("row"))
    if block >= known.count(cols):
        block = power_of_two(known.count(cols))
        known.at_most(cols.dim, block + cols.trim)
        body = _resident(kernel, known, row, axis_tile(known, cols, block, Num(0)), genome)
    else:
        body = _Passes(known, row, cols, block).run(kernel)
    inner = (Let("row", TILE * held), *row.nodes, *body)
    parameters = tuple(PointerTo(tensor) for tensor in kernel.tensors)
    whole = over_tiles(axis_count(known, rows, held), persist, inner)
    return program(known, genome, parameters, (axis_tiles(rows, held),), persist, whole, genome.integer("stages"))


def _resident(kernel: Kernel, known: Known, row: AxisTile, col: AxisTile, genome: Genome) -> Iterator[Node]:
    scene = GridScene(known, (row, col), once=bool(genome["once"]))
    yield from col.nodes
    yield from Translator(scene).run(kernel.body)


class _Passes:
    """A pass over the row for each reduction and each store."""

    def __init__(self, known: Known, row: AxisTile, cols: Axis, block: int) -> None:
        self.known, self.cols, self.block = known, cols, block
        self.col = axis_tile(known, cols, block, Sym("col"))
        self.scene = GridScene(known, (row, self.col))
        self.translator = Translator(self.scene)
        self.along: dict[Var, Value] = {}
        """What varies along the row is not kept, but computed in each pass that needs it."""
        self.reductions = 0

    def run(self, kernel: Kernel) -> Iterator[Node]:
        """The statements of the kernel."""
        for statement in kernel.body:
            before: list[Node] = []
            value = self._reduced(_value(statement), before)
            yield from before
            yield from self._statement(statement, value)

    def _statement(self, statement: Statement, value: Value) -> Iterator[Node]:
        if isinstance(statement, Set) and self.cols in statement.var.axes:
            self.along[statement.var] = value
        elif isinstance(statement, Set):
            yield self.translator.bind(statement.var, self.translator.tile(value))
        elif isinstance(statement, Store):
            put = Store(statement.tensor, statement.index, value, statement.guard)
            along = any(at.axis == self.cols for at in put.index)
            yield from self._pass(value, partial(self.translator.run, (put,))) if along else self.translator.run((put,))

    def _reduced(self, value: Value, before: list[Node]) -> Value:
        """The value with a variable for each reduction, whose passes are added to ``before``."""
        if isinstance(value, Map):
            return Map(value.op, tuple(self._reduced(arg, before) for arg in value.args), value.dtype)
        if not isinstance(value, Reduce):
            return value
        inner = Reduce(value.op, self._reduced(value.x, before), value.over)
        var = Var(f"{value.op}_{self.reductions}", (next(iter(self.scene.tiles)),))
        self.reductions += 1
        before.extend(self._reduction(inner, var))
        return var

    def _reduction(self, value: Reduce, var: Var) -> Iterator[Node]:
        """Lanes are combined piece by piece, and with one another at the end."""
        dtype = self._dtype(value.x)
        total = Full(IDENTITY[value.op], tuple(tile.lanes for tile in self.scene.tiles.values()), dtype)
        lanes = Reg(f"{var.name}_lanes", total.shape, dtype)

        def combine() -> Iterator[Node]:
            piece = keep(self.scene, self.translator.tile(value.x), self.cols, IDENTITY[value.op])
            yield Bind(lanes, Apply("add" if value.op == "sum" else "max", (lanes, piece), lanes.shape, dtype))

        yield Bind(lanes, total)
        yield from self._pass(value.x, combine)
        yield self.translator.bind(var, Fold(value.op, lanes, self.col.lanes.name))

    def _dtype(self, value: Value) -> Dtype:
        if isinstance(value, Var):
            return self._dtype(self.along[value]) if value in self.along else self.translator.regs[value].dtype
        if isinstance(value, Load):
            return value.tensor.dtype
        return value.dtype if isinstance(value, Map | Const) else "float32"

    def _pass(self, value: Value, body: Callable[[], Iterator[Node]]) -> Iterator[Node]:
        """A loop over the row that first computes what the value needs."""
        needed = self._needed(value)
        binds = (self.translator.bind(v, self.translator.tile(x)) for v, x in self.along.items() if v in needed)
        inner = (Let("col", Sym("piece") * self.block), *self.col.nodes, *binds, *body())
        yield For("piece", Num(0), axis_count(self.known, self.cols, self.block), Num(1), inner)

    def _needed(self, value: Value) -> set[Var]:
        direct = {node for node in walk(value) if isinstance(node, Var) and node in self.along}
        return direct.union(*(self._needed(self.along[var]) for var in direct))


def _value(statement: Statement) -> Value:
    if isinstance(statement, Loop):
        raise TypeError("rows have no loops")
    return statement.value
