"""Kernels that look at a finished product: rows by a vector, summed in float64, and the verdict on them.

The check and its references in numpy are those of ``quasim.precision.probe``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from quasim.kernels.ir import (
    Affine,
    Axis,
    Const,
    Dim,
    Kernel,
    Load,
    Map,
    MapOp,
    Reduce,
    Role,
    Set,
    Statement,
    Store,
    Tensor,
    Value,
    Var,
)
from quasim.precision.probe import REFUSALS, SMALLEST

_VERIFICATION = float(REFUSALS.index("verification"))


@dataclass(frozen=True, slots=True)
class Seen:
    """What a verdict needs of each row of a product, (rows,) float64 all.

    Attributes:
        due: A (B v).
        got: C v.
        squares: the sum of the squares of C.
    """

    due: Tensor
    got: Tensor
    squares: Tensor


def column(name: str, rows: Dim) -> Tensor:
    """A number for each row, in float64."""
    return Tensor(name, (rows,), "float64", Role.OUTPUT)


def probe_kernel(name: str, x: Tensor, by: Tensor, product: Tensor, squares: Tensor | None = None) -> Kernel:
    """product = x·by, and the sums of squares of x's rows where they are asked for, all in float64.

    ``by`` is along one dimension of ``x``, the last or the first; ``product`` along the other.
    """
    rows, along = (_only_dim(tensor) for tensor in (product, by))
    r, c = Axis(rows.name, rows), Axis(along.name, along, whole=True)
    x, by = replace(x, role=Role.INPUT), replace(by, role=Role.INPUT)
    held, factor = Var("x", (r, c)), Load(by, (Affine(c),), guard=(c,))
    at = tuple(Affine(r if dim == rows else c) for dim in x.shape)
    body: list[Statement] = [
        Set(held, Load(x, at, guard=(r, c))),
        Store(product, (Affine(r),), Reduce("sum", _wide("mul", held, factor), over=c), guard=(r,)),
    ]
    if squares is not None:
        body.append(Store(squares, (Affine(r),), Reduce("sum", _wide("mul", held, held), over=c), guard=(r,)))
    tensors = (x, by, product, *(() if squares is None else (squares,)))
    return Kernel(name, tuple(dict.fromkeys((rows, along))), tensors, grid=(r,), body=tuple(body))


def verdict_kernel(name: str, seen: Seen, guarded: Tensor, flag: Tensor, tolerance: float) -> Kernel:
    """Sets the flag to who refuses the product: its guard, before it was made; else the check of what came out.

    Where the guard refused, nothing was made or seen: what stands there does not count, not even NaN.
    """
    rows = _only_dim(seen.due)
    m = Axis(rows.name, rows, whole=True)
    due, got, squares = (
        Load(replace(tensor, role=Role.INPUT), (Affine(m),), guard=(m,))
        for tensor in (seen.due, seen.got, seen.squares)
    )
    off, error, norm = Var("off", (m,)), Var("error", ()), Var("norm", ())
    most = _wide("add", _wide("mul", norm, Const(tolerance**2)), Const(SMALLEST))
    # NaN is below nothing: it fails.
    fails = Map("sub", (Const(1.0), Map("below", (error, most), "float64")))
    refused = Load(replace(guarded, role=Role.INPUT), (Affine(None, 0),), guard=())
    passed = Map("sub", (Const(1.0), refused))
    code = Map("add", (refused, Map("mul", (Const(_VERIFICATION), Map("mul", (passed, fails))))))
    body: tuple[Statement, ...] = (
        Set(off, _wide("sub", due, got)),
        Set(error, Reduce("sum", _wide("mul", off, off), over=m)),
        Set(norm, Reduce("sum", squares, over=m)),
        Store(flag, (Affine(None, 0),), code, guard=()),
    )
    tensors = (due.tensor, got.tensor, squares.tensor, refused.tensor, flag)
    return Kernel(name, (rows,), tensors, grid=(), body=body)


def _wide(op: MapOp, *args: Value) -> Map:
    return Map(op, args, "float64")


def _only_dim(tensor: Tensor) -> Dim:
    (dim,) = tensor.shape
    if not isinstance(dim, Dim):
        raise TypeError(f"{tensor.name} has as many elements at every launch")
    return dim
