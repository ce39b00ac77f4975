"""The genes of a contraction's schedule, and the loop variables that its parts share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from quasim.errors import SpaceError
from quasim.kernels.index import Index, Sym, least
from quasim.kernels.ir import Axis, Load, Store
from quasim.kernels.lower.parts import extent, flag, place
from quasim.kernels.lower.pattern import Contraction
from quasim.kernels.lowered import Compare, For, Let, Node, Scope
from quasim.trial import Genome

COL_BLOCK, K_BLOCK, ROW_BLOCK = Sym("jc"), Sym("pc"), Sym("ic")
"""Where the blocks begin."""
COL, ROW = Sym("j"), Sym("i")
"""Where the register tile begins."""
COL_TILE, ROW_TILE = Sym("tile_j"), Sym("tile_i")
"""Its number within the block, which is the number of its panel."""
STEP = Sym("p")
"""Step of k within its block."""
DEPTH = Sym("depth")
"""Steps of the k block, which the ``Dot`` sums over."""
BATCH = Sym("batch")
"""Which of the independent products."""
LEFT, RIGHT = "left_panels", "right_panels"
"""Names of the packed operands."""
SUMS = "sums"
"""Name of the sums that wait for the next k block, where the output cannot hold them."""


@dataclass(frozen=True, slots=True)
class Blocking:
    """A contraction and the genes of its schedule.

    Attributes:
        mr: rows of the register tile.
        nv: vectors in a row of it.
        lanes: floats in a vector.
        ku: steps of k written out in the innermost loop.
        kc, mc, nc: block of k, rows and columns.
        pack_a, pack_b: copy a block of the left, right operand into panels; otherwise it is read in place.
        by_batch: deal whole products out to threads, instead of the row blocks of one product after the other.
    """

    parts: Contraction
    mr: int
    nv: int
    lanes: int
    ku: int
    kc: int
    mc: int
    nc: int
    pack_a: bool
    pack_b: bool
    by_batch: bool
    threads: int

    @classmethod
    def of(cls, parts: Contraction, genome: Genome) -> Blocking:
        """The schedule of a genome.

        Raises:
            SpaceError: a gene is missing, or the right operand is to be read in place and has no rows to read.
        """
        mr, nv, width, ku, kc, mc, nc = (genome.integer(n) for n in ("mr", "nv", "lanes", "ku", "kc", "mc", "nc"))
        packs = flag(genome, "pack_a"), flag(genome, "pack_b")
        if not packs[1] and not parts.right_rows:
            raise SpaceError("a right operand whose columns are apart cannot be read in place", "choose pack_b=True")
        by_batch = parts.batch is not None and flag(genome, "by_batch")
        return cls(parts, mr, nv, width, ku, kc, mc, nc, *packs, by_batch, genome.integer("threads"))

    @property
    def nr(self) -> int:
        """Columns of the register tile."""
        return self.nv * self.lanes

    @property
    def depth(self) -> Index:
        """Live steps of a k block."""
        return least(self.kc, extent(self.parts.over) - K_BLOCK)

    @property
    def scope(self) -> Scope:
        """Who sees what belongs to a whole product."""
        return Scope.THREAD if self.by_batch else Scope.SHARED

    @property
    def sums_wait_apart(self) -> bool:
        """Whether the output is too narrow for partial sums."""
        return self.parts.store.tensor.dtype != "float32"

    def place(self, access: Load | Store, at: Mapping[Axis, Index]) -> tuple[Index, ...]:
        """The element of an access in this product, from positions on its other axes."""
        return place(access, {**at, self.parts.batch: BATCH} if self.parts.batch else at)

    def cols(self, body: tuple[Node, ...], shared: bool = False) -> For:
        """The loop over the column tiles of a block."""
        tile = Let(COL_TILE.name, (COL - COL_BLOCK) // self.nr)
        return For(COL.name, COL_BLOCK, Sym("col_end"), self.nr, (tile, *body), shared)

    def rows(self, body: tuple[Node, ...]) -> For:
        """The loop over the row tiles of a block."""
        tile = Let(ROW_TILE.name, (ROW - ROW_BLOCK) // self.mr)
        return For(ROW.name, ROW_BLOCK, Sym("row_end"), self.mr, (tile, *body))


def whole(guard: tuple[Axis, ...], axis: Axis, start: Index, tile: int) -> tuple[Compare, ...]:
    """What must hold for a tile to have no lanes that a guard switches off: nothing, if the guard lacks the axis."""
    return (Compare(start + tile, "<=", extent(axis)),) if axis in guard else ()
