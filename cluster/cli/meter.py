"""`quasim meter`: what meters a device, and what it reads now."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.table import Table

from cluster.cli.output import console, print_json
from quasim.meters import (
    Meter,
    NoMeter,
    Recording,
    Sample,
    Sampler,
    infer_tick_ns,
    mean_power,
    meters,
    open_meter,
)

PERIOD_NS = 5_000_000
"""Close enough to see ticks of 100 ms to a twentieth."""

Facts = dict[str, object]


def meter(
    device: Annotated[str, typer.Option(help="`cpu`, or a GPU: index among the visible ones, or UUID.")] = "0",
    name: Annotated[str, typer.Option("--meter", help=f"auto, {', '.join(meters())}.")] = "auto",
    seconds: Annotated[float, typer.Option(min=0.1, max=60, help="How long to look.")] = 1.5,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Show what meters a device: its readings, the counter's tick, the cost of a read; or why it is unmetered."""
    opened = open_meter(device, name)
    try:
        facts = _facts(opened, seconds)
    finally:
        opened.close()
    if json:
        print_json(facts)
        return
    table = Table(show_header=False)
    for label, value in facts.items():
        table.add_row(label, _text(value))
    console().print(table)


def _facts(opened: Meter, seconds: float) -> Facts:
    facts: Facts = {"meter": opened.name, "device": opened.device, "source": opened.source.value}
    if isinstance(opened, NoMeter):
        return facts | {"why": opened.why}
    with Sampler(opened, PERIOD_NS) as sampler:
        time.sleep(seconds)
    return facts | {"unreadable": _unreadable(opened), "power_limits_w": _limits(opened)} | _readings(sampler.recording)


def _unreadable(opened: Meter) -> dict[str, str]:
    """Why, of each reading that the device does not give."""
    can = opened.capabilities
    return {name: why for name in can.__dataclass_fields__ if (why := getattr(can, name))}


def _limits(opened: Meter) -> dict[str, float | None]:
    limits = opened.power_limits
    return {"enforced": limits.enforced_w, "lowest": limits.lowest_w, "highest": limits.highest_w}


def _readings(recording: Recording) -> Facts:
    facts: Facts = {"samples": len(recording.samples), "faults": [fault.what for fault in recording.faults][:3]}
    if len(recording.samples) < 2:
        return facts
    tick_ns = infer_tick_ns(recording.samples)
    costs = sorted(sample.read_ns for sample in recording.samples)
    mean = mean_power(recording, min_window_ns=0)
    return facts | {
        "tick_ms": None if tick_ns is None else tick_ns / 1e6,
        "read_ms": costs[len(costs) // 2] / 1e6,
        "read_worst_ms": costs[-1] / 1e6,
        "mean_power_w": mean.j_per_op,
        "mean_power_low_w": mean.low,
        "mean_power_high_w": mean.high,
        "mean_power_voided": mean.voided,
        "now": _now(recording.samples[-1]),
    }


def _now(sample: Sample) -> Facts:
    return {
        "counter_j": sample.energy_j,
        "power_w": sample.power_w,
        "average_power_w": sample.average_power_w,
        "temperature_c": sample.temperature_c,
        "clock_mhz": sample.clock_mhz,
        "clock_events": sorted(sample.clock_events),
    }


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_text(item)}" for name, item in value.items()) or "–"
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or "–"
    return "–" if value in (None, "") else str(value)
