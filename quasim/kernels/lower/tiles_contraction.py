"""Products of matrices on a machine of tiles: a tile of the result for each block, summed along a loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

from quasim.errors import SpaceError
from quasim.kernels._base import numpy_dtype
from quasim.kernels.index import Index, Num, Sym, least
from quasim.kernels.ir import Affine, Axis, Dot, Kernel, Load, Loop, Statement, Store, Tensor, Var
from quasim.kernels.lower.pattern import unsupported
from quasim.kernels.lower.tiles_body import LoopBody, Translator
from quasim.kernels.lower.tiles_grid import TILE, axis_count, axis_tiles, over_tiles, program
from quasim.kernels.lower.tiles_known import Known, size_of
from quasim.kernels.lower.tiles_scene import AxisTile, GridScene, axis_tile, facing
from quasim.kernels.tiled import (
    DescriptorOf,
    FetchTile,
    For,
    Halve,
    Lanes,
    Let,
    Node,
    Parameter,
    PointerTo,
    PutTile,
    Reg,
    Tile,
    TileProgram,
    shape_of,
)
from quasim.kernels.walk import walk as every
from quasim.trial import Genome

DESCRIPTOR_BYTES = 16
"""Descriptors want every stride and address to be a multiple of this."""


@dataclass(frozen=True, slots=True)
class Roles:
    """What the axes of a product are: batches of (rows, cols), summed over another.

    Attributes:
        acc: the variable that is stored.
    """

    batch: tuple[Axis, ...]
    rows: Axis
    cols: Axis
    over: Axis
    acc: Var


def roles(kernel: Kernel) -> Roles:
    """The roles of a kernel's axes.

    Raises:
        LoweringError: it does not sum products of one shape along one loop over tiles of a grid, to store one sum.
    """
    dots = [node for node in every(kernel.body) if isinstance(node, Dot)]
    loops = [statement for statement in kernel.body if isinstance(statement, Loop)]
    last = kernel.body[-1]
    alike = {(dot.over, dot.acc.axes) for dot in dots}
    if len(alike) != 1 or len(loops) != 1 or dots[0].over != loops[0].axis or len(kernel.grid) < 2:
        raise unsupported(kernel, "anything but products of one shape in one loop")
    sums = [node for node in every(last) if isinstance(node, Var) and node.axes == dots[0].acc.axes]
    if not isinstance(last, Store) or len(set(sums)) != 1:
        raise unsupported(kernel, "anything but a sum that is stored in the end")
    *batch, rows, cols = dots[0].acc.axes
    batch += [axis for axis in kernel.grid if axis not in dots[0].acc.axes]
    return Roles(tuple(batch), rows, cols, loops[0].axis, sums[0])


def lower_contraction(kernel: Kernel, genome: Genome, known: Known) -> TileProgram:
    """Tiles of ``block_m`` × ``block_n``, summed ``block_k`` at a time.

    ``group`` rows of tiles are walked column by column, so that what neighbours read stays in the cache. Operands and
    result are accessed by addresses or by descriptors. There is a block for each tile (``walk=tiles``), or one for each
    multiprocessor that loops over the tiles (``persistent``), made one loop with the sum's (``flat``). The result may
    be written in ``epilogue`` parts, which need less shared memory each.

    Raises:
        LoweringError: the kernel is of another form.
        SpaceError: the genome lacks a gene, or wants descriptors for a tensor that cannot have them.
    """
    return _Product(kernel, genome, known).program()


class _Product:
    def __init__(self, kernel: Kernel, genome: Genome, known: Known) -> None:
        self.kernel, self.genome, self.known = kernel, genome, known
        self.roles = roles(kernel)
        self.blocks = {
            self.roles.rows: genome.integer("block_m"),
            self.roles.cols: genome.integer("block_n"),
            self.roles.over: genome.integer("block_k"),
        }
        fixed = self.roles.over.block
        if fixed not in (0, self.blocks[self.roles.over]):
            raise SpaceError(
                f"{kernel.name}: {fixed} steps of {self.roles.over.name} share a scale", "take that block_k"
            )
        self.descriptors = genome["access"] == "descriptor"
        self.boxes: dict[str, DescriptorOf] = {}

    def program(self) -> TileProgram:
        rows, cols, walk = self.roles.rows, self.roles.cols, self.genome["walk"]
        persist = 0 if walk == "tiles" else 1
        count_m, count_n = Sym("tiles_m"), Sym("tiles_n")
        total: Index = count_m * count_n
        for axis in self.roles.batch:
            total = total * self.known.steps(axis)
        counts = (
            Let("tiles_m", axis_count(self.known, rows, self.blocks[rows])),
            Let("tiles_n", axis_count(self.known, cols, self.blocks[cols])),
        )
        body = (*self._decode(count_m, count_n), *self._tile())
        tiles = (
            *(axis_tiles(axis, 1) for axis in self.roles.batch),
            axis_tiles(rows, self.blocks[rows]),
            axis_tiles(cols, self.blocks[cols]),
        )
        whole = (*counts, *over_tiles(total, persist, body, flatten=walk == "flat"))
        stages = self.genome.integer("stages")
        return program(self.known, self.genome, self._parameters(), tiles, persist, whole, stages)

    def _parameters(self) -> tuple[Parameter, ...]:
        return tuple(self.boxes.get(t.name, PointerTo(t)) for t in self.kernel.tensors)

    def _decode(self, count_m: Sym, count_n: Sym) -> Iterator[Node]:
        """Which tile this is; the group's last rows may be fewer."""
        within: Index = TILE
        for axis in self.roles.batch:
            yield Let(f"number_{axis.name}", within // (count_m * count_n))
            yield Let("within", within % (count_m * count_n))
            within = Sym("within")
        group = self.genome.integer("group")
        if group == 1:
            yield Let("tile_m", within // count_n)
            yield Let("tile_n", within % count_n)
            return
        yield Let("first", within // (count_n * group) * group)
        yield Let("rows", least(count_m - Sym("first"), group))
        yield Let("turn", within % (count_n * group))
        yield Let("tile_m", Sym("first") + Sym("turn") % Sym("rows"))
        yield Let("tile_n", Sym("turn") // Sym("rows"))

    def _tile(self) -> Iterator[Node]:
        rows, cols = self.roles.rows, self.roles.cols
        for name, axis in (("m", rows), ("n", cols)):
            yield Let(f"start_{name}", Sym(f"tile_{name}") * self.blocks[axis])
        outer = [axis_tile(self.known, axis, 1, Sym(f"number_{axis.name}")) for axis in self.roles.batch]
        outer += [
            axis_tile(self.known, rows, self.blocks[rows], Sym("start_m")),
            axis_tile(self.known, cols, self.blocks[cols], Sym("start_n")),
        ]
        for tile in outer:
            yield from tile.nodes
        scene = self._scene(tuple(outer))
        translator = Translator(scene, self._loop(scene))
        yield from translator.run(self.kernel.body[:-1])
        yield from self._epilogue(translator, scene, self.kernel.body[-1:])

    def _scene(self, tiles: tuple[AxisTile, ...]) -> _DescriptorScene | GridScene:
        return _DescriptorScene(self.known, tiles, self.boxes) if self.descriptors else GridScene(self.known, tiles)

    def _loop(self, scene: GridScene) -> LoopBody:
        """Tiles of the axis one after the other; those that one run of the body takes are written out within it."""
        outer: list[Loop] = []

        def loop(statement: Loop, body: Callable[[], Iterator[Node]]) -> Iterator[Node]:
            axis, taken = statement.axis, (outer or [statement])[0].tiles
            parts = (self._step(scene, axis, Sym("step") * taken + number, taken, body) for number in range(taken))
            if outer:
                yield from chain.from_iterable(parts)
                return
            outer.append(statement)
            nested = any(isinstance(each, Loop) for each in statement.body)
            inner = tuple(body() if nested else chain.from_iterable(parts))
            yield For("step", Num(0), axis_count(self.known, axis, self.blocks[axis] * taken), Num(1), inner)

        return loop

    def _step(
        self, scene: GridScene, axis: Axis, step: Index, taken: int, body: Callable[[], Iterator[Node]]
    ) -> Iterator[Node]:
        block = self.blocks[axis]
        tile = axis_tile(self.known, axis, block, Sym("start_k"), part_of=block * taken)
        scene.tiles[axis] = tile
        yield Let("start_k", step * block)
        yield from tile.nodes
        yield from body()

    def _epilogue(self, translator: Translator, scene: GridScene, after: tuple[Statement, ...]) -> Iterator[Node]:
        """The store, once for each part of the tile's columns."""
        parts = self.genome.integer("epilogue")
        yield from _halves(translator.regs[self.roles.acc], parts, tuple(self.blocks.values())[:2])
        whole = scene.tiles[self.roles.cols]
        for part in range(parts if parts > 1 else 0):
            size = whole.lanes.size // parts
            start = whole.start + part * size
            tile = axis_tile(self.known, whole.axis, size, start, name=f"_{part}", part_of=whole.lanes.size)
            yield from tile.nodes
            scene.tiles[whole.axis] = tile
            acc = translator.regs[self.roles.acc]
            name = f"{self.roles.acc.name}_{part}"
            translator.regs[self.roles.acc] = Reg(name, (acc.shape[0], tile.lanes.name), acc.dtype)
            yield from translator.run(after)
            translator.regs[self.roles.acc] = acc
        if parts == 1:
            yield from translator.run(after)


def _halves(acc: Reg, parts: int, sizes: tuple[int, ...]) -> Iterator[Node]:
    """Cut a tile into parts named by their number."""
    pieces = [acc]
    while len(pieces) < parts:
        cut: list[Reg] = []
        for number, piece in enumerate(pieces):
            last = len(pieces) * 2 == parts
            names = [f"{acc.name}_{2 * number + half}" if last else f"{piece.name}h{half}" for half in range(2)]
            left, right = (Reg(name, acc.shape, acc.dtype) for name in names)
            yield Halve(left, right, piece, (sizes[0], sizes[1] // len(pieces)))
            cut += [left, right]
        pieces = cut


class _DescriptorScene(GridScene):
    """Matrices are accessed by descriptors where all axes of the index are guarded, as the hardware guards them."""

    def __init__(self, known: Known, tiles: tuple[AxisTile, ...], boxes: dict[str, DescriptorOf]) -> None:
        super().__init__(known, tiles)
        self.boxes = boxes

    def fetch(self, load: Load) -> Tile:
        """A box, or addresses of a vector or where a guard is missing."""
        if not self._guarded(load):
            return super().fetch(load)
        lanes = self._box(load.tensor, load.index)
        return FetchTile(load.tensor, self._start(load.index), lanes)

    def put(self, store: Store, value: Tile) -> tuple[Node, ...]:
        """A box, or addresses where a guard is missing."""
        if not self._guarded(store):
            return super().put(store, value)
        lanes = self._box(store.tensor, store.index)
        return (PutTile(store.tensor, self._start(store.index), lanes, facing(value, shape_of(*lanes))),)

    def _guarded(self, access: Load | Store) -> bool:
        return len(access.index) > 1 and all(at.lanes in access.guard for at in access.index)

    def _box(self, tensor: Tensor, index: tuple[Affine, ...]) -> tuple[Lanes, ...]:
        if not can_have_descriptor(tensor, self.known):
            what = f"{self.known.kernel.name}: rows of {tensor.name} are no multiple of {DESCRIPTOR_BYTES} bytes"
            raise SpaceError(what, "take access=pointer")
        lanes = tuple(Lanes("", 1) if at.axis is None else self.tiles[at.axis].lanes for at in index)
        self.boxes[tensor.name] = DescriptorOf(tensor, tuple(lane.size for lane in lanes))
        return lanes

    def _start(self, index: tuple[Affine, ...]) -> tuple[Index, ...]:
        starts = (Num(0) + 0 if at.axis is None else self.tiles[at.axis].start for at in index)
        return tuple(start + at.offset for start, at in zip(starts, index, strict=True))


def can_have_descriptor(tensor: Tensor, known: Known) -> bool:
    """Whether the tensor's rows have the alignment of descriptors at this shape; then the program may rest on it."""
    steps = DESCRIPTOR_BYTES // numpy_dtype(tensor.dtype).itemsize
    return known.multiple(size_of(tensor.shape[-1]), steps)
