"""Energy of a launch on this device: graphs are replayed while a thread reads the meter."""

from __future__ import annotations

import math
import time

import torch

from quasim.meters import Meter, Progress, Sampler, energy, idle_power_w, open_meter, window_of_work_ns
from quasim.meters.energy import Energy
from quasim.trial import EnergySource
from quasim.worker.cuda.timing import Graph

BATCH_NS = 20_000_000
"""Between two marks of progress: as often as the meter is read, and long against the queueing of a graph."""

WARM_NS = 500_000_000
"""Until power is steady, before progress counts."""


class Wattmeter:
    """The meter of one GPU, opened at first use.

    Args:
        uuid: of the GPU, the same for every library.
    """

    def __init__(self, uuid: str) -> None:
        self._uuid = uuid
        self._meter: Meter | None = None
        self._idle_w: float | None = None

    def energy(self, graph: Graph, window_ns: int) -> Energy:
        """Energy of one launch, while the graph is replayed for ``window_ns`` after warming up.

        The first call also reads what the idle device draws: the caller has it alone.
        """
        meter = self._opened()
        if meter.source is EnergySource.UNMETERED:
            return Energy(voided=meter.capabilities.energy or "no meter")
        with Sampler(meter) as sampler:
            progress = _work(graph, window_ns)
        least_ns = window_of_work_ns(window_ns)
        return energy(sampler.recording, progress, idle_power_w=self._idle_w, min_window_ns=least_ns)

    def _opened(self) -> Meter:
        if self._meter is None:
            self._meter = open_meter(self._uuid)
            if self._meter.source is not EnergySource.UNMETERED:
                torch.cuda.synchronize()
                self._idle_w = idle_power_w(self._meter)
        return self._meter


def _work(graph: Graph, window_ns: int) -> Progress:
    """Replay without a pause, and note when how many launches were finished."""
    batch = max(1, math.ceil(BATCH_NS / (graph.times(1)[0] * graph.launches)))
    marks: list[tuple[int, float]] = []
    begin = time.monotonic_ns()
    behind, finished = _queue(graph, batch), 0
    while not marks or marks[-1][0] < begin + WARM_NS + window_ns:
        ahead = _queue(graph, batch)  # before waiting, so that the device never does
        behind.synchronize()
        finished += batch * graph.launches
        marks.append((time.monotonic_ns(), float(finished)))
        behind = ahead
    behind.synchronize()
    return [mark for mark in marks if mark[0] >= begin + WARM_NS]


def _queue(graph: Graph, batch: int) -> torch.cuda.Event:
    for _ in range(batch):
        graph.replay()
    event = torch.cuda.Event()
    event.record()
    return event
