"""How many launches go into a graph, and how many graphs into a window. Pure: times in, counts out.

An event's clock ticks every half microsecond and a graph takes some microseconds to begin, so that a sample is a graph
of many launches, and its time is shared out among them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from quasim.worker.protocol import Plan

SAMPLE_NS = 1_000_000
"""Least time of a sample: ten microseconds of overhead are a hundredth of it."""

RACE_NS = 200_000
"""Least time of a race's sample, were the variant just hopeless: a twentieth of it would not save or condemn it."""

RACE_LAUNCHES = 3

RACE_SAMPLES = 3

MAX_LAUNCHES = 4096
"""In a graph; building one of these takes about 0.1 s."""

WARM_NS = 5_000_000
"""Before each window: clocks rise, and the tables that another entry used are replaced."""


def race_launches(best_ns: float | None, ratio: float) -> int:
    """Launches of the first sample, by which hopeless variants are known."""
    if best_ns is None:
        return RACE_LAUNCHES
    return min(MAX_LAUNCHES, max(RACE_LAUNCHES, math.ceil(RACE_NS / (best_ns * ratio))))


def hopeless(samples_ns: Sequence[float], best_ns: float | None, ratio: float) -> bool:
    """Whether all samples of a launch are slower than ``ratio`` times the best known."""
    return best_ns is not None and min(samples_ns) > best_ns * ratio


def graph_launches(launch_ns: float, sets: int) -> int:
    """Launches of a graph: whole rotations through the sets, and at least ``SAMPLE_NS`` long."""
    wanted = max(1, min(MAX_LAUNCHES, math.ceil(SAMPLE_NS / launch_ns)))
    return -(-wanted // sets) * sets


def warm_ups(graph_ns: float) -> int:
    """Replays before a window that are not counted."""
    return max(1, math.ceil(WARM_NS / graph_ns))


def replays(graph_ns: float, plan: Plan) -> int:
    """Samples of a window."""
    wanted = max(plan.min_samples, math.ceil(plan.window_ns / graph_ns))
    within = max(1, int(plan.cap_ns / graph_ns))
    return min(wanted, plan.max_samples, within)
