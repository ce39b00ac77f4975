"""The declared parameters of an entry against those of a launch."""

from __future__ import annotations

import pytest

from quasim.errors import DataError
from quasim.kernels.sizes import Size
from quasim.targets.gpu.image import Number, Pointer, Real, Scratch, TensorMap
from quasim.targets.triton.abi import check_abi, parameter_bytes

PTX = """
.visible .entry matmul(
	.param .align 64 .b8 matmul_param_0[128],
	.param .u32 matmul_param_1,
	.param .u64 .ptr .global .align 1 matmul_param_2,
	.param .f32 matmul_param_3,
	.param .u64 .ptr .global .align 1 matmul_param_4
)
.reqntid 128
{
	.param .b32 of_a_call;
"""
MAP = TensorMap("a", "bfloat16", (Size(("m",)), Size(("k",))), (Size(("k",)), Size()), (64, 64), 3)
ARGUMENTS = (MAP, Number(Size(("m",)), 32), Pointer("c"), Real(0.5, 32), Scratch("global", 0, 1))


def test_sizes_are_read_from_the_entry_alone() -> None:
    assert parameter_bytes(PTX) == (128, 4, 8, 4, 8)
    check_abi(ARGUMENTS, PTX)


@pytest.mark.parametrize("wrong", [ARGUMENTS[:-1], ARGUMENTS[::-1], (*ARGUMENTS, ARGUMENTS[-1])])
def test_another_order_or_number_is_refused(wrong: tuple[Pointer, ...]) -> None:
    with pytest.raises(DataError, match=r"declares parameters of \(128, 4, 8, 4, 8\) bytes"):
        check_abi(wrong, PTX)


def test_ptx_without_an_entry_is_refused() -> None:
    with pytest.raises(DataError, match="no entry"):
        parameter_bytes(".version 8.7")
