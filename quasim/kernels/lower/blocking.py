"""The genes of a contraction's schedule, and the loop variables that its parts share."""

from __future__ import annotations

from dataclasses import dataclass

from quasim.kernels.index import Index, Sym, least
from quasim.kernels.ir import Axis
from quasim.kernels.lower.parts import extent, flag
from quasim.kernels.lower.pattern import Contraction
from quasim.kernels.lowered import Compare, For, Let, Node
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
LEFT, RIGHT = "left_panels", "right_panels"
"""Names of the packed operands."""


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
    threads: int

    @classmethod
    def of(cls, parts: Contraction, genome: Genome) -> Blocking:
        """The schedule of a genome.

        Raises:
            SpaceError: a gene is missing.
        """
        mr, nv, width, ku, kc, mc, nc = (genome.integer(n) for n in ("mr", "nv", "lanes", "ku", "kc", "mc", "nc"))
        packs = flag(genome, "pack_a"), flag(genome, "pack_b")
        return cls(parts, mr, nv, width, ku, kc, mc, nc, *packs, genome.integer("threads"))

    @property
    def nr(self) -> int:
        """Columns of the register tile."""
        return self.nv * self.lanes

    @property
    def depth(self) -> Index:
        """Live steps of a k block."""
        return least(self.kc, extent(self.parts.over) - K_BLOCK)

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
