"""From the tile IR, a genome and a shape to a program of threads, by the pattern of the IR and no family's name."""

from __future__ import annotations

from collections.abc import Mapping

from quasim.kernels.ir import Dot, Kernel, Map
from quasim.kernels.lower.pattern import Pattern, pattern, unsupported
from quasim.kernels.lower.threads_contraction import lower_contraction
from quasim.kernels.lower.threads_pointwise import lower_flat, lower_tiled
from quasim.kernels.lower.threads_rows import lower_rows
from quasim.kernels.lower.tiles_known import Known
from quasim.kernels.lower.tiles_pointwise import can_flatten
from quasim.kernels.threaded import ThreadProgram
from quasim.kernels.walk import walk
from quasim.trial import Genome


def thread_pattern(kernel: Kernel) -> Pattern:
    """The pattern of a kernel for which threads have a schedule.

    Raises:
        LoweringError: they have none, such as for products of operands other than float32.
    """
    found = pattern(kernel)
    nodes = tuple(walk(kernel.body))
    formats: set[str] = {tensor.dtype for tensor in kernel.tensors}
    formats |= {node.dtype for node in nodes if isinstance(node, Map)}
    formats |= {node.precision for node in nodes if isinstance(node, Dot)}
    if formats != {"float32"}:
        raise unsupported(kernel, "formats other than float32, for which threads have no schedule")
    if found not in (Pattern.CONTRACTION, Pattern.ROWS, Pattern.POINTWISE, Pattern.SECTIONS):
        raise unsupported(kernel, f"{found.value}, for which threads have no schedule")
    return found


def lower_threads(kernel: Kernel, genome: Genome, shape: Mapping[str, int]) -> ThreadProgram:
    """The program of a kernel under the schedule of a genome.

    The shape decides which guards are left out, which accesses move four elements at once and how wide integers are;
    the program's requirements say for which other shapes it is right as well.

    Raises:
        ShapeError: the shape is outside the kernel's domain.
        LoweringError: see ``thread_pattern``.
        SpaceError: the genome lacks a gene of the pattern, or its genes do not fit one another.
    """
    found = thread_pattern(kernel)
    if found is Pattern.CONTRACTION:
        return lower_contraction(kernel, genome, Known(kernel, shape))
    if found is Pattern.ROWS:
        return lower_rows(kernel, genome, Known(kernel, shape))
    if not can_flatten(kernel):
        return lower_tiled(kernel, genome, Known(kernel, shape))
    # What lies within is a constant, so that places of neighbours are known, and remainders are masks of bits.
    exact = tuple(axis.dim for axis in kernel.grid[1:]) if found is Pattern.SECTIONS else ()
    return lower_flat(kernel, genome, Known(kernel, shape, exact))
