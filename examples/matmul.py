"""A user's own kernel, tuned as it is: the matrix product of Triton's tutorial, of 16-bit operands.

Its 64 configurations take Triton's own tuner a while, since it compiles one after the other.

``quasim tune --foreign examples/matmul.py:KERNEL --budget 40``
"""

import triton
import triton.language as tl

from quasim.targets.triton.foreign import ForeignKernel, In, Out


@triton.autotune(
    configs=[
        triton.Config({"BLOCK_M": m, "BLOCK_N": n, "BLOCK_K": k, "GROUP": 8}, num_warps=warps, num_stages=stages)
        for m in (64, 128)
        for n in (128, 256)
        for k in (32, 64)
        for warps in (4, 8)
        for stages in (2, 3, 4, 5)
    ],
    key=["m", "n", "k"],
)
@triton.jit
def matmul(a, b, c, m, n, k, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP: tl.constexpr):
    """A tile of C for each program; tiles are visited in groups of rows, which share what they read of B."""
    tiles_m, tiles_n = tl.cdiv(m, BLOCK_M), tl.cdiv(n, BLOCK_N)
    tile = tl.program_id(0)
    first = tile // (GROUP * tiles_n) * GROUP
    rows_in_group = min(tiles_m - first, GROUP)
    row = first + tile % (GROUP * tiles_n) % rows_in_group
    col = tile % (GROUP * tiles_n) // rows_in_group
    at_m = row * BLOCK_M + tl.arange(0, BLOCK_M)
    at_n = col * BLOCK_N + tl.arange(0, BLOCK_N)
    at_k = tl.arange(0, BLOCK_K)
    a_at = a + (at_m[:, None] % m) * k + at_k[None, :]
    b_at = b + at_k[:, None] * n + (at_n[None, :] % n)
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for start in range(0, k, BLOCK_K):
        left = tl.load(a_at, mask=at_k[None, :] < k - start, other=0.0)
        right = tl.load(b_at, mask=at_k[:, None] < k - start, other=0.0)
        total = tl.dot(left, right, total)
        a_at += BLOCK_K
        b_at += BLOCK_K * n
    inside = (at_m[:, None] < m) & (at_n[None, :] < n)
    tl.store(c + at_m[:, None] * n + at_n[None, :], total.to(c.dtype.element_ty), mask=inside)


KERNEL = ForeignKernel(
    function=matmul,
    shape={"m": 4096, "n": 4096, "k": 4096},
    arguments={
        "a": In(("m", "k"), "float16"),
        "b": In(("k", "n"), "float16"),
        "c": Out(("m", "n"), "float16"),
        "m": "m",
        "n": "n",
        "k": "k",
    },
    grid=lambda meta: (triton.cdiv(meta["m"], meta["BLOCK_M"]) * triton.cdiv(meta["n"], meta["BLOCK_N"]),),
    reference=lambda arrays: {"c": arrays["a"] @ arrays["b"]},
)
