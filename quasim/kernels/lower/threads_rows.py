"""Rows that are reduced and mapped, on a machine of threads: whole rows in the registers of a group of threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from quasim.errors import SpaceError
from quasim.kernels.index import Index, Num, Sym
from quasim.kernels.ir import Axis, Kernel, Map, Reduce, ReduceOp, Set, Store, Value, Var
from quasim.kernels.ir import Load as Read
from quasim.kernels.lower.pattern import unsupported
from quasim.kernels.lower.threads_parts import FOUR, Lanes, below, finish, guard_of, offset, value_of
from quasim.kernels.lower.tiles_known import Known, size_of
from quasim.kernels.lower.tiles_rows import row_axes
from quasim.kernels.lowered import Compare
from quasim.kernels.sizes import Size, Tiles
from quasim.kernels.threaded import (
    BLOCK,
    GANG,
    THREAD,
    Apply,
    Array,
    Assign,
    Barrier,
    Cell,
    Declare,
    Exchange,
    If,
    Keep,
    Let,
    Load,
    Node,
    Number,
    Operand,
    Save,
    Shared,
    Stash,
    Take,
    ThreadOp,
    ThreadProgram,
    Unroll,
)
from quasim.kernels.walk import walk
from quasim.trial import Genome

_IDENTITY: dict[ReduceOp, float] = {"sum": 0.0, "max": float("-inf")}
_COMBINE: dict[ReduceOp, ThreadOp] = {"sum": "add", "max": "larger"}


def lower_rows(kernel: Kernel, genome: Genome, known: Known) -> ThreadProgram:
    """A row for each ``group`` of ``threads`` threads, ``rows`` rows at once, ``vector`` columns at a time.

    Each element is read once and stays in registers; what does not fit there goes to the thread's local memory, which
    the compiler's facts tell.

    Raises:
        LoweringError: the kernel is of another form.
        SpaceError: the genome lacks a gene, or its blocks are no whole number of groups.
    """
    return _Rows(kernel, genome, known).program()


class _Rows:
    def __init__(self, kernel: Kernel, genome: Genome, known: Known) -> None:
        self.kernel, self.genome, self.known = kernel, genome, known
        self.rows, self.cols = row_axes(kernel)
        self.threads, self.group, self.held = (genome.integer(name) for name in ("threads", "group", "rows"))
        if self.threads % self.group or self.group & (self.group - 1):
            raise SpaceError(
                f"groups of {self.group} in {self.threads} threads", "take a power of two that divides them"
            )
        self.vector = self._lanes()
        self.pieces = -(-known.count(self.cols) // (self.group * self.vector))
        known.at_most(self.cols.dim, self.pieces * self.group * self.vector + self.cols.trim)
        self.once = bool(genome["once"])
        self.arrays: dict[Var, Array] = {}
        self.shared: list[Shared] = []
        self.read: dict[Read, Array] = {}

    def program(self) -> ThreadProgram:
        block = self.threads // self.group * self.held
        first = Sym(BLOCK) * block + Sym(THREAD) // self.group * self.held
        body = (Let("first", first), *(node for statement in self.kernel.body for node in self._statement(statement)))
        tiles = (Tiles(Size((self.rows.dim.name,)), block, self.rows.trim),)
        return finish(self.known, self.genome, body, tiles, self.threads, tuple(self.shared))

    def _lanes(self) -> Lanes:
        """Four where rows of every tensor are aligned to as many."""
        wide = self.genome.integer("vector") == FOUR and not self.cols.trim
        return FOUR if wide and all(self.known.multiple(size_of(t.shape[-1]), FOUR) for t in self.kernel.tensors) else 1

    def _statement(self, statement: object) -> Iterator[Node]:
        assert isinstance(statement, Set | Store)  # ``row_axes`` refuses loops
        if isinstance(statement, Set) and isinstance(statement.value, Read):
            yield from self._load(statement.value)
            self.arrays[statement.var] = self.read[statement.value]
            return
        before: list[Node] = []
        value = self._reduced(statement.value, before)
        yield from before
        yield from self._loads(value)
        if isinstance(statement, Store):
            yield from self._store(statement, value)
        else:
            yield from self._set(statement.var, value)

    def _set(self, var: Var, value: Value) -> Iterator[Node]:
        array = self.arrays[var] = Array(var.name, self._shape(var.axes))
        yield Declare(array)
        yield from self._each(var.axes, lambda: (Assign(self._cell(array), self._value(value)),))

    def _loads(self, value: Value) -> Iterator[Node]:
        for read in dict.fromkeys(node for node in walk(value) if isinstance(node, Read)):
            yield from self._load(read)

    def _load(self, read: Read) -> Iterator[Node]:
        """All elements of a load that a thread needs, into registers."""
        if read in self.read:
            return
        over = tuple(at.axis for at in read.index if at.axis is not None)
        if any(at.axis is None for at in read.index) or self.cols in over[:-1]:
            raise unsupported(self.kernel, f"an access to {read.tensor.name} that is not along its rows")
        array = self.read[read] = Array(f"{read.tensor.name}_{len(self.read)}_held", self._shape(over))
        yield Declare(array)
        at = offset(self.known, read.tensor, read.index, self._steps)
        guard = guard_of(read.index, read.guard, self._guards)
        once = self.once and self.rows in over
        lanes = self.vector if self.cols in over else 1
        yield from self._each(
            over, lambda: (Load(self._first(array), read.tensor, at, lanes, guard, once),), whole=True
        )

    def _store(self, store: Store, value: Value) -> Iterator[Node]:
        over = tuple(at.axis for at in store.index if at.axis is not None)
        if over != (self.rows, self.cols):
            raise unsupported(self.kernel, f"a store to {store.tensor.name} that is not by rows and columns")
        out = Array(f"out_{store.tensor.name}", (self.vector,))
        at = offset(self.known, store.tensor, store.index, self._steps)
        guard = guard_of(store.index, store.guard, self._guards)
        cell = Cell(out, (Sym("lane"),))
        fill = Unroll("lane", self.vector, (Assign(cell, self._value(value)),))
        save = Save(store.tensor, at, Cell(out, (Num(0),)), self.vector, guard, self.once)
        yield from self._each(over, lambda: (Declare(out), fill, save), whole=True)

    def _reduced(self, value: Value, before: list[Node]) -> Value:
        """The value with a variable for each reduction, whose statements are added to ``before``."""
        if isinstance(value, Map):
            return Map(value.op, tuple(self._reduced(arg, before) for arg in value.args), value.dtype)
        if not isinstance(value, Reduce):
            return value
        inner = self._reduced(value.x, before)
        before.extend(self._loads(inner))
        var = Var(f"{value.op}_{len(self.arrays)}", (self.rows,))
        before.extend(self._reduction(value.op, inner, var))
        return var

    def _reduction(self, op: ReduceOp, value: Value, var: Var) -> Iterator[Node]:
        """Each thread's lanes one by one, then these, then threads, in a balanced tree each."""
        total = self.arrays[var] = Array(var.name, (self.held,))
        lanes = Array(f"{var.name}_lanes", (self.held, self.vector))
        yield from (Declare(total), Declare(lanes))
        part = Cell(lanes, (Sym("r"), Sym("lane")))
        yield from self._rows((Unroll("lane", self.vector, (Assign(part, Number(_IDENTITY[op])),)),))
        live = Keep(self._value(value), self._guards[self.cols], _IDENTITY[op])
        step = Assign(part, Apply(_COMBINE[op], (part, live if self._guards[self.cols] else live.value)))
        yield from self._each((self.rows, self.cols), lambda: (step,))
        parts: list[Operand] = [Cell(lanes, (Sym("r"), Num(lane))) for lane in range(self.vector)]
        while len(parts) > 1:
            parts = [Apply(_COMBINE[op], (a, b)) for a, b in zip(parts[::2], parts[1::2], strict=True)]
        cell = Cell(total, (Sym("r"),))
        yield from self._rows((Assign(cell, parts[0]), *self._exchanged(cell, op)))
        if self.group > GANG:
            yield from self._across(op, var, total)

    def _exchanged(self, cell: Cell, op: ReduceOp) -> tuple[Node, ...]:
        return (Exchange(cell, op, min(self.group, GANG)),) if self.group > 1 else ()

    def _across(self, op: ReduceOp, var: Var, total: Array) -> Iterator[Node]:
        """Gangs of a group hand their results on through shared memory; every thread combines all of them."""
        gangs, per_group = self.threads // GANG, self.group // GANG
        buffer = Shared(f"gangs_{var.name}", (self.held, -(-gangs // FOUR) * FOUR))
        self.shared.append(buffer)
        cell = Cell(total, (Sym("r"),))
        mine = Stash(buffer, (Sym("r"), Sym(THREAD) // GANG), cell, 1)
        yield If((Compare(Sym(THREAD) % GANG, "==", Num(0)),), tuple(self._rows((mine,))))
        yield Barrier()
        others = Array(f"{var.name}_gangs", (per_group,))
        place = Sym(THREAD) // self.group * per_group + Sym("gang")
        take = Take(Cell(others, (Sym("gang"),)), buffer, (Sym("r"), place), 1)
        found: list[Operand] = [Cell(others, (Num(gang),)) for gang in range(per_group)]
        while len(found) > 1:
            found = [Apply(_COMBINE[op], (a, b)) for a, b in zip(found[::2], found[1::2], strict=True)]
        yield from self._rows((Declare(others), Unroll("gang", per_group, (take,)), Assign(cell, found[0])))

    def _value(self, value: Value) -> Operand:
        return value_of(self.known, value, self._leaf)

    def _leaf(self, value: Read | Var) -> Operand:
        return self._cell(self.read[value] if isinstance(value, Read) else self.arrays[value])

    @property
    def _steps(self) -> dict[Axis, Index]:
        """Where a thread is; of a vector's lanes, the first."""
        col = (Sym("piece") * self.group + Sym(THREAD) % self.group) * self.vector
        return {self.rows: Sym("first") + Sym("r"), self.cols: col}

    @property
    def _guards(self) -> dict[Axis, tuple[Compare, ...]]:
        """A vector's lanes are alive or dead together."""
        steps = self._steps
        block = self.threads // self.group * self.held
        return {
            self.rows: below(self.known, self.rows, steps[self.rows], block),
            self.cols: below(self.known, self.cols, steps[self.cols], self.pieces * self.group * self.vector),
        }

    def _shape(self, over: tuple[Axis, ...]) -> tuple[int, ...]:
        rows = (self.held,) if self.rows in over else ()
        return (*rows, self.pieces, self.vector) if self.cols in over else rows

    def _cell(self, array: Array) -> Cell:
        """The element of an array at which the loops around are; its first lane where there is no loop over lanes."""
        names = {0: (), 1: ("r",), 2: ("piece", "lane"), 3: ("r", "piece", "lane")}[len(array.shape)]
        return Cell(array, tuple(map(Sym, names)))

    def _first(self, array: Array) -> Cell:
        """The first lane of a vector."""
        cell = self._cell(array)
        return Cell(array, (*cell.at[:-1], Num(0))) if len(cell.at) > 1 else cell

    def _each(
        self, over: tuple[Axis, ...], body: Callable[[], tuple[Node, ...]], *, whole: bool = False
    ) -> Iterator[Node]:
        """A body for each element over the axes; for each vector of them where ``whole``."""
        nodes = body()
        if self.cols in over:
            nodes = nodes if whole else (Unroll("lane", self.vector, nodes),)
            nodes = (Unroll("piece", self.pieces, nodes),)
        yield from self._rows(nodes) if self.rows in over else nodes

    def _rows(self, nodes: tuple[Node, ...]) -> Iterator[Node]:
        yield Unroll("r", self.held, nodes)
