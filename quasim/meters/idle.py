"""What a device draws when nothing runs."""

from __future__ import annotations

import time
from collections.abc import Callable

from quasim.meters._base import Meter
from quasim.meters.sampler import Sampler
from quasim.meters.window import mean_power

SETTLE_S = 1.0
"""After the last work: clocks and power take a moment to fall."""

RECORD_S = 2.6
"""The shortest recording whose mean power has a figure, with a margin."""


def idle_power_w(meter: Meter, wait: Callable[[float], object] = time.sleep) -> float | None:
    """Watts of the device, which the caller has alone and leaves idle; None where the meter gave no figure.

    Args:
        wait: sleeps for seconds.
    """
    wait(SETTLE_S)
    with Sampler(meter) as sampler:
        wait(RECORD_S)
    recording = sampler.recording
    return mean_power(recording).j_per_op if len(recording.samples) > 1 else None
