from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from quasim.errors import SpaceError, UnknownNameError
from quasim.kernels import family
from quasim.kernels.ir import Axis, Const, Dim, Kernel, Load, Loop, Map, Reduce, Store, Tensor
from quasim.kernels.lower import LoweringError, Pattern, lower, pattern
from quasim.kernels.lowered import Apply, Assign, Partition, SumOrder
from quasim.kernels.walk import walk
from quasim.targets.c.emit import emit
from quasim.targets.c.space import space
from quasim.trial import Genome, Problem
from tests.quasim.kernels.nest import cover, guards, touched, without_guard

RAGGED = {
    "matmul": [
        {"m": 1, "n": 1, "k": 1},
        {"m": 13, "n": 27, "k": 5},
        {"m": 25, "n": 50, "k": 130},
        {"m": 50, "n": 9, "k": 3},
    ],
    "softmax": [{"rows": 1, "cols": 1}, {"rows": 11, "cols": 7}, {"rows": 4, "cols": 129}, {"rows": 35, "cols": 40}],
    "stencil2d": [{"h": 3, "w": 3}, {"h": 4, "w": 19}, {"h": 21, "w": 40}, {"h": 35, "w": 531}],
    "layernorm": [{"rows": 1, "cols": 1}, {"rows": 11, "cols": 7}, {"rows": 4, "cols": 129}, {"rows": 35, "cols": 40}],
    "gelu_residual": [{"rows": 1, "cols": 1}, {"rows": 4, "cols": 19}, {"rows": 35, "cols": 531}],
    "matmul_bf16_nt": [{"m": 1, "n": 1, "k": 1}, {"m": 13, "n": 27, "k": 130}],
    "bmm_fp16_tn": [{"b": 1, "m": 1, "n": 1, "k": 1}, {"b": 3, "m": 13, "n": 27, "k": 5}],
    "gate1": [{"outer": 1, "inner": 1}, {"outer": 37, "inner": 3}, {"outer": 5, "inner": 300}],
    "gate2": [{"outer": 1, "middle": 1, "inner": 1}, {"outer": 5, "middle": 7, "inner": 19}],
}
FILLED = {
    "matmul": {"m": 25, "n": 25, "k": 130},
    "softmax": {"rows": 129, "cols": 9},
    "stencil2d": {"h": 19, "w": 11},
    "layernorm": {"rows": 129, "cols": 9},
    "gelu_residual": {"rows": 17, "cols": 9},
    "matmul_bf16_nt": {"m": 25, "n": 25, "k": 130},
    "bmm_fp16_tn": {"b": 2, "m": 25, "n": 25, "k": 130},
    "gate1": {"outer": 5, "inner": 9},
    "gate2": {"outer": 5, "middle": 1, "inner": 9},
}
"""Shapes whose last tiles have three dead lanes or more along every axis: a halo hides the first two."""

TILED = {Pattern.POINTWISE: {"step_rows": 8}, Pattern.SECTIONS: {"tile_rows": 4, "tile_cols": 256}}
"""Genes with which those shapes have dead lanes, and not many."""

GUARDS = {"matmul": 6, "softmax": 4, "stencil2d": 12, "layernorm": 6, "gelu_residual": 6}
GUARDS |= {"matmul_bf16_nt": 6, "bmm_fp16_tn": 6, "gate1": 16, "gate2": 48}
"""How many (access, axis) pairs each has, without those against axes that schedules walk step by step."""

FAMILIES = list(RAGGED)


def _genomes(name: str, count: int) -> list[Genome]:
    found = space(Problem.of(name, **RAGGED[name][0]), 2)
    assert found.default is not None
    return [found.default, *found.sample(np.random.default_rng(1), count)]


def _guards(name: str) -> list[tuple[Load | Store, Axis]]:
    """Those that matter: an axis that is walked step by step has no dead lanes."""
    kernel = family(name).kernel
    cut = {p.axis for p in lower(kernel, _genomes(name, 0)[0], "c").partitions if p.sizes[0][1] > 1}
    return [(access, axis) for access, axis in guards(kernel) if axis in cut]


def test_patterns_are_read_from_the_ir_alone() -> None:
    found = {name: pattern(replace(family(name).kernel, name="anything")) for name in FAMILIES}
    assert found == {
        "matmul": Pattern.CONTRACTION,
        "softmax": Pattern.ROWS,
        "stencil2d": Pattern.POINTWISE,
        "layernorm": Pattern.ROWS,
        "gelu_residual": Pattern.POINTWISE,
        "matmul_bf16_nt": Pattern.CONTRACTION,
        "bmm_fp16_tn": Pattern.CONTRACTION,
        "gate1": Pattern.SECTIONS,
        "gate2": Pattern.SECTIONS,
    }


