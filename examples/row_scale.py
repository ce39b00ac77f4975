"""A user's own kernel, tuned as it is: RMSNorm of rows with a weight for each column.

``quasim tune --foreign examples/row_scale.py:KERNEL --budget 40`` finds its best configuration on this machine's GPU.
Everything above ``KERNEL`` is what such a file holds anyway.
"""

import numpy as np
import triton
import triton.language as tl

from quasim.targets.triton.foreign import ForeignKernel, In, Out

EPSILON = 1e-6


@triton.autotune(
    configs=[
        triton.Config({"BLOCK": block}, num_warps=warps, num_stages=stages)
        for block in (1024, 512, 2048, 4096)
        for warps in (4, 1, 2, 8)
        for stages in (1, 2, 3, 4)
    ],
    key=["cols"],
)
@triton.jit
def row_scale(x, weight, y, stride, cols, epsilon, BLOCK: tl.constexpr):
    """One program a row: a pass for the mean square, a pass to scale."""
    row = tl.program_id(0).to(tl.int64)
    lanes = tl.arange(0, BLOCK)
    square = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, cols, BLOCK):
        at = start + lanes
        value = tl.load(x + row * stride + at, mask=at < cols, other=0.0)
        square += value * value
    scale = tl.rsqrt(tl.sum(square) / cols + epsilon)
    for start in range(0, cols, BLOCK):
        at = start + lanes
        value = tl.load(x + row * stride + at, mask=at < cols, other=0.0)
        factor = tl.load(weight + at, mask=at < cols, other=0.0)
        tl.store(y + row * stride + at, value * scale * factor, mask=at < cols)


def reference(arrays):
    """What the kernel should compute, in float64."""
    x, weight = arrays["x"], arrays["weight"]
    return {"y": x / np.sqrt((x * x).mean(axis=1, keepdims=True) + EPSILON) * weight}


KERNEL = ForeignKernel(
    function=row_scale,
    shape={"rows": 16384, "cols": 4096},
    arguments={
        "x": In(("rows", "cols")),
        "weight": In(("cols",)),
        "y": Out(("rows", "cols")),
        "stride": "cols",
        "cols": "cols",
        "epsilon": EPSILON,
    },
    grid=lambda meta: (meta["rows"],),
    reference=reference,
)
