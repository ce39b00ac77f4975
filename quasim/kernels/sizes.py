"""Sizes in launch extents, as plain data: how many blocks a launch has, and for which shapes a program was lowered."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from quasim.errors import ShapeError


class Size(msgspec.Struct, frozen=True):
    """``factor`` times the product of the named dimensions' extents, in units of ``per``, rounded up."""

    dims: tuple[str, ...] = ()
    factor: int = 1
    per: int = 1

    def of(self, extents: Mapping[str, int]) -> int:
        """Its value at a shape."""
        return -(-self.factor * math.prod(extents[name] for name in self.dims) // self.per)


class Tiles(msgspec.Struct, frozen=True):
    """How many tiles of ``block`` steps cover ``size − trim`` steps."""

    size: Size
    block: int
    trim: int = 0

    def of(self, extents: Mapping[str, int]) -> int:
        """Its value at a shape."""
        return -(-(self.size.of(extents) - self.trim) // self.block)


class Grid(msgspec.Struct, frozen=True):
    """How many blocks to launch: the product of the tile counts.

    Attributes:
        tiles: one count for each gridded axis.
        per_multiprocessor: for a persistent kernel, which loops over the tiles, the most blocks for each multiprocessor
            of the device; None: a block for each tile.
    """

    tiles: tuple[Tiles, ...]
    per_multiprocessor: int | None = None

    def blocks(self, extents: Mapping[str, int], multiprocessors: int) -> int:
        """Blocks of a launch on a device with so many multiprocessors."""
        count = math.prod(tiles.of(extents) for tiles in self.tiles)
        return count if self.per_multiprocessor is None else min(count, self.per_multiprocessor * multiprocessors)


class Requirement(msgspec.Struct, frozen=True):
    """What the code takes for granted: ``low ≤ size ≤ high``, and ``size`` is a multiple of ``multiple``."""

    size: Size
    low: int
    high: int
    multiple: int = 1

    def check(self, kernel: str, extents: Mapping[str, int]) -> None:
        """Raise ``ShapeError`` where it does not hold."""
        value = self.size.of(extents)
        if not self.low <= value <= self.high or value % self.multiple:
            wanted = f"a multiple of {self.multiple} in [{self.low}, {self.high}]"
            name = "·".join(self.size.dims)
            raise ShapeError(f"{kernel}: {name}={value}, and the code was made for {wanted}", "compile for this shape")
