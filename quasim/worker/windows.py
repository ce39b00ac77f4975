"""Windows of launches that are timed one by one with the host's clock: what a CPU's competitors share."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from quasim.worker.prepared import Launch
from quasim.worker.protocol import Plan

RACE_SAMPLES = 3


def host_window(next_launch: Callable[[], Launch], plan: Plan, best_ns: float | None) -> tuple[int, ...]:
    """One window of samples in ns, as the plan says; a hopeless competitor's ends after three."""
    warm_up = _timed(next_launch())
    if warm_up >= plan.window_ns:
        return (warm_up,)  # as long as a whole window: what warming up changes is nothing beside that
    samples: list[int] = []
    total = 0
    hopeless_ns = math.inf if best_ns is None else best_ns * plan.race_ratio
    while not _enough(samples, total, plan, hopeless_ns):
        samples.append(_timed(next_launch()))
        total += samples[-1]
    return tuple(samples)


def _timed(launch: Launch) -> int:
    start = time.perf_counter_ns()
    launch()
    return max(1, time.perf_counter_ns() - start)


def _enough(samples: Sequence[int], total_ns: int, plan: Plan, hopeless_ns: float) -> bool:
    count = len(samples)
    if not count:
        return False
    if count >= plan.max_samples or total_ns >= plan.cap_ns:
        return True
    if total_ns >= plan.window_ns and count >= plan.min_samples:
        return True
    return count == RACE_SAMPLES and min(samples) > hopeless_ns
