"""The fixed baseline of each family: the plain loop nest that a newcomer writes, against which gains are reported.

The sources stand in C files beside this one and never change, so that ratios stay comparable over time. They have the
entry point of emitted code: ``int quasim_run(const int64_t *dims, void *const *tensors)`` takes the extents in the
order of ``Kernel.dims`` and the arrays in the order of ``Kernel.tensors``, and returns 0.
"""

from __future__ import annotations

from pathlib import Path

from quasim.errors import UnknownNameError

FLAGS = ("-O3", "-march=native", "-fopenmp")
"""How every baseline is compiled."""

LIBRARIES = ("-lm",)


def source(kernel: str) -> Path:
    """The baseline's C file.

    Raises:
        UnknownNameError: the family has none.
    """
    known = {path.stem: path for path in sorted(Path(__file__).parent.glob("*.c"))}
    if kernel not in known:
        raise UnknownNameError(f"kernel {kernel!r} has no baseline", f"choose one of {', '.join(known)}")
    return known[kernel]
