"""Elementwise kernels, gates and stencils on a machine of threads: a few neighbours for each thread.

Where all elements of a thread exist it works on them together, four moved at once; at the ends of the arrays one by
one, each access behind the guards of the IR.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from quasim.errors import SpaceError
from quasim.kernels.index import Index, Num, Sym
from quasim.kernels.ir import Axis, Kernel, Loop, Set, Store, Tensor, Var
from quasim.kernels.ir import Load as Read
from quasim.kernels.lower.pattern import unsupported
from quasim.kernels.lower.threads_gather import Element, Gather
from quasim.kernels.lower.threads_parts import FOUR, Guards, Lanes, Steps, finish, guard_of, offset, value_of
from quasim.kernels.lower.tiles_known import Known, size_of
from quasim.kernels.lower.tiles_pointwise import accesses
from quasim.kernels.lowered import Compare
from quasim.kernels.sizes import Size, Tiles
from quasim.kernels.threaded import (
    BLOCK,
    THREAD,
    Array,
    Assign,
    Cell,
    Declare,
    For,
    Guard,
    If,
    Let,
    Load,
    Node,
    Operand,
    Save,
    ThreadProgram,
    Unroll,
)
from quasim.trial import Genome

Spot = tuple[int, int]
"""An element of a thread: its row and its place in the row."""

Finder = Callable[[Read | Store, Spot], Element]


def lower_flat(kernel: Kernel, genome: Genome, known: Known) -> ThreadProgram:
    """All axes numbered through; ``items`` times ``vector`` neighbours for each of ``threads`` threads.

    Neighbours whose elements lie apart (sections of a state) are moved by four where constants say that they are whole
    groups of four.

    Raises:
        LoweringError: the kernel has a loop.
        SpaceError: the genome lacks a gene.
    """
    plan = _Plan(kernel, known)
    threads, items = genome.integer("threads"), genome.integer("items")
    vector, once = _lanes(genome), bool(genome["once"])
    size = Size(tuple(axis.dim.name for axis in kernel.grid))
    block = threads * items * vector
    total: Index = Num(1)
    for axis in kernel.grid:
        total = total * known.steps(axis)
    first = Sym(BLOCK) * block + Sym("item") * (threads * vector) + Sym(THREAD) * vector
    place = Let("at", first)
    spots = [(0, lane) for lane in range(vector)]
    together = tuple(plan.together(spots, _Flat(kernel, known), vector, once))
    work: tuple[Node, ...] = (Unroll("item", items, (place, *together)),)
    if not known.multiple(size, block):
        # Where a lane is dead each of its axes is, so that an access is guarded against all of them or not at all.
        alive = (Compare(Sym("one"), "<", total),)
        one = plan.alone(_digits(kernel, known, Sym("one")), dict.fromkeys(kernel.grid, alive), flat=True, once=once)
        lanes = For("lane", Num(vector), (Let("one", Sym("at") + Sym("lane")), *one))
        rest = Unroll("item", items, (place, lanes))
        work = (If((Compare((Sym(BLOCK) + 1) * block, "<=", total),), work, (rest,)),)
    return finish(known, genome, (*plan.scalars(), *work), (Tiles(size, block),), threads)


def lower_tiled(kernel: Kernel, genome: Genome, known: Known) -> ThreadProgram:
    """``across`` threads side by side along the last axis, ``vector`` neighbours each; ``rows`` steps of the other.

    Threads begin before the last axis does, so that stores begin where tensors' rows are aligned.

    Raises:
        LoweringError: the kernel has a loop, or not two axes.
        SpaceError: the genome lacks a gene, or its blocks are no whole number of rows of threads.
    """
    plan = _Plan(kernel, known)
    if len(kernel.grid) != 2:
        raise unsupported(kernel, f"{len(kernel.grid)} axes of which one is displaced")
    rows_axis, cols_axis = kernel.grid
    threads, across, rows = (genome.integer(name) for name in ("threads", "across", "rows"))
    vector = _lanes(genome)
    if threads % across:
        raise SpaceError(f"{threads} threads, {across} of them side by side", "take a multiple")
    aligned = vector == FOUR and all(known.multiple(size_of(tensor.shape[-1]), FOUR) for tensor in kernel.tensors)
    shift = _shift(kernel, cols_axis) if aligned else 0
    down, along = threads // across * rows, across * vector
    tiles_along = (known.steps(cols_axis) + (shift + along - 1)) // along
    nodes: tuple[Node, ...] = (
        Let("row", Sym(BLOCK) // tiles_along * down + Sym(THREAD) // across * rows),
        Let("col", Sym(BLOCK) % tiles_along * along + Sym(THREAD) % across * vector),
    )
    spots = [(row, lane) for row in range(rows) for lane in range(vector)]
    lanes: Lanes = FOUR if aligned else 1
    finder = _Grid(known, shift)
    together = tuple(plan.together(spots, finder, lanes, once=False))
    step = {rows_axis: Sym("row") + Sym("down"), cols_axis: Sym("col") + Sym("lane") - shift}
    inside = {
        rows_axis: (Compare(step[rows_axis], "<", known.steps(rows_axis)),),
        cols_axis: (
            *((Compare(Num(shift), "<=", Sym("col") + Sym("lane")),) if shift else ()),
            Compare(step[cols_axis], "<", known.steps(cols_axis)),
        ),
    }
    one = tuple(plan.alone(step, inside, flat=False, once=False))
    alone = For("down", Num(rows), (For("lane", Num(vector), one),))
    whole = (
        Compare(Num(shift), "<=", Sym("col")),
        Compare(Sym("col") + vector, "<=", known.steps(cols_axis) + shift),
        Compare(Sym("row") + rows, "<=", known.steps(rows_axis)),
    )
    tiles = (
        Tiles(Size((rows_axis.dim.name,)), down, rows_axis.trim),
        Tiles(Size((cols_axis.dim.name,)), along, cols_axis.trim - shift),
    )
    return finish(known, genome, (*plan.scalars(), *nodes, If(whole, together, (alone,))), tiles, threads)


def _lanes(genome: Genome) -> Lanes:
    return FOUR if genome.integer("vector") == FOUR else 1


def _shift(kernel: Kernel, axis: Axis) -> int:
    """How far into a row the stores begin, up to a whole access."""
    stores = [access for access in accesses(kernel) if isinstance(access, Store)]
    return stores[0].index[-1].offset % FOUR if stores and stores[0].index[-1].axis == axis else 0


def _digits(kernel: Kernel, known: Known, place: Index) -> dict[Axis, Index]:
    """The step of each axis at a place of all of them numbered through."""
    found: dict[Axis, Index] = {}
    for axis in reversed(kernel.grid[1:]):
        found[axis] = place % known.steps(axis)
        place = place // known.steps(axis)
    return found | {kernel.grid[0]: place}


class _Plan:
    """The statements of a kernel without loops, for one element of a thread or several."""

    def __init__(self, kernel: Kernel, known: Known) -> None:
        if any(isinstance(statement, Loop) for statement in kernel.body):
            raise unsupported(kernel, "a loop without a product")
        self.kernel, self.known = kernel, known
        self.statements = [statement for statement in kernel.body if isinstance(statement, Set | Store)]
        reads = [access for access in accesses(kernel) if isinstance(access, Read)]
        self.fixed = {read: Cell(Array(f"fixed_{i}")) for i, read in enumerate(r for r in reads if not _varies(r))}
        self.reads = [read for read in reads if _varies(read)]
        self.stores = [statement for statement in self.statements if isinstance(statement, Store)]

    def scalars(self) -> Iterator[Node]:
        """What is the same for all elements is read first."""
        for read, cell in self.fixed.items():
            yield Declare(cell.array)
            yield Load(cell, read.tensor, offset(self.known, read.tensor, read.index, {}), 1)

    def together(self, spots: list[Spot], find: _Flat | _Grid, lanes: Lanes, once: bool) -> Iterator[Node]:
        """All elements of a thread, which must exist: read, computed, written."""
        lanes = lanes if find.regular else 1
        read = Gather((find(r, s) for r in self.reads for s in spots), find.offset, lanes)
        written = Gather((find(w, s) for w in self.stores for s in spots), find.offset, lanes)
        yield from read.declarations
        yield from read.loads(once)
        yield from written.declarations
        for number, spot in enumerate(spots):
            yield from self._element(
                f"_{number}",
                lambda access, spot=spot: read.cell(find(access, spot)),  # type: ignore[misc]
                lambda store, spot=spot: written.cell(find(store, spot)),  # type: ignore[misc]
            )
        yield from written.saves(once)

    def alone(self, steps: Steps, guards: Guards, *, flat: bool, once: bool) -> Iterator[Node]:
        """One element, each of its accesses guarded as the IR says."""
        cells = {read: Cell(Array(f"one_{read.tensor.name}_{i}")) for i, read in enumerate(self.reads)}
        for read, cell in cells.items():
            at = offset(self.known, read.tensor, read.index, steps)
            yield Declare(cell.array)
            yield Load(cell, read.tensor, at, 1, _guard(read, guards, flat), once)
        outs = {store: Cell(Array(f"one_{store.tensor.name}_{i}")) for i, store in enumerate(self.stores)}
        yield from (Declare(cell.array) for cell in outs.values())
        yield from self._element("", cells.__getitem__, outs.__getitem__)
        for store, cell in outs.items():
            at = offset(self.known, store.tensor, store.index, steps)
            yield Save(store.tensor, at, cell, 1, _guard(store, guards, flat), once)

    def _element(self, name: str, read: Callable[[Read], Cell], out: Callable[[Store], Cell]) -> Iterator[Node]:
        bound: dict[Var, Operand] = {}

        def leaf(value: Read | Var) -> Operand:
            if isinstance(value, Var):
                return bound[value]
            return self.fixed[value] if value in self.fixed else read(value)

        for statement in self.statements:
            value = value_of(self.known, statement.value, leaf)
            if isinstance(statement, Store):
                yield Assign(out(statement), value)
            elif isinstance(value, Cell):
                bound[statement.var] = value
            else:
                cell = Cell(Array(f"{statement.var.name}{name}"))
                bound[statement.var] = cell
                yield from (Declare(cell.array), Assign(cell, value))


def _varies(read: Read) -> bool:
    return any(at.axis is not None for at in read.index)


def _guard(access: Read | Store, guards: Guards, flat: bool) -> Guard:
    if not flat:
        return guard_of(access.index, access.guard, guards)
    used = [at.axis for at in access.index if at.axis is not None]
    return guards[used[0]] if all(axis in access.guard for axis in used) else ()


@dataclass(frozen=True, slots=True)
class _Grid:
    """Elements of rows: the line is a row, relative to the thread's first."""

    known: Known
    shift: int
    regular: bool = True

    def __call__(self, access: Read | Store, spot: Spot) -> Element:
        down, along = access.index
        return Element(access.tensor, spot[0] + down.offset, spot[1] + along.offset - self.shift)

    def offset(self, element: Element) -> Index:
        """``row`` and ``col`` are where the thread is."""
        assert isinstance(element.line, int)
        width = self.known.extent(element.tensor.shape[-1])
        return (Sym("row") + element.line) * width + (Sym("col") + element.place)