@pytest.mark.parametrize("name", FAMILIES)
def test_no_genome_touches_what_does_not_exist_and_each_output_is_written_as_its_cover_says(name: str) -> None:
    kernel = family(name).kernel
    for number, genome in enumerate(_genomes(name, 24)):
        lowered = lower(kernel, genome, "c")
        shape = RAGGED[name][number % len(RAGGED[name])]
        result = touched(lowered, shape, head=number * 5 % 16)
        assert not result.outside, (genome, shape)
        # Sums between k blocks, and kept values, wait in the output: the owner of an element writes it several times.
        times = -(-shape["k"] // genome.integer("kc")) if name == "matmul" else 1 + (genome.get("keep") == "output")
        assert result.stored == Counter(dict.fromkeys(cover(kernel, shape), times)), (genome, shape)


@pytest.mark.parametrize("name", FAMILIES)
def test_removing_any_guard_changes_the_source_of_every_genome(name: str) -> None:
    kernel = family(name).kernel
    assert len(_guards(name)) == GUARDS[name]
    for genome in _genomes(name, 12 if GUARDS[name] < 48 else 0):
        sources = {emit(lower(without_guard(kernel, *guard), genome, "c")) for guard in _guards(name)}
        assert emit(lower(kernel, genome, "c")) not in sources
        assert len(sources) == len(_guards(name))


@pytest.mark.parametrize("name", FAMILIES)
def test_removing_any_guard_makes_the_lowered_kernel_leave_that_tensor(name: str) -> None:
    kernel = family(name).kernel
    genome = Genome({**_genomes(name, 0)[0], **TILED.get(pattern(kernel), {})})
    for access, axis in _guards(name):
        result = touched(lower(without_guard(kernel, access, axis), genome, "c"), FILLED[name])
        assert {element[0] for element in result.outside} == {access.tensor.name}, (access, axis)


@pytest.mark.parametrize("name", FAMILIES)
def test_lowering_is_deterministic(name: str) -> None:
    kernel, genome = family(name).kernel, _genomes(name, 1)[1]
    assert lower(kernel, genome, "c") == lower(kernel, genome, "c")


@pytest.mark.parametrize("name", FAMILIES)
def test_accesses_are_those_of_the_body_with_what_stands_around_them(name: str) -> None:
    lowered = lower(family(name).kernel, _genomes(name, 0)[0], "c")
    names = set(lowered.shapes)
    assert {access.buffer for access in lowered.accesses} == names
    assert all(len(access.index) == len(lowered.shapes[access.buffer]) for access in lowered.accesses)
    assert all(access.around for access in lowered.accesses if access.buffer != "gate")
    assert {a.kind for a in lowered.accesses if a.buffer == family(name).kernel.tensors[0].name} == {"load"}


def test_a_matmul_sums_in_sequence_whatever_its_blocks() -> None:
    for genome in _genomes("matmul", 5):
        (order,) = lower(family("matmul").kernel, genome, "c").sums
        assert order == SumOrder(order.over)
        assert order.depth(777) == 777


def test_depth_of_a_reduction_tree_counts_running_sums_and_both_trees() -> None:
    axis = Axis("c", Dim("cols", 1, 100))
    assert SumOrder(axis, lanes=8, unroll=2).depth(16) == 1 + 1 + 3
    assert SumOrder(axis, lanes=8, unroll=2).depth(31) == 1 + 2 + 1 + 3
    assert SumOrder(axis, lanes=4, unroll=1).depth(100) == 25 + 2


def test_pieces_that_straddle_a_cut_are_refused() -> None:
    with pytest.raises(SpaceError, match="do not nest"):
        Partition(Axis("m", Dim("m", 1, 9)), (("block", 10), ("register tile", 4)))


def test_a_genome_that_lacks_a_gene_is_refused() -> None:
    kernel = family("matmul").kernel
    with pytest.raises(SpaceError, match="mr"):
        lower(kernel, Genome({"lanes": 8}), "c")
    default = dict(_genomes("matmul", 0)[0])
    with pytest.raises(SpaceError, match="pack_a"):
        lower(kernel, Genome({**default, "pack_a": 1}), "c")


@pytest.mark.parametrize(("name", "gene"), [("softmax", "keep")])
def test_a_gene_of_unknown_value_is_refused(name: str, gene: str) -> None:
    with pytest.raises(SpaceError, match=gene):
        lower(family(name).kernel, Genome({**_genomes(name, 0)[0], gene: "elsewhere"}), "c")


def test_a_right_operand_whose_columns_are_apart_cannot_be_read_in_place() -> None:
    genome = Genome({**_genomes("matmul_bf16_nt", 0)[0], "pack_b": False})
    with pytest.raises(SpaceError, match="columns are apart"):
        lower(family("matmul_bf16_nt").kernel, genome, "c")


def test_products_that_only_tensor_cores_compute_are_refused() -> None:
    with pytest.raises(LoweringError, match="tf32 products, and CPUs have no such products"):
        lower(family("matmul_tf32").kernel, _genomes("matmul", 0)[0], "c")


def test_sums_wait_in_float32_where_the_output_is_narrower() -> None:
    narrow = lower(family("matmul_bf16_nt").kernel, _genomes("matmul_bf16_nt", 0)[0], "c")
    wide = lower(family("matmul").kernel, _genomes("matmul", 0)[0], "c")
    assert {access.kind for access in narrow.accesses if access.buffer == "c"} == {"store"}
    assert {access.kind for access in narrow.accesses if access.buffer == "sums"} == {"load", "store"}
    assert {access.kind for access in wide.accesses if access.buffer == "c"} == {"load", "store"}


def test_an_unknown_target_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="fpga"):
        lower(family("matmul").kernel, _genomes("matmul", 0)[0], "fpga")


