"""Elementwise kernels and stencils on a machine of tiles."""

from __future__ import annotations

from dataclasses import replace

from quasim.errors import SpaceError
from quasim.kernels.index import Index, Num, Sym
from quasim.kernels.ir import Affine, Axis, Kernel, Load, Loop, Store, Tensor
from quasim.kernels.lower.pattern import unsupported
from quasim.kernels.lower.tiles_body import Translator
from quasim.kernels.lower.tiles_grid import TILE, axis_count, axis_tiles, decode, over_tiles, program
from quasim.kernels.lower.tiles_known import Known, whole_tiles
from quasim.kernels.lower.tiles_scene import AxisTile, GridScene, axis_tile, strides
from quasim.kernels.lowered import Compare
from quasim.kernels.sizes import Size, Tiles
from quasim.kernels.tiled import (
    Fetch,
    Hint,
    If,
    Lanes,
    Live,
    Mask,
    Node,
    Place,
    PointerTo,
    Put,
    Shape,
    Term,
    Tile,
    TileProgram,
)
from quasim.kernels.walk import walk
from quasim.trial import Genome

POSITION = "p"

CACHE: dict[str, tuple[Hint, Hint]] = {
    "any": ("", ""),
    "once": ("evict_first", "evict_first"),
    "kept": ("evict_last", ""),
}
"""Values of the gene ``cache``: what caches are told of loads, and of stores."""


def hints(genome: Genome) -> tuple[Hint, Hint]:
    """Of loads and of stores.

    Raises:
        SpaceError: the genome has no such gene, or another value.
    """
    value = str(genome["cache"])
    if value not in CACHE:
        raise SpaceError(f"cache={value}", f"take one of {', '.join(CACHE)}")
    return CACHE[value]


def accesses(kernel: Kernel) -> tuple[Load | Store, ...]:
    """Every distinct access."""
    return tuple(dict.fromkeys(node for node in walk(kernel.body) if isinstance(node, Load | Store)))


def can_flatten(kernel: Kernel) -> bool:
    """Whether all axes together can be numbered through: none is trimmed and no access is displaced."""
    if any(axis.trim for axis in kernel.grid):
        return False
    return not any(at.axis is not None and at.offset for access in accesses(kernel) for at in access.index)


def lower_tiled(kernel: Kernel, genome: Genome, known: Known) -> TileProgram:
    """Tiles of ``rows`` × ``block`` of the last two axes; axes before them are walked step by step.

    With ``align``, tiles begin before the last axis does, so that their stores begin where tensors' rows are aligned
    (an offset of 1 is shifted by 1), and tiles without dead lanes are worked on without masks, which would keep lanes
    from being moved together.

    Raises:
        LoweringError: the kernel has a loop.
        SpaceError: the genome lacks a gene.
    """
    if any(isinstance(statement, Loop) for statement in kernel.body):
        raise unsupported(kernel, "a loop without a product")
    last = kernel.grid[-1]
    shift = _store_offset(kernel, last) if genome["align"] else 0
    blocks = [1] * len(kernel.grid)
    blocks[-2:] = [genome.integer("rows"), genome.integer("block")][-len(blocks) :]
    shifts = [0] * (len(kernel.grid) - 1) + [shift]
    axes = tuple(zip(kernel.grid, blocks, shifts, strict=True))
    counts = tuple((f"tile_{axis.name}", axis_count(known, axis, block, by)) for axis, block, by in axes)
    tiles = tuple(axis_tile(known, axis, block, Sym(f"tile_{axis.name}") * block, shift=by) for axis, block, by in axes)
    body = (
        *decode(TILE, counts),
        *(node for tile in tiles for node in tile.nodes),
        *(_apart(kernel, known, tiles) if genome["align"] else Translator(GridScene(known, tiles)).run(kernel.body)),
    )
    total: Index = Num(1)
    for _, count in counts:
        total = total * count
    grid = tuple(axis_tiles(axis, block, by) for axis, block, by in axes)
    return _program(kernel, genome, known, total, grid, body)


def _apart(kernel: Kernel, known: Known, tiles: tuple[AxisTile, ...]) -> tuple[Node, ...]:
    """The body twice: without masks for tiles inside of the array, with them for the others."""
    masked = tuple(Translator(GridScene(known, tiles)).run(kernel.body))
    inside = tuple(compare for tile in tiles if tile.live for compare in _inside(known, tile))
    if not inside:
        return masked
    whole = tuple(replace(tile, live=None) for tile in tiles)
    return (If(inside, tuple(Translator(GridScene(known, whole)).run(kernel.body)), masked),)