class _Flat:
    """Elements of axes numbered through.

    Where extents within are constant powers of two, neighbours of a group are a constant apart; otherwise each element
    is a line of its own.
    """

    def __init__(self, kernel: Kernel, known: Known) -> None:
        self.kernel, self.known = kernel, known
        self.axes, self.accesses = kernel.grid, accesses(kernel)
        self._bases: dict[Tensor, Index] = {}
        inner = [known.count(axis) for axis in self.axes[1:]]
        constant = all(
            axis.dim.name in known.exact and n & (n - 1) == 0 for axis, n in zip(self.axes[1:], inner, strict=True)
        )
        plain = all(self._plain(access) for access in self.accesses if any(at.axis for at in access.index))
        self.plain, self.regular = plain, plain or (constant and self._all_axes())

    def __call__(self, access: Read | Store, spot: Spot) -> Element:
        lane = spot[1]
        if self.plain:
            return Element(access.tensor, None, lane)
        if self.regular:
            return Element(access.tensor, None, self._apart(access, lane))
        return Element(access.tensor, (access.index, lane), 0)

    def offset(self, element: Element) -> Index:
        """``at`` is the thread's first place."""
        place = Sym("at")
        if self.plain:
            return place + element.place
        if self.regular:
            return self._base(element.tensor) + element.place
        assert isinstance(element.line, tuple)  # as ``__call__`` made it
        index, lane = element.line
        return offset(self.known, element.tensor, index, _digits(self.kernel, self.known, place + lane))

    def _plain(self, access: Read | Store) -> bool:
        dims = tuple(axis.dim for axis in self.axes)
        return tuple(at.axis for at in access.index) == self.axes and dims == access.tensor.shape

    def _all_axes(self) -> bool:
        found = [tuple(at.axis for at in access.index if at.axis) for access in self.accesses]
        return all(axes in ((), self.axes) for axes in found)

    def _base(self, tensor: Tensor) -> Index:
        """Offset of the thread's first place at position 0 of every section."""
        if tensor not in self._bases:
            access = next(a for a in self.accesses if a.tensor == tensor)
            index = tuple(at if at.axis is not None else replace(at, offset=0) for at in access.index)
            self._bases[tensor] = offset(self.known, tensor, index, _digits(self.kernel, self.known, Sym("at")))
        return self._bases[tensor]

    def _apart(self, access: Read | Store, lane: int) -> int:
        """Elements from the base to a neighbour's element: an aligned place's low bits are 0, so that none carries."""
        found = offset(self.known, access.tensor, access.index, _digits(self.kernel, self.known, Num(lane)))
        assert isinstance(found, Num)  # all but the first axis are constants, and that is not multiplied
        return found.value
