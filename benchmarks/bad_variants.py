"""Triton sources of ``add`` that are right, or wrong in one of the four ways that a GPU worker must survive."""

from __future__ import annotations

from typing import Literal

from quasim.kernels.sizes import Grid, Size, Tiles
from quasim.targets.triton.source import ExtentParameter, PointerParameter, Source
from quasim.trial import Problem

Fault = Literal["none", "illegal address", "endless loop", "too much shared memory", "NaN"]

PROBLEM = Problem.of("add", rows=1024, cols=1024)

_SHELL = """import triton
import triton.language as tl


@triton.jit
def add(x_ptr, residual_ptr, y_ptr, n_rows, n_cols):
    at = tl.program_id(0) * {block} + tl.arange(0, {block})
    live = at < n_rows * n_cols
    y = tl.load(x_ptr + at, mask=live) + tl.load(residual_ptr + at, mask=live)
    {fault}
    tl.store(y_ptr + at, y, mask=live)
"""


def variant(fault: Fault, number: int) -> Source:
    """One of arbitrarily many variants with a fault; the same number gives the same source."""
    block = 256 << number % 3
    text = _SHELL.format(block=block, fault="\n    ".join(_lines(fault, number)))
    pointers = (PointerParameter(f"{tensor}_ptr", tensor, "float32") for tensor in ("x", "residual", "y"))
    extents = (ExtentParameter(f"n_{dim}", dim, 32, 1) for dim in ("rows", "cols"))
    grid = Grid((Tiles(Size(("rows", "cols")), block),))
    return Source(text, "add", (*pointers, *extents), warps=4, stages=2, grid=grid)


def _lines(fault: Fault, number: int) -> list[str]:
    if fault == "illegal address":
        # A terabyte past the arrays, where nothing is mapped.
        far = f"at.to(tl.int64) + {(1 << 38) + (number << 30)}"
        return [f"tl.store(y_ptr + ({far}), y)" if number % 2 else f"y += tl.load(x_ptr + ({far}))"]
    if fault == "endless loop":
        # Volatile, so that no compiler may conclude that nothing happens in it.
        return [f"while tl.load(x_ptr + {number}, volatile=True) > -1e30:", f"    y += {number + 1}.0"]
    if fault == "too much shared memory":
        side, depth = 128, 512  # the two operands of the product take half a megabyte
        tile = f"tl.arange(0, {side})[:, None] * {depth} + tl.arange(0, {depth})[None, :] + {number}"
        return [
            f"left = tl.load(x_ptr + ({tile}))",
            f"right = tl.trans(tl.load(residual_ptr + ({tile})))",
            'product = tl.dot(left, right, input_precision="tf32")',
            "y += tl.sum(product)",
        ]
    return (
        [f'y = tl.where(at == {number * 97}, float("nan"), y)'] if fault == "NaN" else [f"y += {number}.0 - {number}.0"]
    )
