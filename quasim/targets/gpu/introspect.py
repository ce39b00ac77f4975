"""What a trial tells of a variant beside its time: the compiler's facts, and what they and the time amount to."""

from __future__ import annotations

import msgspec

from quasim.kernels import CostFacts
from quasim.standing import Peaks
from quasim.targets.gpu.image import Loadable
from quasim.targets.reached import reached
from quasim.trial import Introspection, Timing


def introspection(
    image: Loadable | None, timing: Timing | None, cost: CostFacts, peaks: Peaks | None
) -> Introspection | None:
    """The facts of one variant; None where it was not compiled.

    Args:
        timing: None where it was not timed: rates stay unknown.
        peaks: what the device reached; None where that was not measured.
    """
    if image is None:
        return None
    return msgspec.structs.replace(
        reached(timing, cost, peaks) if timing else Introspection(),
        registers=image.resources.registers,
        local_bytes=image.resources.local_bytes,
        shared_bytes=image.resources.shared_bytes,
        occupancy=image.occupancy,
    )
