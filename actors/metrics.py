"""What a fleet shows to Prometheus: the table of its metrics, and which samples its records make. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import get_args

from actors.live import FleetLive, Health, NodePulse
from actors.node_events import CycleRecord
from actors.node_spec import NodeSnapshot
from quasim.trial import EnergySource

RAY_PREFIX = "ray_"
"""Ray puts this before the name of every metric that it exports."""


class Kind(Enum):
    """How a metric moves."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. Its tags take few values: nodes, kernel families, statuses; never a genome, a shape or an id.

    Attributes:
        name: with its unit at the end, without what Ray and Prometheus add to it.
        help: what is counted or shown.
        bounds: upper bounds of a histogram's buckets, in the unit of the metric.
    """

    name: str
    kind: Kind
    help: str
    tags: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if (self.kind is Kind.HISTOGRAM) != bool(self.bounds):
            raise ValueError(f"{self.name}: a histogram has bounds, and nothing else has")

    @property
    def exported(self) -> tuple[str, ...]:
        """Names under which Prometheus finds it.

        A histogram's ``_sum`` is left out: Ray adds up the middles of buckets, so it is no measurement.
        """
        if self.kind is Kind.COUNTER:
            return (f"{RAY_PREFIX}{self.name}_total",)
        if self.kind is Kind.HISTOGRAM:
            return (f"{RAY_PREFIX}{self.name}_bucket", f"{RAY_PREFIX}{self.name}_count")
        return (f"{RAY_PREFIX}{self.name}",)


@dataclass(frozen=True, slots=True)
class Sample:
    """A value of a metric.

    Attributes:
        value: to add to a counter, to show on a gauge, to put into a bucket; NaN: a gauge that has no value now.
        tags: values in the order of the metric's tags.
    """

    metric: Metric
    value: float
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.tags) != len(self.metric.tags):
            raise ValueError(f"{self.metric.name} has tags {self.metric.tags}, not {self.tags}")


TRIALS = Metric(
    "quasim_trials",
    Kind.COUNTER,
    "Measurements of a finished cycle by how they ended, repeated ones included.",
    ("kernel", "status"),
)
CYCLES = Metric("quasim_cycles", Kind.COUNTER, "Cycles that a node has finished.", ("node",))
ENERGY = Metric(
    "quasim_energy_joules",
    Kind.COUNTER,
    "Joules that tuning drew, gross; no sample where no meter read them.",
    ("kernel", "source"),
)
NODE_POLICY = Metric("quasim_node_policy_version", Kind.GAUGE, "Policy that a node worked with.", ("node",))
ROWS_SENT = Metric("quasim_rows_sent", Kind.GAUGE, "Telemetry rows committed since a node's first start.", ("node",))
ROWS_ACKNOWLEDGED = Metric(
    "quasim_rows_acknowledged", Kind.GAUGE, "Telemetry rows of a node that the aggregator has made durable.", ("node",)
)
ROWS_REFUSED = Metric("quasim_rows_refused", Kind.GAUGE, "Telemetry rows of a node that were set aside.", ("node",))
SPOOL_ROWS = Metric("quasim_spool_rows", Kind.GAUGE, "Telemetry rows of a node that wait after a cycle.", ("node",))
_METERED = ("node", "source")
POWER = Metric("quasim_power_watts", Kind.GAUGE, "Power of a node's device; no sample where unmetered.", _METERED)
CAP = Metric("quasim_power_cap_watts", Kind.GAUGE, "Power cap of a node's device; no sample where unknown.", _METERED)
TEMPERATURE = Metric(
    "quasim_temperature_celsius", Kind.GAUGE, "Temperature of a node's device; no sample where unmetered.", _METERED
)
NODES = Metric("quasim_nodes", Kind.GAUGE, "Nodes by health.", ("health",))
ROWS_STORED = Metric("quasim_rows_stored", Kind.GAUGE, "Telemetry rows that the aggregator holds.")
POLICY = Metric("quasim_policy_version", Kind.GAUGE, "Policy in force; 0 before the first.")
ROUNDS = Metric("quasim_rounds", Kind.COUNTER, "Rounds of aggregation by how they ended.", ("outcome",))
ROUND_TIME = Metric(
    "quasim_round_seconds",
    Kind.HISTOGRAM,
    "Wall time of a round from opening to end, canaries included.",
    bounds=(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
)
PARTICIPANTS = Metric("quasim_round_participants", Kind.COUNTER, "Nodes in the sums of rounds, counted once a round.")
DROPOUTS = Metric("quasim_round_dropouts", Kind.COUNTER, "Nodes that rounds went on without, by step.", ("step",))

METRICS = (
    TRIALS,
    CYCLES,
    ENERGY,
    NODE_POLICY,
    ROWS_SENT,
    ROWS_ACKNOWLEDGED,
    ROWS_REFUSED,
    SPOOL_ROWS,
    POWER,
    CAP,
    TEMPERATURE,
    NODES,
    ROWS_STORED,
    POLICY,
    ROUNDS,
    ROUND_TIME,
    PARTICIPANTS,
    DROPOUTS,
)

HEALTHS: tuple[Health, ...] = get_args(Health)


def of_cycle(record: CycleRecord, node: NodeSnapshot) -> list[Sample]:
    """What a finished cycle adds, and where the node then stands."""
    ended = Counter((trial.problem.kernel, trial.status.value) for _, trial in record.stages())
    samples = [Sample(TRIALS, count, how) for how, count in sorted(ended.items())]
    tags = (record.node,)
    samples += [
        Sample(CYCLES, 1, tags),
        Sample(NODE_POLICY, record.policy_version, tags),
        Sample(ROWS_REFUSED, node.refused, tags),
        Sample(SPOOL_ROWS, node.waiting_rows, tags),
    ]
    if record.spent.source is not EnergySource.UNMETERED:
        source = record.spent.source.value
        samples += [Sample(ENERGY, j, (problem.kernel, source)) for problem, j in record.spent.by_problem if j > 0]
    return samples


def of_pulse(pulse: NodePulse) -> list[Sample]:
    """Where a node stands; what is unmetered has no value, nor has any source but the one that its meter now has."""
    rows = ((ROWS_SENT, pulse.rows_sent), (ROWS_ACKNOWLEDGED, pulse.rows_acknowledged))
    metered = ((POWER, pulse.power_w), (CAP, pulse.cap_w), (TEMPERATURE, pulse.temperature_c))
    samples = [Sample(metric, value, (pulse.node,)) for metric, value in rows]
    for source in EnergySource:
        own = source.value == pulse.energy_source
        samples += [
            Sample(metric, value if own and value is not None else math.nan, (pulse.node, source.value))
            for metric, value in metered
        ]
    return samples


def of_fleet(fleet: FleetLive) -> list[Sample]:
    """Where the fleet stands; a health that no node has is shown as none."""
    healths = Counter(node.health for node in fleet.nodes)
    samples = [Sample(NODES, healths[health], (health,)) for health in HEALTHS]
    return [*samples, Sample(ROWS_STORED, fleet.rows_stored), Sample(POLICY, fleet.policy_version)]


def of_round(wall_s: float, participants: int, dropouts: Mapping[str, int], *, abandoned: bool) -> list[Sample]:
    """What a round of aggregation adds.

    Args:
        dropouts: nodes that the round went on without, by step.
    """
    return [
        Sample(ROUNDS, 1, ("abandoned" if abandoned else "policy",)),
        Sample(ROUND_TIME, wall_s),
        *([Sample(PARTICIPANTS, participants)] if participants else []),
        *(Sample(DROPOUTS, nodes, (step,)) for step, nodes in sorted(dropouts.items()) if nodes),
    ]
