"""Telemetry from nodes to the aggregator's disk through Ray: acknowledged rows a second, and how long one waits."""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import ray
from ray.actor import ActorHandle

from actors.aggregator import AggregatorSpec
from actors.placed import AGENT_CPUS, as_handle
from actors.ray_aggregator import RayAggregator, start_aggregator
from aggregation.agreement import Agreement
from aggregation.catalogue import Catalogue
from benchmarks.harness import Bar, Row, main, say
from cluster.ray_session import local_cluster
from quasim.trial import Genome, Problem, Status, Timing, Trial
from storage.batches import Evaluation, encode, owner_batch
from storage.pseudonyms import Pseudonyms
from storage.schemas import BatchKey

SENDERS = 2
NODES = 100
ROWS_PER_NODE_S = 10
SECONDS = 10
BATCH_ROWS = 1000
BATCHES = 200
ROUNDS = 3


def batches(node: str, count: int, rows: int) -> list[bytes]:
    """Encoded owner batches of one node, alike but for their numbers."""
    ids = Pseudonyms(bytes(32))
    problem = Problem.of("matmul", m=768, n=768, k=768)
    evaluations = [
        Evaluation(
            Trial(
                problem=problem,
                target="c",
                genome=Genome({"mr": row % 8, "kc": row}),
                status=Status.OK,
                timing=Timing(5e6 + row, 4.9e6, 6e6, 31),
                error_frobenius=3e-7,
                error_componentwise=1e-7,
                compile_ns=200_000_000,
                check_ns=3_000_000,
                measure_ns=60_000_000,
            ),
            cycle=0,
            number=row,
        )
        for row in range(rows)
    ]
    node_id = ids.id("node", node)
    return [encode(owner_batch(BatchKey(node_id, 0, n), "cpu", evaluations, ids.id)) for n in range(count)]


class Sender:
    """Some of the nodes: sends to the aggregator and clocks the answers."""

    def __init__(self, aggregator: str) -> None:
        self._aggregator = ray.get_actor(aggregator)
        self._prepared: list[list[bytes]] = []

    async def prepare(self, nodes: list[str], count: int, rows: int) -> None:
        """Encode everything before the clock runs."""
        self._prepared = [batches(node, count, rows) for node in nodes]

    async def flood(self, in_flight: int) -> tuple[float, float]:
        """Send all as fast as acknowledged, ``in_flight`` at a time: (start, end) in s of the shared clock."""
        queue = [data for node in self._prepared for data in node]
        start = time.monotonic()

        async def drain() -> None:
            while queue:
                await self._aggregator.submit.remote(queue.pop(0))

        await asyncio.gather(*(drain() for _ in range(in_flight)))
        return start, time.monotonic()

    async def pace(self, start: float) -> list[float]:
        """One batch per node and second from ``start`` on, nodes spread over the second: waits in s."""
        waits: list[float] = []

        async def node(number: int, data: list[bytes]) -> None:
            for second, batch in enumerate(data):
                due = start + second + number / len(self._prepared)
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                await self._aggregator.submit.remote(batch)
                # From when it was due: a sender that falls behind must not hide it.
                waits.append(time.monotonic() - due)

        await asyncio.gather(*(node(i, data) for i, data in enumerate(self._prepared)))
        return waits


def throughput(folder: Path, number: int) -> float:
    """Acknowledged rows per second, from the first submit to the last acknowledgement."""
    name, aggregator = _aggregator(folder / f"flood-{number}")
    senders = _senders(name)
    share = BATCHES // SENDERS
    ray.get([s.prepare.remote([f"n{number}-{i}"], share, BATCH_ROWS) for i, s in enumerate(senders)])
    spans = ray.get([s.flood.remote(8) for s in senders])
    stored = ray.get(aggregator.snapshot.remote()).store.rows
    _end(senders, aggregator)
    rows = share * SENDERS * BATCH_ROWS
    if stored != rows:
        raise RuntimeError(f"{rows} rows acknowledged, {stored} stored")
    seconds: float = max(end for _, end in spans) - min(start for start, _ in spans)
    return rows / seconds


def waits(folder: Path) -> list[float]:
    """Seconds from when a batch was due to its acknowledgement, for all nodes."""
    name, aggregator = _aggregator(folder / "pace")
    senders = _senders(name)
    nodes = [[f"p{n}" for n in range(i, NODES, SENDERS)] for i in range(SENDERS)]
    ray.get([s.prepare.remote(own, SECONDS, ROWS_PER_NODE_S) for s, own in zip(senders, nodes, strict=True)])
    start = time.monotonic() + 1.0
    found = [w for own in ray.get([s.pace.remote(start) for s in senders]) for w in own]
    _end(senders, aggregator)
    return found


def _aggregator(folder: Path) -> tuple[str, ActorHandle[RayAggregator]]:
    spec = AggregatorSpec(
        folder=folder / "aggregator",
        telemetry=folder / "telemetry",
        policies=folder / "policies",
        signing_key=folder / "signing.key",
        federation="benchmark",
        catalogue=Catalogue(()),
        floor=1,
        agreement=Agreement(secure=False),
    )
    name = str(folder)
    return name, start_aggregator(spec, name, ray.get_runtime_context().get_node_id())


def _senders(aggregator: str) -> list[ActorHandle[Sender]]:
    return [as_handle(ray.remote(Sender).options(num_cpus=AGENT_CPUS).remote(aggregator)) for _ in range(SENDERS)]


def _end(senders: list[ActorHandle[Sender]], aggregator: ActorHandle[RayAggregator]) -> None:
    for sender in senders:
        ray.kill(sender)
    ray.kill(aggregator)


def measure(_: argparse.Namespace | None = None) -> tuple[list[Row], list[Bar]]:
    """Throughput (median of rounds) and the distribution of waits."""
    with tempfile.TemporaryDirectory() as folder, local_cluster(os.cpu_count() or 1):
        say(f"telemetry: {BATCHES} batches of {BATCH_ROWS} rows, {ROUNDS} rounds")
        rates = [throughput(Path(folder), number) for number in range(ROUNDS)]
        say(f"telemetry: {NODES} nodes x {ROWS_PER_NODE_S} rows/s for {SECONDS} s")
        found = waits(Path(folder))
    p50, p99 = (float(np.percentile(found, p)) * 1e3 for p in (50, 99))
    within = float(np.mean([w <= 0.1 for w in found]))
    rows: list[Row] = [
        {"telemetry": "acknowledged rows/s", "median": float(np.median(rates)), "min": min(rates), "max": max(rates)},
        {"telemetry": "wait for acknowledgement [ms]", "p50": p50, "p99": p99, "max": max(found) * 1e3},
    ]
    return rows, [
        Bar.at_least("telemetry: acknowledged rows/s", float(np.median(rates)), 100_000),
        Bar.at_least(f"telemetry: acknowledged within 100 ms, {NODES} nodes x {ROWS_PER_NODE_S} rows/s", within, 0.99),
    ]


if __name__ == "__main__":
    main("telemetry", __doc__ or "", measure)
