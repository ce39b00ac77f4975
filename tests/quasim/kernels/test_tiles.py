"""Lowering to tile programs: what is guarded, what is taken for granted, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest

from quasim.errors import ShapeError, SpaceError
from quasim.kernels import families, family
from quasim.kernels.ir import Axis, Kernel, Load, Store
from quasim.kernels.lower.tiles import lower_tiles
from quasim.kernels.lower.tiles_pointwise import CACHE
from quasim.kernels.sizes import Requirement, Size
from quasim.kernels.statevector import problem as state
from quasim.kernels.tiled import Fetch, FetchTile, Halve, Keep, Put, PutTile, TileProgram
from quasim.kernels.walk import walk
from quasim.targets.triton.emit import emit
from quasim.trial import Genome
from tests.quasim.targets.triton.variants import FLAT, PRODUCT, ROWS, TILED, genome

RAGGED = {
    "m": 37,
    "n": 45,
    "k": 21,
    "b": 3,
    "rows": 13,
    "cols": 37,
    "h": 11,
    "w": 37,
    "outer": 7,
    "middle": 3,
    "inner": 5,
}


def shape_of(kernel: Kernel) -> dict[str, int]:
    return {dim.name: RAGGED[dim.name] for dim in kernel.dims}


def genome_of(kernel: Kernel) -> Genome:
    names = {dim.name for dim in kernel.dims}
    if "k" in names:
        return genome(PRODUCT)
    if "inner" in names:
        return genome(FLAT, layout="flat")
    if "h" in names:
        return genome(TILED)
    return genome(ROWS, rows=2) if any(axis.whole for axis in _axes(kernel)) else genome(FLAT)


def _axes(kernel: Kernel) -> Iterator[Axis]:
    return (node for node in walk(kernel.body) if isinstance(node, Axis))


def lowered(name: str, chosen: Genome, **shape: int) -> TileProgram:
    return lower_tiles(family(name).kernel, chosen, shape)


def check(program: TileProgram, **shape: int) -> None:
    for requirement in program.requirements:
        requirement.check(program.kernel.name, shape)


def found(program: TileProgram, kind: type) -> list[Any]:
    return [node for node in walk(program.body) if isinstance(node, kind)]


def rewritten(node: Any, change: Callable[[Any], Any]) -> Any:
    """The tree with every node changed, from the leaves up."""
    if isinstance(node, tuple):
        return tuple(rewritten(child, change) for child in node)
    if not is_dataclass(node) or isinstance(node, type):
        return node
    new = {field.name: rewritten(getattr(node, field.name), change) for field in fields(node)}
    return change(type(node)(**new))


def without_guard(kernel: Kernel, access: Load | Store, axis: Axis) -> Kernel:
    def change(node: Any) -> Any:
        if isinstance(node, Load | Store) and node == access:
            return replace(node, guard=tuple(one for one in node.guard if one != axis))
        return node

    return replace(kernel, body=rewritten(kernel.body, change))


@pytest.mark.parametrize("name", [member.name for member in families()])
def test_removing_any_guard_changes_the_source(name: str) -> None:
    kernel = family(name).kernel
    chosen, shape = genome_of(kernel), shape_of(kernel)
    whole = emit(lower_tiles(kernel, chosen, shape))
    accesses = [node for node in walk(kernel.body) if isinstance(node, Load | Store)]
    # Products of a batch are taken one by one: no lane of that axis can be dead.
    guards = {(access, axis) for access in accesses for axis in access.guard if axis.name != "b"}
    assert guards
    for access, axis in guards:
        assert emit(lower_tiles(without_guard(kernel, access, axis), chosen, shape)) != whole


def test_removing_a_guard_changes_a_packed_program_and_one_with_descriptors() -> None:
    gate, product = family("gate1").kernel, family("matmul").kernel
    for kernel, chosen, shape in (
        (gate, genome(FLAT, layout="packed"), {"outer": 37, "inner": 2}),
        (product, genome(PRODUCT, access="descriptor"), {"m": 40, "n": 48, "k": 24}),
    ):
        whole = emit(lower_tiles(kernel, chosen, shape))
        for access in [node for node in walk(kernel.body) if isinstance(node, Load | Store) and node.guard]:
            broken = without_guard(kernel, access, access.guard[0])
            assert emit(lower_tiles(broken, chosen, shape)) != whole


def test_masks_are_left_out_only_where_the_program_requires_whole_tiles() -> None:
    even = lowered("matmul", genome(PRODUCT), m=64, n=64, k=64)
    assert not any(fetch.live for fetch in found(even, Fetch))
    assert Requirement(Size(("k",)), 1, 16384, 16) in even.requirements
    ragged = lowered("matmul", genome(PRODUCT), m=64, n=64, k=65)
    assert all(fetch.live for fetch in found(ragged, Fetch))
    with pytest.raises(ShapeError, match="was made for"):
        check(even, m=64, n=64, k=65)


def test_dead_lanes_are_replaced_before_they_are_combined() -> None:
    (largest, summed) = found(lowered("softmax", genome(ROWS), rows=4, cols=37), Keep)
    assert (largest.fill, summed.fill) == (float("-inf"), 0.0)
    assert not found(lowered("softmax", genome(ROWS), rows=4, cols=64), Keep)


def test_a_whole_row_is_read_once_and_a_piece_in_every_pass() -> None:
    assert len(found(lowered("softmax", genome(ROWS), rows=4, cols=37), Fetch)) == 1
    assert len(found(lowered("softmax", genome(ROWS, block=16), rows=4, cols=37), Fetch)) == 3
    assert len(found(lowered("layernorm", genome(ROWS, block=16), rows=4, cols=37), Fetch)) == 5


def test_a_program_of_whole_rows_is_not_right_for_longer_ones() -> None:
    program = lowered("softmax", genome(ROWS), rows=4, cols=37)
    assert next(r.high for r in program.requirements if r.size == Size(("cols",))) == 64


def test_descriptors_take_all_accesses_of_a_product_and_need_rows_of_16_bytes() -> None:
    program = lowered("matmul", genome(PRODUCT, access="descriptor", epilogue=2), m=40, n=48, k=24)
    assert not found(program, Fetch)
    assert not found(program, Put)
    assert (len(found(program, FetchTile)), len(found(program, PutTile)), len(found(program, Halve))) == (2, 2, 1)
    with pytest.raises(SpaceError, match="16 bytes"):
        lowered("matmul", genome(PRODUCT, access="descriptor"), m=40, n=45, k=24)


def test_parts_of_a_tile_are_masked_where_the_whole_tile_may_leave_the_array() -> None:
    program = lowered("matmul", genome(PRODUCT, block_n=64, epilogue=4), m=64, n=48, k=64)
    assert all([mask.lane for mask in put.live] == [f"n_{part}"] for part, put in enumerate(found(program, Put)))


def test_persistent_programs_launch_no_more_blocks_than_there_are_tiles() -> None:
    program = lowered("softmax", genome(ROWS, persist=2), rows=1000, cols=37)
    assert program.grid.blocks({"rows": 1000, "cols": 37}, 132) == 264
    assert program.grid.blocks({"rows": 5, "cols": 37}, 132) == 5


def test_integers_are_wide_only_where_a_tensor_is_large() -> None:
    assert lowered("softmax", genome(ROWS), rows=1 << 14, cols=1 << 16).index_bits == 32
    large = lowered("softmax", genome(ROWS), rows=1 << 15, cols=1 << 16)
    assert large.index_bits == 64
    assert "tl.program_id(0).to(tl.int64)" in emit(large)
    narrow = lowered("softmax", genome(ROWS), rows=1 << 14, cols=1 << 16)
    with pytest.raises(ShapeError):
        check(narrow, rows=1 << 15, cols=1 << 16)


@pytest.mark.parametrize("target", range(10))
def test_sections_of_a_state_are_read_in_runs_of_neighbours(target: int) -> None:
    problem = state(10, (target,))
    chosen = genome(FLAT, block=64, layout="packed")
    program = lower_tiles(family(problem.kernel).kernel, chosen, problem.dims)
    for fetch in [fetch for fetch in found(program, Fetch) if fetch.shape]:
        assert [str(term.stride) for term in fetch.offset if term.lane] == ["Num(value=1)"]


def test_shape_outside_the_domain_is_refused() -> None:
    with pytest.raises(ShapeError):
        lowered("stencil2d", genome(TILED), h=2, w=8)


def test_missing_gene_is_refused() -> None:
    with pytest.raises(SpaceError, match="block"):
        lowered("add", Genome({"warps": 1, "persist": 0, "cache": "any"}), rows=4, cols=4)


@pytest.mark.parametrize(("cache", "loads", "stores"), [(name, *hints) for name, hints in CACHE.items()])
@pytest.mark.parametrize("layout", ["flat", "packed"])
def test_caches_are_told_what_the_genome_says(cache: str, loads: str, stores: str, layout: str) -> None:
    program = lowered("gate1", genome(FLAT, cache=cache, layout=layout), outer=64, inner=4)
    state = {fetch.hint for fetch in found(program, Fetch) if fetch.shape}
    assert state == {loads}
    assert {put.hint for put in found(program, Put)} == {stores}


def test_an_unknown_hint_is_refused() -> None:
    with pytest.raises(SpaceError, match="cache=always"):
        lowered("add", genome(FLAT, cache="always"), rows=4, cols=4)
