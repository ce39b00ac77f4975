"""Times a competitor by replaying CUDA graphs of its launches between events."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import pairwise

import torch

from quasim.worker.cuda.launcher import Launch
from quasim.worker.cuda.pacing import (
    RACE_SAMPLES,
    graph_launches,
    hopeless,
    race_launches,
    replays,
    warm_ups,
)
from quasim.worker.protocol import Plan


class GraphClock:
    """Times launches in rotation.

    Args:
        launches: one for each set of arrays; a graph goes through all of them in turn.
    """

    def __init__(self, launches: Sequence[Launch]) -> None:
        self._launches = launches
        self._graph: Graph | None = None

    def window(self, plan: Plan, best_ns: float | None) -> tuple[int, ...]:
        """One window of samples in ns a launch; a hopeless competitor's first is its last, and short.

        Raises:
            Exception: whatever a launch raises, or the driver tells of it afterwards.
        """
        if self._graph is None:
            race = Graph(self._launches, race_launches(best_ns, plan.race_ratio))
            first = race.times(1)
            if hopeless(first, best_ns, plan.race_ratio):
                # The first replay of a graph loads it; what counts are those that follow.
                first = race.times(RACE_SAMPLES)
            if hopeless(first, best_ns, plan.race_ratio):
                return _whole(first)
            self._graph = Graph(self._launches, graph_launches(min(first), len(self._launches)))
        estimate = min(self._graph.times(2)) * self._graph.launches  # of two: the first may load the graph
        self._graph.times(warm_ups(estimate))
        return _whole(self._graph.times(replays(estimate, plan)))

    def graph(self) -> Graph:
        """The graph that windows replay; there is one after the first window of who is not hopeless."""
        if self._graph is None:
            self._graph = Graph(self._launches, len(self._launches))
        return self._graph


class Graph:
    """A captured rotation through the launches.

    Args:
        count: how many launches it holds.

    Raises:
        Exception: whatever a launch raises.
    """

    def __init__(self, launches: Sequence[Launch], count: int) -> None:
        self.launches = count
        self._graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        with torch.cuda.stream(_capture_stream()):
            self._graph.capture_begin()
            try:
                for index in range(count):
                    launches[index % len(launches)]()
            except BaseException:
                with suppress(RuntimeError):  # the stream must stop capturing; what the launch raised says more
                    self._graph.capture_end()
                raise
            self._graph.capture_end()

    def replay(self) -> None:
        """Queue all launches once more."""
        self._graph.replay()

    def times(self, count: int) -> list[float]:
        """Time of a launch in ns, for each of so many replays that follow one another without a pause."""
        events = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
        events[0].record()
        for event in events[1:]:
            self.replay()
            event.record()
        events[-1].synchronize()
        milliseconds = [a.elapsed_time(b) for a, b in pairwise(events)]
        return [1e6 * each / self.launches for each in milliseconds]


@lru_cache(maxsize=1)
def _capture_stream() -> torch.cuda.Stream:
    """One for all: PyTorch keeps a workspace for products on each stream that it has seen."""
    return torch.cuda.Stream()


def _whole(times_ns: Sequence[float]) -> tuple[int, ...]:
    return tuple(max(1, round(each)) for each in times_ns)
