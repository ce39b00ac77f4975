"""Build telemetry batches from trials, a column at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

import msgspec
import numpy as np
import pyarrow as pa

from quasim.trial import Genome, Introspection, Status, Trial
from storage.schemas import ENUMERATIONS, INTROSPECTION, OWNER_V2, SHARED_V1, BatchKey, Score, Stage, choices

_UNKNOWN = Introspection()

Identify = Callable[[str, str], str]
"""``Pseudonyms.id`` or ``IdDictionary.id``: the hashed id of a text as a kind."""

_BOUNDS = ((1.25, Score.NEAR), (2.0, Score.FAIR), (5.0, Score.SLOW), (math.inf, Score.POOR))
"""Few and far apart: a bucket says whether to try a configuration, not how long anything took."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A trial and where in the run it was made.

    Attributes:
        cycle: the fleet's cycle, from 0.
        number: how many evaluations of this problem the node had made before.
    """

    trial: Trial
    cycle: int
    number: int
    stage: Stage = Stage.SEARCH


def genome_text(genome: Genome) -> str:
    """The canonical text that a genome's id is made of: JSON with sorted names."""
    return msgspec.json.encode(dict(genome), order="sorted").decode()


def owner_batch(
    key: BatchKey, device_family: str, evaluations: Sequence[Evaluation], identify: Identify
) -> pa.RecordBatch:
    """Rows of ``OWNER_V2``, one for each evaluation, in order.

    Errors that are not finite (a wrong answer full of NaN) become null: the status says it. ``Trial.detail`` stays
    on the node, since it may name paths and sizes.
    """
    trials = [e.trial for e in evaluations]
    timings = [t.timing for t in trials]
    columns = {
        **_key_columns(key, len(trials)),
        **_hashed_columns(trials, identify),
        "kernel": [t.problem.kernel for t in trials],
        "target": [t.target for t in trials],
        "device_family": [device_family] * len(trials),
        "cycle": [e.cycle for e in evaluations],
        "evaluation": [e.number for e in evaluations],
        "stage": _codes("stage", [e.stage for e in evaluations]),
        "status": _codes("status", [t.status for t in trials]),
        "energy_source": _codes("energy_source", [t.energy_source for t in trials]),
        "error_against": _codes("error_against", [t.error_against for t in trials]),
        "time_median_ns": [t and t.median_ns for t in timings],
        "time_low_ns": [t and t.low_ns for t in timings],
        "time_high_ns": [t and t.high_ns for t in timings],
        "samples": [t and t.samples for t in timings],
        "error_frobenius": [_finite(t.error_frobenius) for t in trials],
        "error_componentwise": [_finite(t.error_componentwise) for t in trials],
        "energy_j": [t.energy_j for t in trials],
        "energy_low_j": [t.energy_low_j for t in trials],
        "energy_high_j": [t.energy_high_j for t in trials],
        "energy_above_idle_j": [t.energy_above_idle_j for t in trials],
        "compile_ns": [t.compile_ns for t in trials],
        "check_ns": [t.check_ns for t in trials],
        "measure_ns": [t.measure_ns for t in trials],
        **_introspection_columns(trials),
    }
    return _batch(columns, OWNER_V2)


def shared_batch(key: BatchKey, trials: Sequence[Trial], identify: Identify) -> pa.RecordBatch:
    """Rows of ``SHARED_V1``, ordered by their ids, so that not even the order of the evaluations is told."""
    hashed = _hashed_columns(trials, identify)
    scores = _scores(trials)
    order = sorted(
        range(len(trials)), key=lambda i: (*(h[i] for h in hashed.values()), scores[i].value, trials[i].status)
    )
    columns = {
        **_key_columns(key, len(trials)),
        **{name: [column[i] for i in order] for name, column in hashed.items()},
        "status": _codes("status", [trials[i].status for i in order]),
        "score": _codes("score", [scores[i] for i in order]),
    }
    return _batch(columns, SHARED_V1)


def encode(batch: pa.RecordBatch) -> bytes:
    """The batch as it travels and is spooled: an uncompressed Arrow IPC stream of one record batch."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def _batch(columns: dict[str, object], schema: pa.Schema) -> pa.RecordBatch:
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, field.type)
        for column, field in ((columns[field.name], field) for field in schema)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _key_columns(key: BatchKey, rows: int) -> dict[str, object]:
    return {
        "node_id": [bytes.fromhex(key.node)] * rows,
        "incarnation": np.full(rows, key.incarnation),
        "sequence": np.full(rows, key.sequence),
        "row": np.arange(rows, dtype=np.int32),
    }


def _hashed_columns(trials: Sequence[Trial], identify: Identify) -> dict[str, list[bytes]]:
    problems = {problem: bytes.fromhex(identify("problem", str(problem))) for problem in {t.problem for t in trials}}
    return {
        "problem_id": [problems[t.problem] for t in trials],
        "genome_id": [bytes.fromhex(identify("genome", genome_text(t.genome))) for t in trials],
    }


def _introspection_columns(trials: Sequence[Trial]) -> dict[str, list[float | None]]:
    known = [t.introspection or _UNKNOWN for t in trials]
    return {name: [getattr(one, name) for one in known] for name, _ in INTROSPECTION}


def _codes(column: str, members: Sequence[Enum]) -> pa.DictionaryArray:
    code = {member: i for i, member in enumerate(ENUMERATIONS[column])}
    return pa.DictionaryArray.from_arrays(pa.array([code[m] for m in members], pa.int8()), choices(column))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _scores(trials: Sequence[Trial]) -> list[Score]:
    best = dict.fromkeys({t.problem for t in trials}, math.inf)
    for trial in trials:
        best[trial.problem] = min(best[trial.problem], trial.time_ns)
    return [_score(t, best[t.problem]) for t in trials]


def _score(trial: Trial, best_ns: float) -> Score:
    if trial.status is not Status.OK:
        return Score.FAILED
    return next(score for bound, score in _BOUNDS if trial.time_ns / best_ns <= bound)
