"""A precision plan: in which formats a matrix product of float32 tensors is stored, multiplied and summed.

A plan assigns a format to each zone: *outer* (inputs and output), *inner* (the words that are multiplied) and
*boundary* (the sums that leave the tensor core). Three facts make a split plan work, and are kept here so that kernels,
guard and emulation use the same numbers:

- Words. A scaled float32 x is ``hi = fp16(x)``, ``lo = fp16((x - hi) * 2^shift)``. The subtraction is exact, and so is
  the scaling of the remainder. What is lost is the rounding of ``lo``: at most 2^-23 |x|, nothing for three values in
  four of the significand, as long as |x| >= 2^``small``; below, at most 2^``floor``.
- Products. The pairs (1,0), (0,1), (0,0) are taken; lo*lo is dropped, at most 2^-22 |a||b|.
- Scales. Rows of A and columns of B are scaled by powers of two so that their largest magnitude lies in
  [2^``top``, 2^(``top``+1)). For fp16 that is [2^14, 2^15): one binade below the largest, so that rounding up cannot
  overflow, and products of at most 2^30, of which a float32 accumulator holds 2^97.
"""

from __future__ import annotations

from difflib import get_close_matches
from itertools import product
from typing import Literal

import msgspec

from quasim.errors import ConfigError, UnknownNameError
from quasim.precision.formats import FORMATS, Format, FormatName

Scaling = Literal["none", "row_col", "row_col_k"]
Pair = tuple[int, int]

GUARD_UNIT = -24
"""Exponent of the error by underflow, relative to |A||B|, that the guard allows a plan of two or more words: half a
unit in the last place of float32."""

