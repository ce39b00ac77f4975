"""Telemetry made by hand, for the tests of this folder."""

from __future__ import annotations

from functools import lru_cache

from quasim.trial import EnergySource, ErrorAgainst, Genome, Introspection, Problem, Status, Timing, Trial
from storage.batches import Evaluation, encode, owner_batch
from storage.pseudonyms import Pseudonyms
from storage.schemas import BatchKey, Stage

SITE_KEY = bytes(range(32))
IDS = Pseudonyms(SITE_KEY)
MATMUL = Problem.of("matmul", m=768, n=512, k=640)


def key(sequence: int, *, node: str = "node-a", incarnation: int = 0) -> BatchKey:
    return BatchKey(IDS.id("node", node), incarnation, sequence)


def trial(tile: int = 32, *, time_ns: float | None = 1000.0, problem: Problem = MATMUL) -> Trial:
    timing = Timing(time_ns, time_ns * 0.9, time_ns * 1.1, 30) if time_ns else None
    status = Status.OK if timing else Status.CRASHED
    genome = Genome({"tile": tile, "pack": True})
    return Trial(problem=problem, target="c", genome=genome, status=status, timing=timing, compile_ns=5_000_000)


def metered_trial() -> Trial:
    return Trial(
        problem=MATMUL,
        target="c",
        genome=Genome({"tile": 8, "pack": False}),
        status=Status.OK,
        timing=Timing(500.0, 400.0, 700.0, 9),
        error_frobenius=1e-7,
        error_componentwise=float("inf"),
        error_against=ErrorAgainst.DEFAULT,
        energy_j=0.25,
        energy_source=EnergySource.COUNTER,
        energy_low_j=0.2,
        energy_high_j=0.375,
        energy_above_idle_j=0.125,
        check_ns=7,
        measure_ns=8,
        introspection=Introspection(
            registers=168, local_bytes=0, shared_bytes=65536, occupancy=0.25, flops_per_s=6.5e14, roofline_fraction=0.7
        ),
    )


def evaluations(*trials: Trial) -> list[Evaluation]:
    return [Evaluation(t, cycle=2, number=i, stage=Stage.SEARCH) for i, t in enumerate(trials)]


@lru_cache(maxsize=1024)
def batch_bytes(batch_key: BatchKey, *, rows: int = 3, time_ns: float = 1000.0) -> bytes:
    trials = [trial(2**i, time_ns=time_ns * (i + 1)) for i in range(rows)]
    return encode(owner_batch(batch_key, "cpu-x86_64", evaluations(*trials), IDS.id))
