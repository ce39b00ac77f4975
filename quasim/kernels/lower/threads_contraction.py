"""Products of float32 matrices on a machine of threads: a tile of the result for each block, registers for each thread.

Tiles of both operands are brought to shared memory, the next ones on their way while these are multiplied. A thread
owns quads of rows and of columns that lie apart, such that the threads of a gang read neighbouring quads of shared
memory: 4 × 8 threads read without conflicts of banks (as in CUTLASS' SIMT kernels).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from quasim.errors import SpaceError
from quasim.kernels.index import Index, Num, Sym, least
from quasim.kernels.ir import Axis, Kernel
from quasim.kernels.ir import Load as Read
from quasim.kernels.lower.pattern import contraction
from quasim.kernels.lower.threads_parts import FOUR, Lanes, below, finish, guard_of, offset
from quasim.kernels.lower.tiles_grid import axis_count, axis_tiles
from quasim.kernels.lower.tiles_known import Known, size_of
from quasim.kernels.lowered import Compare
from quasim.kernels.threaded import (
    BLOCK,
    THREAD,
    Apply,
    Array,
    Assign,
    Barrier,
    Cell,
    Copy,
    Declare,
    For,
    Guard,
    If,
    Keep,
    Let,
    Load,
    Node,
    Number,
    Save,
    Settle,
    Shared,
    Stash,
    Take,
    ThreadProgram,
    Unroll,
)
from quasim.trial import Genome

GANG_ROWS, GANG_COLS = 4, 8
"""Threads of a gang along the rows and the columns of the result."""

_PAD = 4
"""Floats between lines of shared memory: stores that turn an operand then meet other banks, and quads stay aligned."""


def lower_contraction(kernel: Kernel, genome: Genome, known: Known) -> ThreadProgram:
    """Tiles of ``block_m`` × ``block_n`` for each block and ``each_m`` × ``each_n`` for each thread.

    ``block_k`` steps of the sum are staged at once; the terms of an element are added one after the other. ``group``
    rows of tiles are walked column by column, so that what neighbours read stays in the cache. With ``asynchronous``,
    operands that lie in memory as they do in a tile are copied past the registers.

    Raises:
        LoweringError: the kernel is of another form.
        SpaceError: the genome lacks a gene, or its tiles are no whole number of gangs.
    """
    return _Product(kernel, genome, known).program()


@dataclass(frozen=True, slots=True)
class _Side:
    """An operand: how a tile of it is brought to shared memory.

    Attributes:
        outer: the axis of the result.
        block, each: steps of that axis, of a block and of a thread.
        start: of the block along that axis.
        mine: number of the thread along that axis.
        lanes: elements that one access of memory moves.
        turned: steps of the sum lie next to one another in memory.
        copied: past the registers.
    """

    name: str
    read: Read
    outer: Axis
    block: int
    each: int
    start: Index
    mine: Index
    lanes: Lanes
    turned: bool
    copied: bool


class _Product:
    def __init__(self, kernel: Kernel, genome: Genome, known: Known) -> None:
        self.kernel, self.genome, self.known = kernel, genome, known
        self.part = contraction(kernel)
        names = ("block_m", "block_n", "block_k", "each_m", "each_n", "group")
        self.block_m, self.block_n, self.block_k, self.each_m, self.each_n, self.group = map(genome.integer, names)
        gangs = self._whole(self.block_m, GANG_ROWS * self.each_m), self._whole(self.block_n, GANG_COLS * self.each_n)
        self.gangs_n = gangs[1]
        self.threads = gangs[0] * gangs[1] * GANG_ROWS * GANG_COLS
        part = self.part
        self.left = self._side("left", part.left, part.rows, self.block_m, self.each_m, Sym("start_m"), Sym("mine_m"))
        self.right = self._side(
            "right", part.right, part.cols, self.block_n, self.each_n, Sym("start_n"), Sym("mine_n")
        )
        self.acc = Array("acc", (self.each_m, self.each_n))

    def _whole(self, size: int, step: int) -> int:
        if size % step:
            raise SpaceError(f"{self.kernel.name}: tiles of {size} in steps of {step}", "make tiles whole gangs")
        return size // step

    def _side(self, name: str, read: Read, outer: Axis, block: int, each: int, start: Index, mine: Index) -> _Side:
        turned = read.index[-1].axis == self.part.over
        lanes: Lanes = FOUR if self.known.multiple(size_of(read.tensor.shape[-1]), FOUR) else 1
        # What is beyond the sum's end must be 0 in a tile: a copy writes 0 for what is guarded alone.
        guarded = self.part.over in read.guard or self.known.fills(self.part.over, self.block_k)
        copied = bool(self.genome["asynchronous"]) and lanes == FOUR and not turned and guarded
        return _Side(name, read, outer, block, each, start, mine, lanes, turned, copied)

    def program(self) -> ThreadProgram:
        part = self.part
        shared = tuple(self._shared(side) for side in (self.left, self.right))
        steps = axis_count(self.known, part.over, self.block_k)
        more = (Compare(Sym("step") + 1, "<", steps),)
        ahead, half = (Sym("step") + 1) * self.block_k, (Sym("step") + 1) % 2
        fetch_next = If(more, self._fetches(ahead, half))
        stash_next = tuple(If(more, (self._stash(side, half),)) for side in self._staging)
        settle = (Settle(),) if self.left.copied or self.right.copied else ()
        arrive: tuple[Node, ...] = (*settle, Barrier())
        loop = (fetch_next, Let("now", Sym("step") % 2), *self._multiply(), *stash_next, *arrive)
        clear = Unroll("i", self.each_m, (Unroll("j", self.each_n, (Assign(self._sum(), Number(0.0)),)),))
        first = (*self._fetches(Num(0), Num(0)), *(self._stash(side, Num(0)) for side in self._staging), *arrive)
        declared = (Declare(self.acc), *(Declare(self._staged(side)) for side in self._staging))
        body = (*self._where(), *declared, clear, *first, For("step", steps, loop), *self._write())
        tiles = (
            *(axis_tiles(axis, 1) for axis in self._batch),
            axis_tiles(part.rows, self.block_m),
            axis_tiles(part.cols, self.block_n),
        )
        return finish(self.known, self.genome, body, tiles, self.threads, shared)

    @property
    def _batch(self) -> tuple[Axis, ...]:
        return () if self.part.batch is None else (self.part.batch,)

    def _where(self) -> Iterator[Node]:
        """Which tile this block has, and which part of it this thread; a group's last rows may be fewer."""
        yield Let("tiles_m", axis_count(self.known, self.part.rows, self.block_m))
        yield Let("tiles_n", axis_count(self.known, self.part.cols, self.block_n))
        within: Index = Sym(BLOCK)
        for _ in self._batch:
            yield Let("number", within // (Sym("tiles_m") * Sym("tiles_n")))
            yield Let("within", within % (Sym("tiles_m") * Sym("tiles_n")))
            within = Sym("within")
        yield Let("top", within // (Sym("tiles_n") * self.group) * self.group)
        yield Let("high", least(Sym("tiles_m") - Sym("top"), self.group))
        yield Let("turn", within % (Sym("tiles_n") * self.group))
        yield Let("start_m", (Sym("top") + Sym("turn") % Sym("high")) * self.block_m)
        yield Let("start_n", Sym("turn") // Sym("high") * self.block_n)
        gang, one = Sym(THREAD) // (GANG_ROWS * GANG_COLS), Sym(THREAD) % (GANG_ROWS * GANG_COLS)
        yield Let("mine_m", gang // self.gangs_n * GANG_ROWS + one // GANG_COLS)
        yield Let("mine_n", gang % self.gangs_n * GANG_COLS + one % GANG_COLS)

    def _shared(self, side: _Side) -> Shared:
        return Shared(f"tile_{side.name}", (2, self.block_k, side.block + _PAD))

    def _staged(self, side: _Side) -> Array:
        return Array(f"staged_{side.name}", (self._units(side), side.lanes))

    def _units(self, side: _Side) -> int:
        """Accesses of a thread that bring a tile."""
        return -(-side.block * self.block_k // (side.lanes * self.threads))

    @property
    def _staging(self) -> tuple[_Side, ...]:
        """Operands that go through registers."""
        return tuple(side for side in (self.left, self.right) if not side.copied)

    def _fetches(self, depth: Index, half: Index) -> tuple[Node, ...]:
        return tuple(self._fetch(side, depth, half) for side in (self.left, self.right))

    def _unit(self, side: _Side, body: tuple[Node, ...]) -> Node:
        """A body for each access; where there are more threads than accesses, some have none."""
        count = side.block * self.block_k // side.lanes
        along = (self.block_k if side.turned else side.block) // side.lanes
        number = Sym("unit") * self.threads + Sym(THREAD)
        lines, places = Let("line", number // along), Let("place", number % along * side.lanes)
        if count % self.threads:
            body = (If((Compare(number, "<", Num(count)),), body),)
        return Unroll("unit", self._units(side), (lines, places, *body))

    def _fetch(self, side: _Side, depth: Index, half: Index) -> Node:
        """From step ``depth`` of the sum on, 0 in steps that there are not: to registers, or to a half of a tile."""
        over, known = self.part.over, self.known
        line, place = Sym("line"), Sym("place")
        outer, inner = (line, depth + place) if side.turned else (place, depth + line)
        steps = {side.outer: side.start + outer, over: inner, **{axis: Sym("number") for axis in self._batch}}
        guards: dict[Axis, Guard] = {
            side.outer: below(known, side.outer, steps[side.outer], side.block),
            over: below(known, over, steps[over], self.block_k),
        }
        read = side.read
        at = offset(known, read.tensor, read.index, steps)
        guard = guard_of(read.index, read.guard, guards)
        if side.copied:
            return self._unit(side, (Copy(self._shared(side), (half, line, place), read.tensor, at, guard),))
        cell = Cell(self._staged(side), (Sym("unit"), Num(0)))
        nodes: list[Node] = [Load(cell, read.tensor, at, side.lanes, guard)]
        if guards[over] and over not in read.guard:
            lane = Cell(cell.array, (Sym("unit"), Sym("lane")))
            nodes.append(Unroll("lane", side.lanes, (Assign(lane, Keep(lane, guards[over], 0.0)),)))
        return self._unit(side, tuple(nodes))

    def _stash(self, side: _Side, half: Index) -> Node:
        """From registers to the half of shared memory that nobody reads."""
        buffer, staged = self._shared(side), self._staged(side)
        line, place = Sym("line"), Sym("place")
        lane = Cell(staged, (Sym("unit"), Sym("lane")))
        body: Node = Stash(buffer, (half, line, place), Cell(staged, (Sym("unit"), Num(0))), side.lanes)
        if side.turned:
            body = Unroll("lane", side.lanes, (Stash(buffer, (half, place + Sym("lane"), line), lane, 1),))
        return self._unit(side, (body,))

    def _multiply(self) -> Iterator[Node]:
        """One tile of each operand, step by step of the sum."""
        left, right = Array("a", (self.each_m,)), Array("b", (self.each_n,))
        takes = (*self._takes(self.left, left), *self._takes(self.right, right))
        product = Apply("fma", (Cell(left, (Sym("i"),)), Cell(right, (Sym("j"),)), self._sum()))
        add = Unroll("i", self.each_m, (Unroll("j", self.each_n, (Assign(self._sum(), product),)),))
        yield Unroll("depth", self.block_k, (Declare(left), Declare(right), *takes, add))

    def _takes(self, side: _Side, into: Array) -> Iterator[Node]:
        for quad in range(side.each // FOUR):
            at = (Sym("now"), Sym("depth"), self._quad(side, quad))
            yield Take(Cell(into, (Num(quad * FOUR),)), self._shared(side), at, FOUR)

    def _quad(self, side: _Side, quad: int) -> Index:
        """Where a quad of a thread begins within the tile; all quads of one number lie side by side."""
        return side.mine * FOUR + quad * (side.block * FOUR // side.each)

    def _sum(self) -> Cell:
        return Cell(self.acc, (Sym("i"), Sym("j")))

    def _write(self) -> Iterator[Node]:
        """The thread's quads of rows, quad of columns by quad."""
        for down in range(self.each_m // FOUR):
            for along in range(self.each_n // FOUR):
                row = Sym("start_m") + self._quad(self.left, down) + Sym("i")
                col = Sym("start_n") + self._quad(self.right, along)
                yield Unroll("i", FOUR, tuple(self._save(down, along, row, col)))

    def _save(self, down: int, along: int, row: Index, col: Index) -> Iterator[Node]:
        store, known = self.part.store, self.known
        whole = known.multiple(size_of(store.tensor.shape[-1]), FOUR)
        at = col if whole else col + Sym("j")
        steps = {self.part.rows: row, self.part.cols: at, **{axis: Sym("number") for axis in self._batch}}
        guards = {
            self.part.rows: below(known, self.part.rows, row, self.block_m),
            self.part.cols: below(known, self.part.cols, at, self.block_n),
        }
        guard = guard_of(store.index, store.guard, guards)
        place = offset(known, store.tensor, store.index, steps)
        line = Sym("i") + down * FOUR
        if whole:
            yield Save(store.tensor, place, Cell(self.acc, (line, Num(along * FOUR))), FOUR, guard)
        else:
            cell = Cell(self.acc, (line, Sym("j") + along * FOUR))
            yield Unroll("j", FOUR, (Save(store.tensor, place, cell, 1, guard),))