_INTEGER_RANGE = -6
"""A 64th of an integer's step: all but one or two in a hundred of normal data are larger, even in int4."""


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How one matrix product is carried out.

    Attributes:
        name: the plan's name, a gene.
        outer: format of inputs and output in memory.
        inner: format of the words.
        boundary: format in which partial sums are added outside the tensor core; ``int32`` sums of int8 are exact and
            become fp32 when they are scaled back; fp64 sums are rounded once, at the end.
        words: that an operand is split into, 1 to 3.
        shift: word w is stored times 2^(shift*w); 0 lets all products share one accumulator, 11 keeps fp16 remainders
            out of the subnormals.
        pairs: products of (word of A, word of B) that are taken, in the order of summation: smallest first.
        scaling: ``none``; ``row_col``: powers of two by row of A and column of B; ``row_col_k``: A's columns and B's
            rows also, by powers of two that cancel.
        block: elements along K that share a scale; 0: all of them. A block's sum is promoted when it is scaled back.
        promote: k-blocks between promotions of the tensor core's sum to ``boundary``; 0: once, at the end.
        dot: the precision that Triton's own ``tl.dot`` is asked for, which then splits in registers; empty: the plan's
            words are made by a split pass, or the inputs are converted as they are.
        verified: the relative Frobenius error beyond which a finished product is refused (``quasim.precision.probe``);
            0: it is not looked at.

    Raises:
        ConfigError: a combination that means nothing.
    """

    name: str
    outer: FormatName = "fp32"
    inner: FormatName
    boundary: Literal["fp32", "fp64"] = "fp32"
    words: int = 1
    shift: int = 0
    pairs: tuple[Pair, ...] = ((0, 0),)
    scaling: Scaling = "none"
    block: int = 0
    promote: int = 0
    dot: Literal["", "ieee", "tf32", "tf32x3", "bf16x6"] = ""
    verified: float = 0.0

    def __post_init__(self) -> None:
        words = set(product(range(self.words), repeat=2))
        _demand(1 <= self.words <= 3, f"plan {self.name!r} has {self.words} words", "give 1, 2 or 3")
        _demand(
            set(self.pairs) <= words, f"plan {self.name!r} multiplies words that it has not", "name pairs of its words"
        )
        _demand(
            len(set(self.pairs)) == len(self.pairs), f"plan {self.name!r} takes a product twice", "name a pair once"
        )
        _demand(
            self.pairs[-1:] == ((0, 0),),
            f"plan {self.name!r} does not end with pair (0, 0)",
            "order pairs smallest first",
        )
        _demand(
            min(self.shift, self.block, self.promote, self.verified) >= 0,
            f"plan {self.name!r} has a negative number",
            "give 0 or more",
        )
        _demand(
            not self.block or self.scaling == "row_col",
            f"plan {self.name!r}: a block has a row's scale",
            "scale by row_col",
        )
        _demand(not (self.block and self.promote), f"plan {self.name!r} promotes twice", "blocks promote by themselves")
        _demand(
            not (self.dot and self.scaled), f"plan {self.name!r}: tl.dot scales nothing", "leave dot or scaling out"
        )

    @property
    def format(self) -> Format:
        """Facts of the words' format."""
        return FORMATS[self.inner]

    @property
    def scaled(self) -> bool:
        """Whether a pass over the inputs must find scales."""
        return self.scaling != "none"

    @property
    def guarded(self) -> bool:
        """Whether a guard looks at the inputs beforehand; words that are quantised err on every element anyway."""
        return self.scaled and not self.block and not self.format.integer

    @property
    def unit(self) -> int:
        """Exponent of the relative error to which words represent an element of at least 2^``small``."""
        return max(GUARD_UNIT, self.words * self.format.unit - 2 * (self.words - 1))

    @property
    def floor(self) -> int:
        """Exponent of the absolute error, in scaled units, of an element below 2^``small``."""
        return self.format.floor - self.shift * (self.words - 1)

    @property
    def small(self) -> int:
        """A scaled element below 2^small other than zero may lose more than its relative error.

        Integers have no relative error; there it is what rounds to zero by far.
        """
        return _INTEGER_RANGE if self.format.integer else self.floor - self.unit

    @property
    def large(self) -> int:
        """A scaled element from 2^large on counts as large for the guard (``quasim.precision.guard``).

        The product of two such elements outweighs, times 2^``unit``, what one small element can add to the error,
        2^(floor+top+1). Integers err everywhere, so that no count can prove them: there the guard is a screen against
        lost range, and the sampled check decides.
        """
        if self.format.integer:
            return _INTEGER_RANGE
        return -((-(self.floor + self.format.top + 1 - self.unit)) // 2)


def _demand(holds: bool, what: str, do: str) -> None:
    if not holds:
        raise ConfigError(what, do)


_AIM = 1e-6
"""Relative Frobenius error that two words promise on whatever data, as float32 itself shows at K = 4096."""

_VERIFIED = _AIM / 2
"""Above the 4e-7 at most that two words show on benign data, cut sums of one sign included. Half of the aim is left
for the spread of the estimate: over errors of full rank it is sqrt(1/2N) of it, a hundredth at N = 4096."""

_TWO: tuple[Pair, ...] = ((1, 0), (0, 1), (0, 0))
_THREE: tuple[Pair, ...] = ((2, 0), (1, 1), (0, 2), *_TWO)

_WORDS = Plan(
    name="fp16x2",
    inner="fp16",
    words=2,
    shift=11,
    pairs=_TWO,
    scaling="row_col",
    promote=1,
    verified=_VERIFIED,
)

PLANS: dict[str, Plan] = {
    plan.name: plan
    for plan in (
        Plan(name="fp64", inner="fp64", boundary="fp64"),
        Plan(name="fp32", inner="fp32", dot="ieee"),
        Plan(name="bf16x6", inner="bf16", words=3, pairs=_THREE, promote=1, dot="bf16x6"),
        Plan(name="tf32x3", inner="tf32", words=2, pairs=_TWO, promote=1, dot="tf32x3"),
        msgspec.structs.replace(_WORDS, name="fp16x2k", scaling="row_col_k"),
        _WORDS,
        msgspec.structs.replace(_WORDS, name="fp16x2f", shift=0),
        Plan(name="tf32", inner="tf32", dot="tf32"),
        Plan(name="fp16", inner="fp16", scaling="row_col"),
        Plan(name="bf16", inner="bf16"),
        Plan(name="int8", inner="int8", scaling="row_col", block=128),
        Plan(name="int8r", inner="int8", scaling="row_col"),
        Plan(name="e4m3", inner="e4m3", scaling="row_col", block=128),
        Plan(name="e4m3r", inner="e4m3", scaling="row_col"),
        Plan(name="e5m2", inner="e5m2", scaling="row_col", block=128),
        Plan(name="int4", inner="int4", scaling="row_col", block=32),
    )
}
"""Every plan by name, from the safest down.

``fp16x2f`` (fused) stores remainders unscaled: all three products share one accumulator, at the price of eleven binades
of range. Blocks are the k-blocks that a kernel promotes: 128 is a block of fp8's and int8's tensor-core tiles; int4
takes groups of 32, as weights are stored.
"""

SAFE = "fp64"
"""The plan that answers where words may not: products of float32 are exact in float64, and so nearly are their sums."""


def plan_named(name: str) -> Plan:
    """The plan of that name.

    Raises:
        UnknownNameError: no such plan.
    """
    if name in PLANS:
        return PLANS[name]
    near = get_close_matches(name, PLANS, n=1)
    raise UnknownNameError(
        f"no plan is called {name!r}", f"did you mean {near[0]!r}?" if near else f"one of {', '.join(PLANS)}"
    )
