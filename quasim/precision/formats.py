"""Facts about the number formats that plans are made of, and rounding to them in numpy."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import Literal

import ml_dtypes
import msgspec
import numpy as np
import numpy.typing as npt

from quasim.errors import UnknownNameError

FormatName = Literal["fp64", "fp32", "tf32", "bf16", "fp16", "e4m3", "e5m2", "int8", "int4"]

Floats = npt.NDArray[np.float32]


class Format(msgspec.Struct, frozen=True):
    """What a format can hold.

    Attributes:
        name: the name that plans use.
        bits: that an element takes in memory; tf32 takes 32, of which a tensor core reads 19.
        mantissa: stored bits of the fraction; 0 for integers.
        top: the largest exponent of a number that rounding to nearest never lifts above ``greatest``: a value below
            2^(top+1) fits.
        greatest: the largest finite value.
        least_normal: exponent of the least normal number; 0 for integers, whose step is constant.
        least: exponent of the least number above zero.
        multiplied_as: the format in which a tensor core of an H100 multiplies it; int4 is only stored.
    """

    name: FormatName
    bits: int
    mantissa: int
    top: int
    greatest: float
    least_normal: int
    least: int
    multiplied_as: FormatName

    @property
    def integer(self) -> bool:
        """Whether its numbers lie evenly spaced."""
        return self.mantissa == 0

    @property
    def unit(self) -> int:
        """Exponent of the largest relative error of rounding a normal number; -1 for integers, from 1 upwards."""
        return -(self.mantissa + 1)

    @property
    def floor(self) -> int:
        """Exponent of the largest absolute error of rounding a number below the normal range."""
        return self.least - 1

    def round(self, x: Floats) -> Floats:
        """The nearest numbers of the format, ties to even, as float32.

        Floats above ``greatest`` become infinite, or NaN in e4m3, which has no infinity; integers saturate, and turn
        NaN into 0: who rounds to integers looks for NaN beforehand.
        """
        return _ROUND[self.name](np.asarray(x, np.float32))


def _through(dtype: npt.DTypeLike) -> Callable[[Floats], Floats]:
    def rounded(x: Floats) -> Floats:
        with np.errstate(over="ignore", invalid="ignore"):
            return x.astype(dtype).astype(np.float32)

    return rounded


def _saturated(greatest: int) -> Callable[[Floats], Floats]:
    return lambda x: np.nan_to_num(np.clip(np.rint(x), -greatest, greatest), nan=0.0)


def _tf32(x: Floats) -> Floats:
    """Ten bits of mantissa; a carry runs into the exponent, as it should."""
    bits = x.view(np.uint32)
    rounded = (bits + np.uint32(0xFFF) + (bits >> np.uint32(13) & np.uint32(1))) & np.uint32(0xFFFFE000)
    return np.where(np.isfinite(x), rounded.view(np.float32), x)


_ROUND: dict[FormatName, Callable[[Floats], Floats]] = {
    "fp64": lambda x: x,
    "fp32": lambda x: x,
    "tf32": _tf32,
    "bf16": _through(ml_dtypes.bfloat16),
    "fp16": _through(np.float16),
    "e4m3": _through(ml_dtypes.float8_e4m3fn),
    "e5m2": _through(ml_dtypes.float8_e5m2),
    "int8": _saturated(127),
    "int4": _saturated(7),
}

_FP64_MAX = float(np.finfo(np.float64).max)
_FP32_MAX = float(np.finfo(np.float32).max)
_TF32_MAX = 2.0**127 * (2 - 2.0**-10)
_BF16_MAX = 2.0**127 * (2 - 2.0**-7)

FORMATS: dict[FormatName, Format] = {
    f.name: f
    for f in (
        Format("fp64", 64, 52, 1023, _FP64_MAX, -1022, -1074, "fp64"),
        Format("fp32", 32, 23, 127, _FP32_MAX, -126, -149, "fp32"),
        Format("tf32", 32, 10, 126, _TF32_MAX, -126, -136, "tf32"),
        Format("bf16", 16, 7, 126, _BF16_MAX, -126, -133, "bf16"),
        Format("fp16", 16, 10, 14, 65504.0, -14, -24, "fp16"),
        Format("e4m3", 8, 3, 7, 448.0, -6, -9, "e4m3"),
        Format("e5m2", 8, 2, 14, 57344.0, -14, -16, "e5m2"),
        # Integers saturate, so that even 127.9 "fits"; -128 and -8 are left unused to keep the formats symmetric.
        Format("int8", 8, 0, 6, 127.0, 0, 0, "int8"),
        Format("int4", 4, 0, 2, 7.0, 0, 0, "bf16"),
    )
}
"""Every format by name."""


def format_named(name: str) -> Format:
    """The format of that name.

    Raises:
        UnknownNameError: no such format.
    """
    for known, found in FORMATS.items():
        if known == name:
            return found
    near = get_close_matches(name, FORMATS, n=1)
    raise UnknownNameError(
        f"no format is called {name!r}", f"did you mean {near[0]!r}?" if near else f"one of {', '.join(FORMATS)}"
    )
