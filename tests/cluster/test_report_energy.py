"""The report's table of regulation."""

from __future__ import annotations

import io

from rich.console import Console

from actors.node_events import CycleRecord
from cluster.report_energy import regulation, regulation_table, together
from quasim.energy.loop import Regulated
from quasim.trial import EnergySource

FIRST = Regulated(
    mode="enforce",
    device="simulated GPU of x",
    source=EnergySource.MODEL,
    seconds=9.0,
    samples=10,
    mean_power_w=300.0,
    top_power_w=400.0,
    top_temperature_c=60.0,
    lowest_cap_w=350.0,
    last_cap_w=380.0,
    advices=3,
    writes=3,
    reasons=(("start", 10),),
)
SECOND = Regulated(
    mode="enforce",
    device="simulated GPU of x",
    source=EnergySource.MODEL,
    seconds=29.0,
    samples=30,
    missed=2,
    mean_power_w=500.0,
    top_power_w=550.0,
    top_temperature_c=73.0,
    throttled=1,
    lowest_cap_w=360.0,
    last_cap_w=500.0,
    advices=2,
    writes=4,
    lowest_duty=0.5,
    rested_s=7.0,
    reasons=(("temperature", 25), ("start", 5)),
)


def shown(*records: CycleRecord) -> str:
    console = Console(width=400, record=True, file=io.StringIO())
    console.print(regulation_table(regulation(records)))
    return console.export_text()


def record(regulated: Regulated, cycle: int = 0) -> CycleRecord:
    return CycleRecord("x", cycle, 0, (), regulated=regulated)


def test_cycles_are_added_up_and_means_weighed_by_samples() -> None:
    both = together([FIRST, SECOND])
    assert (both.samples, both.missed, both.seconds, both.writes, both.advices) == (40, 2, 38.0, 7, 5)
    assert both.mean_power_w == 450.0
    assert (both.top_power_w, both.top_temperature_c, both.throttled) == (550.0, 73.0, 1)
    assert (both.lowest_cap_w, both.last_cap_w, both.lowest_duty, both.rested_s) == (350.0, 500.0, 0.5, 7.0)
    assert both.reasons == (("temperature", 25), ("start", 15))


def test_a_simulated_device_is_never_shown_as_measured() -> None:
    text = shown(record(FIRST), record(SECOND, 1))
    assert "model: simulated, not measured" in text
    assert "450 W mean, 550 top; 73 °C top" in text
    assert "cap 500 W, lowest 350" in text
    assert "7 writes; rested 7 s, which saves no joules of a job" in text


def test_a_node_that_nobody_watches_shows_the_reason_and_no_number() -> None:
    text = shown(record(Regulated(detail="the c target has no device that can be regulated")))
    assert "the c target has no device" in text
    assert " W" not in text
    assert "°C" not in text


def test_advice_is_shown_as_advice_alone() -> None:
    seen = Regulated(device="GPU", source=EnergySource.COUNTER, samples=5, last_cap_w=600.0, lowest_cap_w=600.0)
    text = shown(record(seen))
    assert "nothing: advice alone" in text
    assert "no power; no temperature" in text
