"""Kernels that even out two operands along the sum: A's columns times 2^d, B's rows times 2^-d, which cancels.

Arithmetic is that of ``quasim.precision.split.balance``, exponent for exponent.
"""

from __future__ import annotations

from dataclasses import replace

from quasim.kernels.ir import Affine, Axis, Const, Dim, Kernel, Load, Map, Reduce, Role, Set, Store, Tensor, Value, Var
from quasim.precision.split import ZERO


def along_tensor(name: str, along: Dim) -> Tensor:
    """An exponent for each step of the sum, a whole number in float32."""
    return Tensor(name, (along,), "float32", Role.OUTPUT)


def tops_kernel(name: str, x: Tensor, along: Dim, tops: Tensor) -> Kernel:
    """The largest exponent of ``x`` at each step of the sum, one of its two dimensions in any order."""
    top, axis, dims = _top(x, along)
    body = (Set(Var("top", (axis,)), top), Store(tops, (Affine(axis),), Var("top", (axis,)), guard=(axis,)))
    return Kernel(name, dims, (x, tops), grid=(axis,), body=body)


def balance_kernel(name: str, x: Tensor, along: Dim, tops: Tensor, balance: Tensor) -> Kernel:
    """d = ⌊(top of the other − top of ``x``) / 2⌋ at each step of the sum; 0 where either is all zeros."""
    found, axis, dims = _top(x, along)
    tops = replace(tops, role=Role.INPUT)
    top, other = Var("top", (axis,)), Var("other", (axis,))
    # Halves of whole numbers less a quarter round to the lower whole number.
    half = Map("round", (Map("sub", (Map("mul", (Map("sub", (other, top)), Const(0.5))), Const(0.25))),))
    both = Map("mul", (_anything(top), _anything(other)))
    body = (
        Set(top, found),
        Set(other, Load(tops, (Affine(axis),), guard=(axis,))),
        Store(balance, (Affine(axis),), Map("mul", (half, both)), guard=(axis,)),
    )
    return Kernel(name, dims, (x, tops, balance), grid=(axis,), body=body)


def _top(x: Tensor, along: Dim) -> tuple[Value, Axis, tuple[Dim, ...]]:
    """The largest exponent across the sum, the axis along it, and the dimensions of ``x``."""
    (across,) = (dim for dim in x.shape if isinstance(dim, Dim) and dim != along)
    r, c = Axis(along.name, along), Axis(across.name, across, whole=True)
    load = Load(x, tuple(Affine(r if dim == along else c) for dim in x.shape), guard=(r, c))
    size = Map("max", (load, Map("neg", (load,))))
    return Map("exponent", (Reduce("max", size, over=c),)), r, (along, across)


def _anything(top: Value) -> Value:
    return Map("below", (Const(float(ZERO)), top))