def test_kernels_without_a_schedule_are_refused_and_say_why() -> None:
    matmul, softmax, stencil = (family(name).kernel for name in ("matmul", "softmax", "stencil2d"))
    doubles = replace(stencil, tensors=tuple(replace(t, dtype="float64") for t in stencil.tensors))
    looped = replace(stencil, body=(Loop(stencil.grid[0], stencil.body),))
    uncleared = replace(matmul, body=matmul.body[1:])
    twice = replace(stencil, body=stencil.body * 2)
    for kernel, why in [(doubles, "float32"), (looped, "loop"), (uncleared, "dot"), (twice, "several stores")]:
        with pytest.raises(LoweringError, match=why):
            lower(kernel, _genomes(kernel.name, 0)[0], "c")
    assert isinstance(_transposed(softmax), Kernel)
    with pytest.raises(LoweringError, match="not by"):
        lower(_transposed(softmax), _genomes("softmax", 0)[0], "c")


def _transposed(kernel: Kernel) -> Kernel:
    *rest, store = kernel.body
    assert isinstance(store, Store)
    flipped = Tensor(store.tensor.name, store.tensor.shape[::-1], "float32", store.tensor.role)
    return replace(kernel, body=(*rest, replace(store, tensor=flipped, index=store.index[::-1])))


def test_a_pointwise_kernel_may_read_a_vector_by_columns() -> None:
    """A bias, say: it has no rows, dead or ahead, to touch or to prefetch."""
    kernel = family("add").kernel
    (store,) = kernel.body
    assert isinstance(store, Store)
    assert isinstance(store.value, Map)
    x, residual = store.value.args
    assert isinstance(residual, Load)
    bias = Tensor("bias", (residual.tensor.shape[1],), "float32", residual.tensor.role)
    load = Load(bias, residual.index[1:], residual.guard[1:])
    biased = Kernel(
        "biased",
        kernel.dims,
        (kernel.tensors[0], bias, kernel.tensors[2]),
        kernel.grid,
        (replace(store, value=replace(store.value, args=(x, load))),),
    )
    for genome in _genomes("gelu_residual", 12):
        result = touched(lower(biased, genome, "c"), {"rows": 11, "cols": 21})
        assert not result.outside
        assert result.stored == Counter(dict.fromkeys(cover(biased, {"rows": 11, "cols": 21}), 1))
        sources = {emit(lower(without_guard(biased, *guard), genome, "c")) for guard in guards(biased)}
        assert len(sources | {emit(lower(biased, genome, "c"))}) == 6


def test_what_is_the_same_along_a_row_is_computed_once_for_it() -> None:
    """The mean and the inverse deviation of a layernorm, the inverse sum of a softmax: no division at any column."""
    for name, count in (("layernorm", 2), ("softmax", 1)):
        for genome in _genomes(name, 12):
            nodes = list(walk(lower(family(name).kernel, genome, "c").body))
            divisions = [node for node in nodes if isinstance(node, Apply) and node.op == "div"]
            assert {division.lanes for division in divisions} == {1}
            assert {n.local.name for n in nodes if isinstance(n, Assign) and n.local.name.startswith("scalar_")} == {
                f"scalar_{number}" for number in range(count)
            }


def test_a_reduction_of_a_constant_alone_is_no_schedule() -> None:
    kernel = family("softmax").kernel
    store = kernel.body[-1]
    assert isinstance(store, Store)
    plain = replace(kernel, body=(replace(store, value=Const(1.0)),))
    with pytest.raises(LoweringError, match="no reduction"):
        lower(plain, _genomes("softmax", 0)[0], "c")
    assert not any(isinstance(node, Reduce) for node in plain.body)
