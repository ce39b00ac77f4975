"""What a timed variant reached, computed from its time and from what its family must do at least."""

from __future__ import annotations

from quasim.kernels import CostFacts
from quasim.standing import Contender, Peaks
from quasim.trial import Introspection, Timing
from quasim.worker.protocol import Outcome


def reached(timing: Timing, cost: CostFacts, peaks: Peaks | None = None) -> Introspection:
    """Rates of compulsory work where it is known, and the share of the roofline where the peaks were measured."""
    seconds = timing.median_ns / 1e9
    least_ns = cost.roofline_ns(peaks.flops_per_s, peaks.copy_bytes_per_s) if peaks else None
    return Introspection(
        bytes_per_s=cost.bytes / seconds,
        flops_per_s=cost.flops / seconds if cost.flops else None,
        roofline_fraction=least_ns / timing.median_ns if least_ns is not None else None,
    )


def contender(outcome: Outcome) -> Contender:
    """What an entry showed in a contest."""
    return Contender(outcome.windows, outcome.timing, outcome.work, outcome.detail)
