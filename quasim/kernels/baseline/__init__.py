"""The fixed baseline of each family: the plain loop nest that a newcomer writes, against which gains are reported.

The sources stand in C files beside this one and never change, so that ratios stay comparable over time. They have the
entry point of emitted code: ``int quasim_run(const int64_t *dims, void *const *tensors)`` takes the extents in the
order of ``Kernel.dims`` and the arrays in the order of ``Kernel.tensors``, and returns 0. The forms of a matrix product
share one file, and macros before it say which is meant.
"""

from __future__ import annotations

from pathlib import Path

from quasim.errors import UnknownNameError
from quasim.kernels.matmul import MATMULS, Matmul

FLAGS = ("-O3", "-march=native", "-fopenmp")
"""How every baseline is compiled."""

LIBRARIES = ("-lm",)

_MATMUL = "matmul"


def source(kernel: str) -> str:
    """The C source of a family's baseline.

    Raises:
        UnknownNameError: the family has none.
    """
    files = {path.stem: path for path in sorted(Path(__file__).parent.glob("*.c"))}
    forms = {form.name: "".join(f"#define {macro}\n" for macro in _macros(form)) for form in MATMULS}
    if kernel in forms:
        return forms[kernel] + files[_MATMUL].read_text()
    if kernel not in files:
        raise UnknownNameError(f"kernel {kernel!r} has no baseline", f"choose one of {', '.join(files)}")
    return files[kernel].read_text()


def _macros(form: Matmul) -> tuple[str, ...]:
    wanted = {
        "A_TRANSPOSED": form.layout[0] == "t",
        "B_TRANSPOSED": form.layout[1] == "t",
        "BATCHED": form.batched,
        form.operands.upper(): form.operands != "float32",
    }
    return tuple(macro for macro, want in wanted.items() if want)
