"""Samples on their way to Prometheus through a real Ray."""

from __future__ import annotations

import math
import time
import urllib.request
from collections.abc import Callable

import pytest
import ray

from actors.metrics import POWER, ROUND_TIME, TEMPERATURE, TRIALS, Sample
from actors.ray_metrics import record

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

NODE = "of-the-metrics-test"


def scraped(until: Callable[[dict[str, float]], bool]) -> dict[str, float]:
    """Series of ours that Ray's exporter shows, once they are so; without the tags that Ray adds."""
    (head, *_) = ray.nodes()  # type: ignore[no-untyped-call]
    address = f"http://{head['NodeManagerAddress']}:{head['MetricsExportPort']}/metrics"
    for _ in range(150):
        with urllib.request.urlopen(address) as answer:
            lines = [line for line in answer.read().decode().splitlines() if line.startswith("ray_quasim_")]
        series = {short(line.rpartition(" ")[0]): float(line.rpartition(" ")[2]) for line in lines}
        if until(series):
            return series
        time.sleep(0.1)
    raise AssertionError(f"Ray exports only {sorted(series)}")


def short(series: str) -> str:
    name, _, tags = series.rstrip("}").partition("{")
    ours = [tag for tag in tags.split(",") if tag.split("=")[0] in ("kernel", "status", "node", "source", "le")]
    return f"{name}{{{','.join(ours)}}}"


POWERED = f'ray_quasim_power_watts{{node="{NODE}",source="counter"}}'


def test_what_is_recorded_is_exported_under_the_names_of_the_table() -> None:
    record([Sample(TRIALS, 2, (NODE, "ok")), Sample(TRIALS, 3, (NODE, "ok")), Sample(ROUND_TIME, 0.3)])
    counted = f'ray_quasim_trials_total{{kernel="{NODE}",status="ok"}}'
    series = scraped(lambda series: counted in series)
    assert series[counted] == 5
    assert series['ray_quasim_round_seconds_bucket{le="0.5"}'] >= 1


def test_a_gauge_is_exported_while_its_process_records_and_has_a_value() -> None:
    record([Sample(POWER, 300.0, (NODE, "counter")), Sample(TEMPERATURE, math.nan, (NODE, "counter"))])
    series = scraped(lambda series: POWERED in series)
    assert series[POWERED] == 300
    unmetered = f'ray_quasim_temperature_celsius{{node="{NODE}",source="counter"}}'
    assert unmetered not in series, "it was never metered"
    for _ in range(5):  # Ray forgets a gauge after 2 s here
        time.sleep(0.5)
        record([])
    assert scraped(lambda series: True)[POWERED] == 300
    record([Sample(POWER, math.nan, (NODE, "counter"))])
    assert scraped(lambda series: POWERED not in series)
