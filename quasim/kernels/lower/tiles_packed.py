"""Kernels that combine sections of an array (gates on a state), read and written in whole runs of neighbours.

Where the axis inside of a dimension of 2 is short, the two sections alternate every few elements, and a load of one of
them would use only a part of what memory moves. So a run is read at once and taken apart in registers, and results are
woven together again before they are written.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from quasim.errors import SpaceError
from quasim.kernels.index import Index, Num, Sym
from quasim.kernels.ir import Affine, Axis, Kernel, Load, Store, Tensor, extents
from quasim.kernels.lower.pattern import LoweringError, unsupported
from quasim.kernels.lower.tiles_body import Translator
from quasim.kernels.lower.tiles_grid import TILE, axis_count, axis_tiles, decode, over_tiles, program
from quasim.kernels.lower.tiles_known import Known, power_of_two
from quasim.kernels.lower.tiles_pointwise import accesses, can_flatten, hints
from quasim.kernels.lower.tiles_scene import strides
from quasim.kernels.lowered import Compare
from quasim.kernels.tiled import (
    Bind,
    Fetch,
    Hint,
    Lanes,
    Let,
    Live,
    Mask,
    Node,
    Part,
    Place,
    PointerTo,
    Put,
    Reg,
    Shape,
    Term,
    Tile,
    TileProgram,
    Weave,
)
from quasim.trial import Genome

_RUN = "run"


@dataclass(frozen=True, slots=True)
class Cut:
    """Where runs begin: ``before`` is walked step by step, ``at`` in tiles, and a run holds all of ``within``."""

    before: tuple[Axis, ...]
    at: Axis
    tile: int
    within: tuple[Axis, ...]


def can_pack(kernel: Kernel, shape: Mapping[str, int]) -> bool:
    """Whether every access goes by all axes in order, or by none, and what may lie within a run is a power of two."""
    if not can_flatten(kernel):
        return False
    powers = all(shape[axis.dim.name].bit_count() == 1 for axis in kernel.grid[1:])
    orders = {tuple(at.axis for at in access.index if at.axis is not None) for access in accesses(kernel)}
    return powers and orders <= {(), kernel.grid}


def lower_packed(kernel: Kernel, genome: Genome, shape: Mapping[str, int]) -> TileProgram:
    """Runs with ``block`` elements of each section.

    Raises:
        LoweringError: the kernel writes some sections of a run and not others.
        SpaceError: the genome lacks a gene, or the shape has no runs that are powers of two.
    """
    if not can_pack(kernel, shape):
        raise SpaceError(f"{kernel.name}: no runs of powers of two at {dict(shape)}", "take layout=flat")
    cut = _cut(kernel, shape, genome.integer("block"))
    known = Known(kernel, shape, tuple(axis.dim for axis in cut.within))
    scene = _RunScene(known, cut, hints(genome))
    counts = (
        *((f"step_{axis.name}", known.steps(axis)) for axis in cut.before),
        (f"tile_{cut.at.name}", axis_count(known, cut.at, cut.tile)),
    )
    start = Let(scene.start.name, Sym(f"tile_{cut.at.name}") * cut.tile)
    body = (*decode(TILE, counts), start, *scene.loads(), *Translator(scene).run(kernel.body))
    scene.check_all_written()
    total: Index = Num(1)
    for _, count in counts:
        total = total * count
    persist = genome.integer("persist")
    parameters = tuple(PointerTo(tensor) for tensor in kernel.tensors)
    tiles = (*(axis_tiles(axis, 1) for axis in cut.before), axis_tiles(cut.at, cut.tile))
    return program(known, genome, parameters, tiles, persist, over_tiles(total, persist, body))


def _cut(kernel: Kernel, shape: Mapping[str, int], block: int) -> Cut:
    """The longest runs that have no more than ``block`` elements of a section."""
    axes, within = kernel.grid, 1
    at = len(axes) - 1
    while at > 0 and within * shape[axes[at].dim.name] <= block:
        within *= shape[axes[at].dim.name]
        at -= 1
    # A run of one element of each section would be no tile at all.
    tile = min(block // within, power_of_two(shape[axes[at].dim.name]))
    return Cut(axes[:at], axes[at], max(tile, 2 if within == 1 else 1), axes[at + 1 :])


@dataclass(frozen=True, slots=True)
class _Run:
    """A run of a tensor: its leading positions, and the box that it is.

    Attributes:
        lead: index along the dimensions before the run's.
        box: sizes of the run's dimensions, without those of 1.
        bits: which of these are sections.
    """

    tensor: Tensor
    lead: tuple[Affine, ...]
    box: tuple[int, ...]
    bits: tuple[int, ...]

    @property
    def name(self) -> str:
        """Tells runs apart."""
        return "_".join([self.tensor.name, *(str(at.offset) for at in self.lead if at.axis is None)])

    def regs(self) -> tuple[Reg, ...]:
        """A tile for each section of the run."""
        parts = 2 ** len(self.bits)
        return tuple(Reg(f"{self.name}_s{part}", (_RUN,), self.tensor.dtype) for part in range(parts))


class _RunScene:
    """Values are sections of runs; they all have one shape."""

    def __init__(self, known: Known, cut: Cut, hint: tuple[Hint, Hint]) -> None:
        self.known, self.cut = known, cut
        self._loads, self._stores = hint
        self.start = Sym(f"start_{cut.at.name}")
        self.written: dict[_Run, dict[int, Tile]] = {}
        self.runs: dict[_Run, list[Load | Store]] = {}
        for access in accesses(known.kernel):
            if any(at.axis is not None for at in access.index):
                self.runs.setdefault(self._run(access)[0], []).append(access)

    def _run(self, access: Load | Store) -> tuple[_Run, int]:
        """The run that an access belongs to, and the number of its section."""
        at = [place.axis for place in access.index].index(self.cut.at)
        sizes = (self.cut.tile, *extents(access.tensor, self.known.shape)[at + 1 :])
        kept = [i for i, size in enumerate(sizes) if size > 1]
        bits = tuple(number for number, i in enumerate(kept) if access.index[at + i].axis is None)
        if any(sizes[kept[bit]] != 2 for bit in bits):
            raise unsupported(self.known.kernel, f"sections of {access.tensor.name} that are not two")
        section = 0
        for bit in bits:
            section = section * 2 + access.index[at + kept[bit]].offset
        return _Run(access.tensor, access.index[:at], tuple(sizes[i] for i in kept), bits), section

    def loads(self) -> Iterator[Node]:
        """Read every run, and take it apart."""
        for run, members in self.runs.items():
            yield from self._place(run, members)
            if isinstance(members[0], Load):
                fetch = Fetch(run.tensor, self._offset(run), self._live(run, members), (_RUN,), self._loads)
                regs = run.regs()
                yield Part(regs, fetch, run.box, run.bits) if run.bits else Bind(regs[0], fetch)

    def _place(self, run: _Run, members: list[Load | Store]) -> Iterator[Node]:
        size = math.prod(run.box)
        yield Place(f"at_{run.name}", Lanes(_RUN, size), Num(0))
        for live in self._live(run, members):
            left = (self.known.steps(self.cut.at) - self.start) * (size // self.cut.tile)
            yield Mask(live, (Compare(Sym(f"at_{run.name}"), "<", left),))

    def _live(self, run: _Run, members: list[Load | Store]) -> tuple[Live, ...]:
        """A run is masked where all of its sections are guarded."""
        if self.known.fills(self.cut.at, self.cut.tile):
            return ()
        guarded = all(self.cut.at in member.guard for member in members)
        return (Live(f"live_{run.name}", _RUN),) if guarded else ()

    def _offset(self, run: _Run) -> tuple[Term, ...]:
        found = strides(self.known, run.tensor)
        lead = [
            Term(Num(at.offset) if at.axis is None else Sym(f"step_{at.axis.name}"), stride, None)
            for at, stride in zip(run.lead, found, strict=False)
        ]
        tile = Term(self.start, found[len(run.lead)], None)
        return (*lead, tile, Term(Sym(f"at_{run.name}"), Num(1), _RUN))

    @property
    def order(self) -> Shape:
        return (_RUN,)

    def lanes(self, axis: Axis) -> Lanes:
        raise LoweringError(f"{self.known.kernel.name} fills axis {axis.name} with a number", "use the number itself")

    def live(self, axis: Axis) -> Live | None:
        return None

    def steps(self, axis: Axis) -> Index:
        return self.known.steps(axis)

    def fetch(self, load: Load) -> Tile:
        if all(at.axis is None for at in load.index):
            found = strides(self.known, load.tensor)
            terms = (Term(Num(at.offset), stride, None) for at, stride in zip(load.index, found, strict=True))
            return Fetch(load.tensor, tuple(terms), (), ())
        run, section = self._run(load)
        return run.regs()[section]

    def put(self, store: Store, value: Tile) -> tuple[Node, ...]:
        """Nothing until all sections of the run are there."""
        run, section = self._run(store)
        sections = self.written.setdefault(run, {})
        reg = Reg(f"{run.name}_w{section}", (_RUN,), value.dtype)
        sections[section] = reg
        nodes: tuple[Node, ...] = (Bind(reg, value),)
        if len(sections) == 2 ** len(run.bits):
            parts = tuple(sections[number] for number in sorted(sections))
            woven = Weave(parts, run.box, run.bits, (_RUN,)) if run.bits else parts[0]
            live = self._live(run, self.runs[run])
            nodes += (Put(run.tensor, self._offset(run), live, woven, (_RUN,), self._stores),)
        return nodes

    def check_all_written(self) -> None:
        """Raise ``LoweringError`` where a run has sections that nobody writes."""
        for run, sections in self.written.items():
            if len(sections) != 2 ** len(run.bits):
                raise unsupported(self.known.kernel, f"sections of {run.tensor.name} that are not written")
