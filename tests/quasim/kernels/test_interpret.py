from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import TypeVar

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quasim.errors import DataError, SpaceError
from quasim.kernels import Array, Arrays, families, family
from quasim.kernels.accuracy import UNTOUCHED, kernel_errors
from quasim.kernels.interpret import CoverageError, OutOfBoundsError, interpret
from quasim.kernels.ir import (
    Affine,
    Axis,
    Const,
    Dim,
    Dot,
    Extent,
    Kernel,
    Load,
    Loop,
    Map,
    Reduce,
    Role,
    Set,
    Store,
    Tensor,
    Var,
)
from quasim.kernels.walk import axes, walk

EACH = [f.name for f in families() if not f.name.startswith(("matmul_", "bmm"))]
EACH += ["matmul_tf32", "matmul_bf16_nt", "bmm_fp16_tn"]
"""Every family; of the forms of a product, each format, layout and dimension in one of them."""

TILE = 8
T = TypeVar("T")


def _shape(kernel: Kernel, extent: int) -> dict[str, int]:
    trims = {axis.dim.name: axis.trim for axis in axes(kernel).values()}
    return {dim.name: extent + trims[dim.name] for dim in kernel.dims}


def _replaced(node: T, old: object, new: object) -> T:
    """The tree with one node, told by identity, in place of another."""
    if node is old:
        return new  # type: ignore[return-value]
    if isinstance(node, tuple):
        return tuple(_replaced(child, old, new) for child in node)  # type: ignore[return-value]
    if is_dataclass(node) and not isinstance(node, type):
        return replace(node, **{f.name: _replaced(getattr(node, f.name), old, new) for f in fields(node)})
    return node


def _unguarded(kernel: Kernel) -> Iterator[tuple[str, Kernel]]:
    """Every kernel that lacks exactly one axis of one guard."""
    for node in walk(kernel.body):
        if isinstance(node, (Load, Store)):
            for axis in node.guard:
                less = replace(node, guard=tuple(a for a in node.guard if a != axis))
                offsets = "_".join(str(at.offset) for at in node.index)
                label = f"{kernel.name}-{type(node).__name__}-{node.tensor.name}-{offsets}-{axis.name}"
                yield label, replace(kernel, body=_replaced(kernel.body, node, less))


MUTANTS = [mutant for f in map(family, EACH) for mutant in _unguarded(f.kernel)]


@pytest.mark.parametrize("name", EACH)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_shape_in_any_tiles_agrees_with_the_reference(name: str, data: st.DataObject) -> None:
    f = family(name)
    known = axes(f.kernel)
    more = 16 if len(f.kernel.grid) < 3 else 5
    shape = {d.name: data.draw(st.integers(d.lo, d.lo + more), label=d.name) for d in f.kernel.dims}
    tiles = {a: data.draw(st.integers(1, 20), label=a) for a in known}
    inputs = f.inputs(shape, np.random.default_rng(0))
    errors = kernel_errors(f.kernel, interpret(f.kernel, inputs, shape, tiles), f.reference(shape, inputs))
    assert errors.frobenius < f.tolerance
    assert errors.componentwise < f.tolerance


