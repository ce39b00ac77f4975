"""Where the axes of a kernel lie in the lanes of a tile, and the accesses that follow from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from quasim.kernels.index import Index, Num, Sym
from quasim.kernels.ir import Affine, Axis, Load, Store, Tensor
from quasim.kernels.lower.tiles_known import Known
from quasim.kernels.lowered import Compare
from quasim.kernels.tiled import Fetch, Hint, Lanes, Live, Mask, Node, Place, Put, Shape, Term, Tile, Turn


@dataclass(frozen=True, slots=True)
class AxisTile:
    """The steps of an axis that a tile holds.

    Attributes:
        start: the place of the first lane.
        shift: how many steps before the axis place 0 is.
        step: the step of each lane: a place, less what the tile was shifted by.
        live: which lanes hold a step; None: all.
        nodes: what defines the place and the mask.
    """

    axis: Axis
    lanes: Lanes
    start: Index
    shift: int
    step: Index
    live: Live | None
    nodes: tuple[Node, ...]

    @property
    def lane(self) -> str | None:
        """Its lane in a shape."""
        return self.lanes.name if self.lanes.size > 1 else None


def axis_tile(
    known: Known, axis: Axis, block: int, start: Index, *, shift: int = 0, name: str = "", part_of: int | None = None
) -> AxisTile:
    """A tile of ``block`` steps from ``start − shift`` on; steps below 0 or past the extent are dead.

    Args:
        known: the shape, which says whether a mask is needed.
        axis: what is tiled.
        block: lanes.
        start: a multiple of the block.
        shift: how far the tiles begin before the axis does.
        name: tells tiles of one axis apart.
        part_of: lanes of the tile of which this is a part: a whole part of it may lie past the extent.
    """
    lanes = Lanes(f"{axis.name}{name}", block)
    place = Sym(f"at_{lanes.name}")
    nodes: list[Node] = [Place(place.name, lanes, start)]
    live = None
    if shift or not known.fills(axis, part_of or block):
        live = Live(f"live_{lanes.name}", lanes.name if block > 1 else None)
        below = Compare(place, "<", known.steps(axis) + shift)
        nodes.append(Mask(live, (Compare(Num(shift), "<=", place), below) if shift else (below,)))
    return AxisTile(axis, lanes, start, shift, place - shift, live, tuple(nodes))


class Scene(Protocol):
    """What a translation asks of a schedule."""

    @property
    def order(self) -> Shape:
        """All lanes, outermost first."""
        ...

    def lanes(self, axis: Axis) -> Lanes:
        """The lanes along which a value over the axis varies."""
        ...

    def live(self, axis: Axis) -> Live | None:
        """Which lanes of the axis hold a step; None: all."""
        ...

    def steps(self, axis: Axis) -> Index:
        """How many steps the axis has."""
        ...

    def fetch(self, load: Load) -> Tile:
        """The tile that a load reads."""
        ...

    def put(self, store: Store, value: Tile) -> tuple[Node, ...]:
        """What writes a tile."""
        ...


class GridScene:
    """Every axis has lanes of its own; accesses are by addresses.

    Args:
        known: the shape.
        tiles: of the axes, outermost lanes first.
        once: hint that what varies over the whole grid is read once.
    """

    def __init__(self, known: Known, tiles: tuple[AxisTile, ...], once: bool = False) -> None:
        self.known = known
        self.tiles = {tile.axis: tile for tile in tiles}
        self._hint: Hint = "evict_first" if once else ""

    @property
    def order(self) -> Shape:
        """All lanes, outermost first."""
        return tuple(tile.lanes.name for tile in self.tiles.values())

    def lanes(self, axis: Axis) -> Lanes:
        """The axis' own."""
        return self.tiles[axis].lanes

    def live(self, axis: Axis) -> Live | None:
        """The mask of the axis' tile."""
        return self.tiles[axis].live

    def steps(self, axis: Axis) -> Index:
        """How many steps the axis has."""
        return self.known.steps(axis)

    def fetch(self, load: Load) -> Tile:
        """Addresses, masked against the load's guard."""
        return Fetch(
            load.tensor,
            self.offset(load.tensor, load.index),
            self.guard(load.index, load.guard),
            self.shape(load.index),
            self._hint if set(self.known.kernel.grid) <= {at.axis for at in load.index} else "",
        )

    def put(self, store: Store, value: Tile) -> tuple[Node, ...]:
        """Addresses, masked against the store's guard."""
        offset, live = self.offset(store.tensor, store.index), self.guard(store.index, store.guard)
        shape = self.shape(store.index)
        return (Put(store.tensor, offset, live, facing(value, shape), shape, self._hint),)

    def shape(self, index: tuple[Affine, ...]) -> Shape:
        """Lanes of an access, in the order of the tensor's dimensions."""
        lanes = (self.tiles[at.lanes].lane for at in index if at.lanes is not None)
        return tuple(lane for lane in lanes if lane is not None)

    def offset(self, tensor: Tensor, index: tuple[Affine, ...]) -> tuple[Term, ...]:
        """Of an access, dimension by dimension."""
        terms = []
        for at, stride in zip(index, strides(self.known, tensor), strict=True):
            tile = None if at.lanes is None else self.tiles[at.lanes]
            step = self._same(at) if tile is None else tile.step
            terms.append(Term(step + at.offset, stride, tile.lane if tile else None))
        return tuple(terms)

    def _same(self, at: Affine) -> Index:
        """What is the same in all lanes: the number of a block, or nothing."""
        return Num(0) if at.axis is None else self.tiles[at.axis].start // at.axis.block

    def guard(self, index: tuple[Affine, ...], guard: tuple[Axis, ...]) -> tuple[Live, ...]:
        """The masks of the axes of an access against which it is guarded."""
        masks = [self.live(at.lanes) for at in index if at.lanes is not None and at.lanes in guard]
        return tuple(mask for mask in masks if mask is not None)


def facing(value: Tile, shape: Shape) -> Tile:
    """The value with its lanes in this order."""
    return Turn(value) if len(value.shape) == 2 and value.shape == tuple(reversed(shape)) else value


def strides(known: Known, tensor: Tensor) -> tuple[Index, ...]:
    """Elements between neighbours along each dimension."""
    found: list[Index] = [Num(1)]
    for dim in reversed(tensor.shape[1:]):
        found.append(known.extent(dim) * found[-1])
    return tuple(reversed(found))
