"""From the tile IR and a genome to the lowered kernel, by the pattern of the IR and never by a family's name."""

from __future__ import annotations

from quasim.errors import UnknownNameError
from quasim.kernels.ir import Kernel
from quasim.kernels.lower.contraction import lower_contraction
from quasim.kernels.lower.pattern import LoweringError, Pattern, pattern, unsupported
from quasim.kernels.lower.pointwise import lower_pointwise
from quasim.kernels.lower.rows import lower_rows
from quasim.kernels.lower.sections import lower_sections
from quasim.kernels.lowered import Lowered
from quasim.trial import Genome

__all__ = ["LoweringError", "Pattern", "lower", "pattern"]

_CPU = {
    Pattern.CONTRACTION: lower_contraction,
    Pattern.ROWS: lower_rows,
    Pattern.POINTWISE: lower_pointwise,
    Pattern.SECTIONS: lower_sections,
}
_TARGETS = {"c": _CPU}


def lower(kernel: Kernel, genome: Genome, target: str) -> Lowered:
    """The loop nest of a kernel under the schedule of a genome.

    Raises:
        UnknownNameError: there are no schedules for this target.
        LoweringError: the kernel is of no pattern that has a schedule on the target.
        SpaceError: the genome lacks a gene of the pattern, or its sizes do not fit one another.
    """
    if target not in _TARGETS:
        raise UnknownNameError(f"no schedules for target {target!r}", f"choose one of {', '.join(_TARGETS)}")
    schedules, found = _TARGETS[target], pattern(kernel)
    if found not in schedules:
        raise unsupported(kernel, f"the form {found.value!r}, and target {target!r} has no such schedule")
    return schedules[found](kernel, genome)
