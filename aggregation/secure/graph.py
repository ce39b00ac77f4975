"""Who is whose neighbour once everyone has a place: slots, whom a client is shown, bits, and what chance allows."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from aggregation.secure.ring import offsets
from quasim.errors import DataError

Bits = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]

# Up to so many participants everyone is shown all; above, its neighbours.
SHOWN_TO_ALL = 300
# How improbable an honest arrangement must be before a client calls it a lie.
_BITS = 40


class Graph:
    """The neighbours of each of ``count`` participants in ring order.

    A neighbour's *slot* is its place in a participant's list. Lists are symmetric: who has slot s in mine has me in
    slot degree - 1 - s of its own.

    Attributes:
        degree: neighbours of each: k, or all others where there are fewer.
    """

    def __init__(self, count: int, k: int) -> None:
        self.count = count
        self.degree = min(k, count - 1)
        self._steps = np.array(offsets(count, self.degree))
        self._mirror = np.arange(self.degree)[::-1]

    def neighbours(self, index: int) -> npt.NDArray[np.intp]:
        """Ring indices by slot."""
        return (index + self._steps) % self.count

    def addressed_to(self, index: int, rows: Bytes) -> Bytes:
        """What each neighbour has for a participant, by slot.

        Args:
            rows: shape (count, degree, ...): what each participant has for each of its slots.
        """
        return rows[self.neighbours(index), self._mirror]

    def shown(self, index: int) -> tuple[tuple[int, int], ...]:
        """Ranges of ring indices [start, stop) that a participant is shown: all, or itself amid its neighbours."""
        if self.count <= SHOWN_TO_ALL or self.degree == self.count - 1:
            return ((0, self.count),)
        start, stop = index - self.degree // 2, index + self.degree // 2 + 1
        if start < 0:
            return ((0, stop), (start + self.count, self.count))
        if stop > self.count:
            return ((0, stop - self.count), (start, self.count))
        return ((start, stop),)


def pack(bits: Bits) -> bytes:
    """Eight a byte, the first in the lowest bit."""
    return np.packbits(bits, bitorder="little").tobytes()


def unpack(data: bytes, count: int) -> Bits:
    """The bits that ``pack`` packed.

    Raises:
        DataError: another number of them.
    """
    if len(data) != (count + 7) // 8:
        raise DataError(f"{len(data)} bytes of bits for {count}", "pack one bit for each")
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little").view(np.bool_)
    if bits[count:].any():
        raise DataError(f"bits are set beyond the {count}th", "leave the last byte's rest zero")
    return bits[:count]


def fraction(position: bytes) -> float:
    """A position as a part of the whole circle, in [0, 1)."""
    return int.from_bytes(position[:6], "big") / 2**48


def is_plausible(inside: int, total: int, arc: float) -> bool:
    """Whether so many of ``total`` uniform points can lie in an arc of this part of the circle.

    By the Chernoff bound exp(-total * KL(inside / total || arc)) on either tail of the binomial distribution; an
    honest arrangement fails with a chance of at most 2^-40.
    """
    share = inside / total
    arc = min(max(arc, 2.0**-48), 1 - 2.0**-48)
    divergence = sum(p * math.log(p / q) for p, q in ((share, arc), (1 - share, 1 - arc)) if p > 0)
    return total * divergence <= _BITS * math.log(2)