@pytest.mark.parametrize("name", [name for name in EACH if name != "split"])  # whose scales are numbers all the same
def test_nan_comes_out_where_the_reference_has_it(name: str) -> None:
    f = family(name)
    shape = _shape(f.kernel, 11)
    inputs = f.inputs(shape, np.random.default_rng(0))
    spoilt = next(iter(inputs.values()))
    spoilt.flat[spoilt.size // 2] = np.nan
    outputs = interpret(f.kernel, inputs, shape, dict.fromkeys(axes(f.kernel), TILE))
    reference = f.reference(shape, inputs)
    for output, expected in reference.items():
        holes = int(np.isnan(expected.value).sum())
        assert 0 < holes < expected.value.size
        assert int(np.isnan(outputs[output]).sum()) == holes
    assert kernel_errors(f.kernel, outputs, reference).frobenius < f.tolerance


@pytest.mark.parametrize("mutant", [m for _, m in MUTANTS], ids=[label for label, _ in MUTANTS])
def test_a_missing_guard_leaves_the_array_on_a_ragged_shape_and_not_on_a_full_one(mutant: Kernel) -> None:
    f, tiles = family(mutant.name), dict.fromkeys(axes(mutant), TILE)
    ragged, full = _shape(mutant, 2 * TILE - 5), _shape(mutant, 2 * TILE)
    inputs = f.inputs(ragged, np.random.default_rng(0))
    interpret(f.kernel, inputs, ragged, tiles)
    with pytest.raises(OutOfBoundsError, match="guard it against axis"):
        interpret(mutant, inputs, ragged, tiles)
    inputs = f.inputs(full, np.random.default_rng(0))
    outputs = interpret(mutant, inputs, full, tiles)
    assert kernel_errors(mutant, outputs, f.reference(full, inputs)).frobenius < f.tolerance


def test_every_guarded_axis_of_every_access_is_removed_in_turn() -> None:
    counts = Counter(mutant.name for _, mutant in MUTANTS)
    guarded = {"matmul": 6, "softmax": 4, "stencil2d": 12, "layernorm": 6, "add": 6, "gelu_residual": 6}
    guarded |= {"matmul_tf32": 6, "matmul_bf16_nt": 6, "bmm_fp16_tn": 9, "gate1": 8 * 2, "gate2": 16 * 3}
    assert {name: counts[name] for name in guarded} == guarded


def test_elements_outside_the_cover_stay_untouched() -> None:
    f, shape = family("stencil2d"), {"h": 6, "w": 7}
    y = interpret(f.kernel, f.inputs(shape, np.random.default_rng(0)), shape, {"i": 3})["y"]
    assert (y == UNTOUCHED).sum() == y.size - 4 * 5
    assert (y[1:-1, 1:-1] != UNTOUCHED).all()


def test_an_unguarded_store_within_the_array_breaks_the_cover() -> None:
    f, shape = family("stencil2d"), {"h": 6, "w": 7}
    store = f.kernel.body[0]
    assert isinstance(store, Store)
    loose = replace(f.kernel, body=(replace(store, guard=store.guard[:1]),))
    inputs = f.inputs(shape, np.random.default_rng(0))
    with pytest.raises(CoverageError, match=r"y\[1, 6\] is written 1 times instead of 0, as are 3 others"):
        interpret(loose, inputs, shape, {"j": 6})


N = Dim("n", 1, 64)
ROW = Axis("i", N)
WHOLE = Axis("w", N, whole=True)
X = Tensor("x", (N,), "float32", Role.INPUT)
Y = Tensor("y", (N,), "float32", Role.OUTPUT)
LOAD = Load(X, (Affine(ROW),), (ROW,))


def _line(*body: Set | Store, out: Tensor = Y) -> Kernel:
    return Kernel("line", (N,), (X, out), (ROW,), body)


def _run(kernel: Kernel, extent: int = 5, tile: int = 4) -> Array:
    x = np.arange(1, extent + 1, dtype=np.float32)
    return interpret(kernel, {"x": x}, {"n": extent}, {"i": tile})["y"]


def test_an_element_that_nobody_writes_breaks_the_cover() -> None:
    with pytest.raises(CoverageError, match=r"y\[0\] is written 0 times instead of 1, as are 4 others"):
        _run(_line())


def test_an_element_written_twice_breaks_the_cover() -> None:
    store = Store(Y, (Affine(ROW),), LOAD, (ROW,))
    with pytest.raises(CoverageError, match="written 2 times instead of 1"):
        _run(_line(store, store))


def test_a_negative_offset_leaves_the_array() -> None:
    before = Load(X, (Affine(ROW, -1),), (ROW,))
    with pytest.raises(OutOfBoundsError, match=r"n=-1…2, outside \[0, 5\)"):
        _run(_line(Store(Y, (Affine(ROW),), before, (ROW,))))


@pytest.mark.parametrize(("x", "expected"), [([3.0, np.nan, 5.0], 5.0), ([np.nan] * 3, -np.inf)])
def test_a_maximum_skips_nan(x: list[float], expected: float) -> None:
    top = Reduce("max", Load(X, (Affine(WHOLE),), (WHOLE,)), WHOLE)
    y = interpret(_line(Store(Y, (Affine(ROW),), top, (ROW,))), {"x": np.array(x, np.float32)}, {"n": 3}, {"i": 4})["y"]
    assert y.tolist() == [expected] * 3


def test_reductions_ignore_dead_lanes() -> None:
    ones, total = Var("ones", (WHOLE,)), Var("total", ())
    body = (
        Set(ones, Const(1.0)),
        Set(total, Reduce("sum", ones, WHOLE)),
        Store(Y, (Affine(ROW),), total, (ROW,)),
    )
    y = interpret(_line(*body), {"x": np.ones(5, np.float32)}, {"n": 5}, {"i": 2, "w": 4})["y"]
    assert y.tolist() == [5.0] * 5


@pytest.mark.parametrize(
    ("op", "expected"),
    [("add", 5.0), ("sub", 1.0), ("mul", 6.0), ("div", 1.5), ("max", 3.0)],
)
def test_binary_operations_follow_their_names(op: str, expected: float) -> None:
    value = Map(op, (Map("mul", (LOAD, Const(3.0))), Const(2.0)))  # type: ignore[arg-type]
    assert _run(_line(Store(Y, (Affine(ROW),), value, (ROW,))))[0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("op", "expected"), [("neg", -1.0), ("exp", np.e), ("sqrt", 1.0), ("cast", 1.0), ("promote", 1.0)]
)
def test_unary_operations_follow_their_names(op: str, expected: float) -> None:
    value = Map(op, (LOAD,))  # type: ignore[arg-type]
    assert _run(_line(Store(Y, (Affine(ROW),), value, (ROW,))))[0] == pytest.approx(expected)


def test_an_extent_is_the_number_of_steps_whatever_the_tile() -> None:
    trimmed = Axis("t", N, trim=2)
    value = Map("add", (Map("mul", (LOAD, Const(0.0))), Map("sub", (Extent(ROW), Extent(trimmed)))))
    assert _run(_line(Store(Y, (Affine(ROW),), value, (ROW,)))).tolist() == [2.0] * 5
    assert _run(_line(Store(Y, (Affine(ROW),), Extent(ROW), (ROW,)))).tolist() == [5.0] * 5


def _picked(position: int) -> Kernel:
    """x, of shape (2, n), turned upside down into y, of shape (n, 2); the factor stands at ``position`` of (3,)."""
    x, factor = Tensor("x", (2, N), "bfloat16", Role.INPUT), Tensor("factor", (3,), "float32", Role.INPUT)
    y = Tensor("y", (N, 2), "float16", Role.OUTPUT)

    def store(row: int) -> Store:
        load = Load(x, (Affine(None, 1 - row), Affine(ROW)), (ROW,))
        value = Map("mul", (load, Load(factor, (Affine(None, position),), ())))
        return Store(y, (Affine(ROW), Affine(None, row)), Map("cast", (value,), "float16"), (ROW,))

    return Kernel("picked", (N,), (x, factor, y), (ROW,), (store(0), store(1)))


def test_constant_positions_and_extents_pick_their_elements() -> None:
    x = np.arange(10).reshape(2, 5).astype(ml_dtypes.bfloat16)
    factor = np.array([0, 0, 3], np.float32)
    y = interpret(_picked(2), {"x": x, "factor": factor}, {"n": 5}, {"i": 4})["y"]
    assert y.dtype == np.float16
    assert np.array_equal(y, 3 * x[::-1].T.astype(np.float16))


def test_a_constant_position_outside_its_extent_leaves_the_array() -> None:
    x = np.zeros((2, 5), ml_dtypes.bfloat16)
    with pytest.raises(OutOfBoundsError, match=r"factor is accessed at position 0=3…3, outside \[0, 3\)"):
        interpret(_picked(3), {"x": x, "factor": np.ones(3, np.float32)}, {"n": 5}, {})


@pytest.mark.parametrize(
    ("value", "rounded"),
    [
        (1 + 2**-11, 1.0),
        (1 + 3 * 2**-11, 1 + 2**-9),
        (-1 - 2**-11 - 2**-20, -1 - 2**-10),
        (2 - 2**-20, 2.0),
        (np.inf, np.inf),
        (np.nan, np.nan),
    ],
)
def test_tf32_operands_are_rounded_to_ten_bits_ties_to_even(value: float, rounded: float) -> None:
    matmul = family("matmul").kernel
    clear, loop, store = matmul.body
    assert isinstance(loop, Loop)
    (step,) = loop.body
    assert isinstance(step, Set)
    assert isinstance(step.value, Dot)
    coarse = replace(step, value=replace(step.value, precision="tf32"))
    kernel = replace(matmul, body=(clear, replace(loop, body=(coarse,)), store))
    inputs: Arrays = {"a": np.array([[value]], np.float32), "b": np.array([[1 + 2**-12]], np.float32)}
    c = interpret(kernel, inputs, {"m": 1, "n": 1, "k": 1}, {})["c"]
    np.testing.assert_equal(c.item(), np.float32(rounded))


def test_an_operation_rounds_its_operands_to_its_format() -> None:
    wide = Map("add", (LOAD, Const(1e-10)), "float64")
    out = Tensor("y", (N,), "float64", Role.OUTPUT)
    assert _run(_line(Store(out, (Affine(ROW),), wide, (ROW,)), out=out))[0] == 1.0 + 1e-10
    narrow = replace(wide, dtype="float32")
    assert _run(_line(Store(out, (Affine(ROW),), narrow, (ROW,)), out=out))[0] == 1.0


@pytest.mark.parametrize("tiles", [{"x": 4}, {"i": 0}])
def test_tiles_of_no_axis_or_no_size_are_refused(tiles: dict[str, int]) -> None:
    with pytest.raises(SpaceError, match=r"sizes ≥ 1 of the axes \['i'\]"):
        interpret(_line(), {"x": np.ones(5, np.float32)}, {"n": 5}, tiles)


@pytest.mark.parametrize("inputs", [{}, {"x": np.ones(4, np.float32)}])
def test_missing_or_misshapen_inputs_are_refused(inputs: Arrays) -> None:
    with pytest.raises(DataError, match=r"input x is not an array of shape \(5,\)"):
        interpret(_line(), inputs, {"n": 5}, {})
