"""Cost facts, derived from the IR: what any schedule of a kernel must compute and move.

An operation counts once for each point of the axes that it spans. ``add``, ``sub``, ``mul``, ``div``, ``neg``, ``max``,
``exp`` and ``sqrt`` count 1 flop each: the polynomial behind an exp, which hardware with an instruction for it does not
have, belongs to a schedule and not to the kernel. ``cast`` and ``promote`` count 0, a ``Dot`` counts 2 (product and
sum), a ``Reduce`` 1 for each element that it takes in.

The bytes are compulsory traffic alone: each element of an input once (also the corners that a stencil never looks at),
each element of an output's cover once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod

from quasim.kernels._base import CostFacts, numpy_dtype
from quasim.kernels.ir import Axis, Dot, Kernel, Load, Map, Reduce, Tensor, Value, Var, extents
from quasim.kernels.walk import walk

FORMAT_OPS = frozenset({"cast", "promote"})


def cost_facts(kernel: Kernel, shape: Mapping[str, int]) -> CostFacts:
    """Cost facts of one launch at ``shape`` (extents by dimension name)."""
    flops = sum(_flops(node, shape) for node in walk(kernel.body))
    return CostFacts(flops, sum(_bytes(tensor, shape) for tensor in kernel.tensors))


def _flops(node: object, shape: Mapping[str, int]) -> int:
    """Flops of one operation, without those of its operands."""
    if isinstance(node, Map):
        return 0 if node.op in FORMAT_OPS else _points(_axes(node), shape)
    if isinstance(node, Reduce):
        return _points(_axes(node.x), shape)
    if isinstance(node, Dot):
        return 2 * _points(_axes(node.a) | _axes(node.b), shape)
    return 0


def _axes(value: Value) -> frozenset[Axis]:
    """The axes over which a value varies."""
    if isinstance(value, Var):
        return frozenset(value.axes)
    if isinstance(value, Load):
        return frozenset(at.axis for at in value.index if at.axis is not None)
    if isinstance(value, Map):
        return frozenset(axis for arg in value.args for axis in _axes(arg))
    if isinstance(value, Reduce):
        return _axes(value.x) - {value.over}
    if isinstance(value, Dot):
        return (_axes(value.a) | _axes(value.b)) - {value.over}
    return frozenset()


def _points(axes: Iterable[Axis], shape: Mapping[str, int]) -> int:
    return prod(shape[axis.dim.name] - axis.trim for axis in axes)


def _bytes(tensor: Tensor, shape: Mapping[str, int]) -> int:
    cover = tensor.cover or ((0, 0),) * len(tensor.shape)
    sizes = (size - low - high for size, (low, high) in zip(extents(tensor, shape), cover, strict=True))
    return prod(sizes) * numpy_dtype(tensor.dtype).itemsize
