"""The thin Ray edge of the aggregator: an actor that all find by its name."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress

import ray
from ray.actor import ActorHandle

from actors.aggregator import Aggregator, AggregatorSnapshot, AggregatorSpec
from actors.board import Mark
from actors.live import FleetLive, NodePulse
from actors.log_lines import log_json
from actors.metrics import of_fleet
from actors.placed import AGENT_CPUS, as_handle, pinned
from actors.ray_metrics import record
from actors.round_step import RoundStep
from quasim.energy.migration import HeatReport, Move
from storage.segments import Ack, Refusal


class RayAggregator:
    """An aggregator that opens its folders when it is first called.

    Not in the constructor: of what a constructor raises Ray keeps the text alone, and with it neither the type nor the
    exit code of an error. One that could not open tries again at its next call.
    """

    def __init__(self, spec: AggregatorSpec) -> None:
        log_json(os.environ, run=spec.folder.parent.name)
        self._spec = spec
        self._opened: Aggregator | None = None

    def _aggregator(self) -> Aggregator:
        if self._opened is None:
            self._opened = Aggregator(self._spec, told=lambda fleet: record(of_fleet(fleet)))
        return self._opened

    async def submit(self, batch: bytes) -> Ack | Refusal:
        """See ``Aggregator.submit``, and so for every method below."""
        return await self._aggregator().submit(batch)

    async def open_round(  # noqa: D102
        self, cycle: int, nodes: Sequence[str], roster: bytes | None = None
    ) -> RoundStep:
        return await self._aggregator().open_round(cycle, nodes, roster)

    async def answer(self, messages: Sequence[tuple[str, bytes]]) -> RoundStep:  # noqa: D102
        return await self._aggregator().answer(messages)

    async def deadline(self) -> RoundStep:  # noqa: D102
        return await self._aggregator().deadline()

    async def advise(self, reports: Sequence[HeatReport]) -> Move | None:  # noqa: D102
        return self._aggregator().advise(reports)

    async def moved(self, took_s: float) -> None:  # noqa: D102
        self._aggregator().moved(took_s)

    async def policy(self) -> bytes | None:  # noqa: D102
        return await self._aggregator().policy()

    async def tabulate(self) -> bool:  # noqa: D102
        return await self._aggregator().tabulate()

    async def snapshot(self) -> AggregatorSnapshot:  # noqa: D102
        return await self._aggregator().snapshot()

    async def pulse(self, pulse: NodePulse) -> None:  # noqa: D102
        await self._aggregator().pulse(pulse)

    async def mark(self, marks: Mapping[str, Mark]) -> None:  # noqa: D102
        await self._aggregator().mark(marks)

    async def live(self) -> FleetLive:  # noqa: D102
        return await self._aggregator().live()


def start_aggregator(spec: AggregatorSpec, name: str, machine: str) -> ActorHandle[RayAggregator]:
    """The aggregator, to be found by name; pinned to the machine that holds its store. It outlives the driver.

    One that an earlier driver left is ended first: what it was told may differ, and all that counts is on disk.
    """
    with suppress(ValueError):  # there is none
        ray.kill(ray.get_actor(name))
    placed = ray.remote(RayAggregator).options(
        name=name,
        lifetime="detached",
        num_cpus=AGENT_CPUS,
        max_restarts=-1,
        max_task_retries=-1,
        scheduling_strategy=pinned(machine),
    )
    return as_handle(placed.remote(spec))
