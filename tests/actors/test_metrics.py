"""The table of metrics, what records make of it, and the Grafana dashboard that shows it."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from actors.energy import Spent
from actors.live import FleetLive, NodeLive, NodePulse
from actors.metrics import (
    CAP,
    CYCLES,
    DROPOUTS,
    ENERGY,
    METRICS,
    NODE_POLICY,
    NODES,
    PARTICIPANTS,
    POLICY,
    POWER,
    ROUND_TIME,
    ROUNDS,
    ROWS_REFUSED,
    ROWS_STORED,
    SPOOL_ROWS,
    TEMPERATURE,
    TRIALS,
    Kind,
    Metric,
    Sample,
    of_cycle,
    of_fleet,
    of_pulse,
    of_round,
)
from actors.node_events import CycleRecord, ProblemCycle
from actors.node_spec import NodeSnapshot
from quasim.targets import DeviceFacts
from quasim.trial import EnergySource, Genome, Problem, Status, Timing, Trial

GRAFANA = Path(__file__).parents[2] / "configs" / "grafana" / "quasim.json"
DOCS = Path(__file__).parents[2] / "docs" / "observability.md"
METERED = (POWER, CAP, TEMPERATURE)
MATMUL, SOFTMAX = Problem("matmul", (("m", 8),)), Problem("softmax", (("rows", 8),))

STANDS = NodeSnapshot(
    "node-0", DeviceFacts("CPU", "cpu"), cycle=3, policy_version=2, sent=40, waiting_rows=5, refused=7
)


def pulse(power_w: float | None = None, source: EnergySource = EnergySource.UNMETERED) -> NodePulse:
    return NodePulse(
        *("node-0", "host", "CPU", "idle", 3, ""), power_w, None, None, source.value, "no meter", 40, 30, None, 0.0
    )


def trial(problem: Problem, status: Status) -> Trial:
    timing = Timing(1.0, 1.0, 1.0, 3) if status is Status.OK else None
    return Trial(problem=problem, target="c", genome=Genome({"a": 1}), status=status, timing=timing)


def record(spent: Spent | None = None) -> CycleRecord:
    ok, failed = trial(MATMUL, Status.OK), trial(MATMUL, Status.COMPILE_ERROR)
    parts = (
        ProblemCycle(MATMUL, (ok,), (ok, failed), False, None, None, 1.0),
        ProblemCycle(SOFTMAX, (), (trial(SOFTMAX, Status.OK),), False, None, None, 1.0),
    )
    return CycleRecord("node-0", 3, 2, parts, spent or Spent())


def values(samples: list[Sample], metric: Metric) -> dict[tuple[str, ...], float]:
    return {sample.tags: sample.value for sample in samples if sample.metric is metric}


def test_names_are_ours_and_told_once_and_end_with_no_unit_of_prometheus() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    assert all(re.fullmatch("quasim(_[a-z]+)+", metric.name) for metric in METRICS)
    assert not any(metric.name.endswith(("_total", "_count", "_sum", "_bucket")) for metric in METRICS)


def test_tags_take_few_values() -> None:
    allowed = {"kernel", "status", "node", "source", "health", "outcome", "step"}
    assert {tag for metric in METRICS for tag in metric.tags} == allowed


def test_a_sample_has_the_tags_of_its_metric() -> None:
    with pytest.raises(ValueError, match="has tags"):
        Sample(TRIALS, 1, ("matmul",))
    with pytest.raises(ValueError, match="bounds"):
        Metric("quasim_wait_seconds", Kind.HISTOGRAM, "Waits.")


def test_a_cycle_counts_its_trials_by_kernel_and_status() -> None:
    samples = of_cycle(record(), STANDS)
    assert values(samples, TRIALS) == {("matmul", "ok"): 2, ("matmul", "compile_error"): 1, ("softmax", "ok"): 1}
    assert values(samples, CYCLES) == {("node-0",): 1}
    assert values(samples, NODE_POLICY) == {("node-0",): 2}
    assert values(samples, ROWS_REFUSED) == {("node-0",): 7}
    assert values(samples, SPOOL_ROWS) == {("node-0",): 5}


def test_joules_are_counted_only_where_a_meter_read_them() -> None:
    assert values(of_cycle(record(), STANDS), ENERGY) == {}
    spent = Spent("GPU", 5.0, None, ((MATMUL, 5.0), (SOFTMAX, 0.0)), "", EnergySource.COUNTER)
    assert values(of_cycle(record(spent), STANDS), ENERGY) == {("matmul", "counter"): 5.0}


def test_what_is_unmetered_has_no_value_and_is_never_zero() -> None:
    samples = of_pulse(pulse())
    assert all(math.isnan(value) for metric in METERED for value in values(samples, metric).values())


@pytest.mark.parametrize("source", [EnergySource.COUNTER, EnergySource.INTEGRATED, EnergySource.MODEL])
def test_power_has_its_source_and_no_value_under_any_other(source: EnergySource) -> None:
    shown = values(of_pulse(pulse(300.0, source)), POWER)
    assert shown.pop(("node-0", source.value)) == 300.0
    assert set(shown) == {("node-0", other.value) for other in EnergySource} - {("node-0", source.value)}
    assert all(math.isnan(value) for value in shown.values())


def test_a_fleet_shows_every_health_and_what_is_in_force() -> None:
    nodes = (NodeLive(pulse(), "ok", 0.0), NodeLive(pulse(), "lost", 0.0))
    samples = of_fleet(FleetLive(0.0, nodes, "idle", 4, 3, 30))
    assert values(samples, NODES) == {("ok",): 1, ("late",): 0, ("lost",): 1, ("left",): 0, ("draining",): 0}
    assert (values(samples, ROWS_STORED), values(samples, POLICY)) == ({(): 30}, {(): 3})


def test_a_round_counts_by_its_outcome_and_its_dropouts_by_step() -> None:
    samples = of_round(0.4, 3, {"keys": 1, "vectors": 0}, abandoned=False)
    assert values(samples, ROUNDS) == {("policy",): 1}
    assert values(samples, ROUND_TIME) == {(): 0.4}
    assert values(samples, PARTICIPANTS) == {(): 3}
    assert values(samples, DROPOUTS) == {("keys",): 1}
    abandoned = of_round(0.4, 0, {}, abandoned=True)
    assert values(abandoned, ROUNDS) == {("abandoned",): 1}
    assert values(abandoned, PARTICIPANTS) == {}


def expressions(dashboard: object) -> list[str]:
    if isinstance(dashboard, dict):
        own = [dashboard["expr"]] if "expr" in dashboard else []
        return own + [found for part in dashboard.values() for found in expressions(part)]
    return [found for part in dashboard for found in expressions(part)] if isinstance(dashboard, list) else []


def test_the_grafana_dashboard_shows_every_metric_and_no_other() -> None:
    shown = {name for text in expressions(json.loads(GRAFANA.read_text())) for name in re.findall(r"ray_\w+", text)}
    assert shown == {name for metric in METRICS for name in metric.exported}


def test_the_grafana_dashboard_groups_by_tags_that_the_metric_has() -> None:
    known = {name: metric.tags for metric in METRICS for name in metric.exported}
    for text in expressions(json.loads(GRAFANA.read_text())):
        (name,) = re.findall(r"ray_\w+", text)
        asked = {tag.strip() for group in re.findall(r"by \(([^)]*)\)", text) for tag in group.split(",")}
        assert asked <= {*known[name], "le"}, text


def test_the_grafana_dashboard_puts_no_two_sources_into_one_line() -> None:
    sourced = {name for metric in METRICS if "source" in metric.tags for name in metric.exported}
    assert sourced > {name for metric in METERED for name in metric.exported}
    for panel in json.loads(GRAFANA.read_text())["panels"]:
        for target in panel.get("targets", ()):
            if sourced & set(re.findall(r"ray_\w+", target["expr"])):
                assert re.search(r"by \([^)]*\bsource\b[^)]*\)", target["expr"]), target["expr"]
                assert "{{source}}" in target["legendFormat"]


def test_the_guide_lists_every_metric_with_its_tags() -> None:
    rows = re.findall(r"^\| `(quasim_\w+)` \| (\w+) \| ([^|]*) \|", DOCS.read_text(), re.MULTILINE)
    assert rows == [(m.name, m.kind.value, ", ".join(f"`{tag}`" for tag in m.tags)) for m in METRICS]