def _inside(known: Known, tile: AxisTile) -> tuple[Compare, Compare]:
    """The first and the last lane are alive."""
    first = tile.start - tile.shift
    return Compare(Num(0), "<=", first), Compare(first + tile.lanes.size, "<=", known.steps(tile.axis))


def _store_offset(kernel: Kernel, axis: Axis) -> int:
    offsets = [
        at.offset for access in accesses(kernel) if isinstance(access, Store) for at in access.index if at.axis == axis
    ]
    return offsets[0] if offsets else 0


def lower_flat(kernel: Kernel, genome: Genome, known: Known) -> TileProgram:
    """Blocks of ``block`` neighbours of all axes together, numbered through as one.

    Raises:
        LoweringError: the kernel has a loop, or axes that cannot be numbered through.
        SpaceError: the genome lacks a gene.
    """
    if not can_flatten(kernel):
        raise unsupported(kernel, "axes that cannot be numbered through")
    block = genome.integer("block")
    scene = _FlatScene(known, block, hints(genome))
    body = (*scene.nodes, *Translator(scene).run(kernel.body))
    total = scene.total
    tiles = (Tiles(Size(tuple(axis.dim.name for axis in kernel.grid)), block),)
    return _program(kernel, genome, known, whole_tiles(total, block), tiles, body)


def _program(
    kernel: Kernel, genome: Genome, known: Known, count: Index, tiles: tuple[Tiles, ...], body: tuple[Node, ...]
) -> TileProgram:
    persist = genome.integer("persist")
    parameters = tuple(PointerTo(tensor) for tensor in kernel.tensors)
    return program(known, genome, parameters, tiles, persist, over_tiles(count, persist, body))


class _FlatScene:
    """All axes share one direction of lanes."""

    def __init__(self, known: Known, block: int, hint: tuple[Hint, Hint]) -> None:
        self.known = known
        self._loads, self._stores = hint
        self.axes = known.kernel.grid
        self.lane = Lanes(POSITION, block)
        place = Sym(f"at_{POSITION}")
        self.total: Index = Num(1)
        for axis in self.axes:
            self.total = self.total * known.steps(axis)
        self.step = self._steps(place)
        self.nodes: tuple[Node, ...] = (Place(place.name, self.lane, TILE * block),)
        self.mask: Live | None = None
        if not known.multiple(Size(tuple(axis.dim.name for axis in self.axes)), block):
            self.mask = Live(f"live_{POSITION}", POSITION)
            self.nodes += (Mask(self.mask, (Compare(place, "<", self.total),)),)

    def _steps(self, place: Index) -> dict[Axis, Index]:
        """The step of each axis: digits of the position."""
        found: dict[Axis, Index] = {}
        for axis in reversed(self.axes[1:]):
            found[axis] = place % self.known.steps(axis)
            place = place // self.known.steps(axis)
        return found | {self.axes[0]: place}

    @property
    def order(self) -> Shape:
        return (POSITION,)

    def lanes(self, axis: Axis) -> Lanes:
        return self.lane

    def live(self, axis: Axis) -> Live | None:
        return self.mask

    def steps(self, axis: Axis) -> Index:
        return self.known.steps(axis)

    def fetch(self, load: Load) -> Tile:
        offset, live, shape = self._access(load)
        whole = set(self.axes) <= {at.axis for at in load.index}
        return Fetch(load.tensor, offset, live, shape, self._loads if whole else "")

    def put(self, store: Store, value: Tile) -> tuple[Node, ...]:
        offset, live, shape = self._access(store)
        return (Put(store.tensor, offset, live, value, shape, self._stores),)

    def _access(self, access: Load | Store) -> tuple[tuple[Term, ...], tuple[Live, ...], Shape]:
        """Where a lane is dead, each of its axes is: only an access that is guarded against all is masked."""
        used = [at.axis for at in access.index if at.axis is not None]
        if not used:
            return self._offset(access.tensor, access.index), (), ()
        guarded = self.mask is not None and all(axis in access.guard for axis in used)
        live = (self.mask,) if guarded and self.mask else ()
        return self._offset(access.tensor, access.index), live, (POSITION,)

    def _offset(self, tensor: Tensor, index: tuple[Affine, ...]) -> tuple[Term, ...]:
        if tuple(at.axis for at in index) == self.axes and tuple(axis.dim for axis in self.axes) == tensor.shape:
            return (Term(Sym(f"at_{POSITION}"), Num(1), POSITION),)
        return tuple(
            Term(Num(at.offset) if at.axis is None else self.step[at.axis], stride, POSITION if at.axis else None)
            for at, stride in zip(index, strides(self.known, tensor), strict=True)
        )
