"""Whether a binary takes the parameters that we think: Triton's order of them is no promise between versions."""

from __future__ import annotations

import re
from collections.abc import Sequence

from quasim.errors import DataError
from quasim.targets.gpu.image import Argument, Number, Real, TensorMap

_ENTRY = re.compile(r"\.entry\s+[\w$]+\s*\((.*?)\)", re.DOTALL)
_PARAMETER = re.compile(r"\.param\s+(?:\.align\s+\d+\s+)?\.[a-z](\d+)\b[^,\[]*(?:\[(\d+)\])?")

POINTER_BYTES = 8
TENSOR_MAP_BYTES = 128


def check_abi(arguments: Sequence[Argument], ptx: str) -> None:
    """Hold the arguments of a launch against the entry's declaration.

    Raises:
        DataError: they differ in number or in a size.
    """
    expected, declared = tuple(map(_bytes, arguments)), parameter_bytes(ptx)
    if expected != declared:
        raise DataError(
            f"the kernel declares parameters of {declared} bytes, and we would pass {expected}",
            "this version of Triton orders them in another way; use one that docs/gpu-nodes.md names",
        )


def parameter_bytes(ptx: str) -> tuple[int, ...]:
    """Size of each parameter of the entry, in order.

    Raises:
        DataError: there is no entry.
    """
    entry = _ENTRY.search(ptx)
    if entry is None:
        raise DataError("the compiler's PTX has no entry", "check the version of triton")
    return tuple(int(bits) // 8 * int(count or 1) for bits, count in _PARAMETER.findall(entry[1]))


def _bytes(argument: Argument) -> int:
    if isinstance(argument, Number | Real):
        return argument.bits // 8
    return TENSOR_MAP_BYTES if isinstance(argument, TensorMap) else POINTER_BYTES
