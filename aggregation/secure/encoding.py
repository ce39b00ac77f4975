"""Fixed point in Z_2^b: real vectors as ring elements whose sum cannot wrap around unnoticed."""

from __future__ import annotations

import math
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from aggregation.secure.masks import Ring
from quasim.errors import DataError
from quasim.space import Floats


class Encoding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the vectors of one round are written down, the same for all who take part.

    An entry is at most weight bound times clip, and the weight itself travels as a further entry; so the largest
    sum is ``participants * peak``, which must be at most 2^(ring_bits - 1) - 1.

    Attributes:
        ring_bits: b; 32 or 64.
        scale_bits: f; values are multiples of 2^-f.
        clip: C > 0; entries are clipped to [-C, C].
        weight_bound: W > 0; the largest weight that a participant may give its vector.
        participants: n; the most vectors that may be added.
    """

    ring_bits: Literal[32, 64]
    scale_bits: int
    clip: float
    weight_bound: float
    participants: int

    def __post_init__(self) -> None:
        if not (_positive(self.clip) and _positive(self.weight_bound)):
            raise DataError(f"clip {self.clip}, weight bound {self.weight_bound}", "use positive, finite numbers")
        if not 0 <= self.scale_bits < self.ring_bits or self.participants < 1:
            raise DataError(
                f"{self.scale_bits} scale bits in {self.ring_bits}, {self.participants} participants",
                "use 0 <= scale bits < ring bits and at least one participant",
            )
        if not math.isfinite(self._scaled_peak()) or self.participants * self.peak > self._limit():
            raise DataError(
                f"{self.participants} vectors of up to {self._scaled_peak():g} can overflow {self.ring_bits} bits",
                "use fewer scale bits, smaller bounds, fewer participants or the wider ring",
            )

    @property
    def peak(self) -> int:
        """The largest magnitude that one participant's entry or weight can have, in units of 2^-f."""
        return round(self._scaled_peak())

    def encode(self, values: Floats, weight: float) -> Ring:
        """Weighted values, rounded half to even, and the weight.

        Args:
            values: float64, shape (d,); clipped to [-C, C].
            weight: 0 <= weight <= W.

        Returns:
            Ring elements, shape (d + 1,); negative numbers in two's complement.

        Raises:
            DataError: NaN, infinities, a weight out of bounds.
        """
        if not 0 <= weight <= self.weight_bound:
            raise DataError(f"weight {weight}", f"use one in [0, {self.weight_bound}]")
        if not np.isfinite(values).all():
            raise DataError(
                "a vector holds NaN or infinity", "leave such entries out, or set them to 0, before encoding"
            )
        scaled = np.empty(len(values) + 1)
        np.clip(values, -self.clip, self.clip, out=scaled[:-1])
        scaled[-1] = 1.0
        scaled *= weight
        scaled *= 2.0**self.scale_bits
        np.rint(scaled, out=scaled)
        return scaled.astype(self._signed()).view(self._unsigned())

    def decode(self, total: Ring) -> tuple[Floats, float]:
        """The weighted sum, float64 of shape (d,), and the sum of the weights, from a sum of encoded vectors.

        Raises:
            DataError: another ring, no entries, or a sum that ``participants`` honest vectors cannot have.
        """
        if total.dtype != self._unsigned() or total.ndim != 1 or not total.size:
            raise DataError(
                f"a sum of shape {total.shape} and type {total.dtype}", f"sum vectors of {self._unsigned()}"
            )
        signed = total.view(self._signed())
        bound = self.participants * self.peak
        if signed.min() < -bound or signed.max() > bound or signed[-1] < 0:
            raise DataError("a sum is out of range", "abandon the round: someone did not encode as agreed")
        decoded = signed / 2.0**self.scale_bits
        return decoded[:-1], float(decoded[-1])

    def _scaled_peak(self) -> float:
        # The same float64 operations as in encode, which are monotone; weights count as entries of 1.
        return max(self.clip, 1.0) * self.weight_bound * 2.0**self.scale_bits

    def _limit(self) -> int:
        return int(2 ** (self.ring_bits - 1) - 1)

    def _signed(self) -> npt.DTypeLike:
        return np.int32 if self.ring_bits == 32 else np.int64

    def _unsigned(self) -> npt.DTypeLike:
        return np.uint32 if self.ring_bits == 32 else np.uint64


def _positive(number: float) -> bool:
    return math.isfinite(number) and number > 0
