"""Regulation beside a node's work: simulated devices through the real agent, and the thread of a real one."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from actors.node_agent import NodeAgent
from actors.node_events import CycleRecord
from actors.regulation import BesideWork, NoRegulation, open_regulation
from quasim.energy import Action, Observation, Wanted
from quasim.energy.actuators import Setting, SimulatedActuator
from quasim.energy.duty import Aimd
from quasim.energy.enforcer import Enforcer
from quasim.energy.lease import CapLease
from quasim.energy.loop import ControlLoop, Gauges
from quasim.energy.plant import Physics, SimulatedGpu
from quasim.energy.plant_meter import SimulatedMeter
from quasim.energy.regulator import DeviceRegulator
from quasim.energy.spec import RegulationSpec
from quasim.errors import ConfigError
from quasim.trial import EnergySource, Genome, Problem, Trial
from storage.segments import SegmentStore
from tests.actors.bench_device import TableDevice
from tests.actors.test_node_agent import StoreLink, spec

WARM = Physics(ambient_c=38.0)
ADVISE = RegulationSpec(temperature_c=72.0, simulated=WARM)
ENFORCE = replace(ADVISE, mode="enforce")


def agent(tmp_path: Path, regulation: RegulationSpec) -> NodeAgent:
    told = replace(spec(tmp_path), evaluations=12)
    told.folder.mkdir(parents=True)
    device = TableDevice()
    meter, regulated = open_regulation(regulation, device, told.folder, alone=True, seed=7)
    return NodeAgent(told, device, StoreLink(SegmentStore(tmp_path / "telemetry")), meter, regulated)


def live(tmp_path: Path, regulation: RegulationSpec, cycles: int = 4) -> list[CycleRecord]:
    one = agent(tmp_path, regulation)
    try:
        return [one.run_cycle(cycle, None) for cycle in range(cycles)]
    finally:
        one.close()


def test_a_simulated_device_lives_through_the_nodes_work_and_says_that_it_is_a_model(tmp_path: Path) -> None:
    records = live(tmp_path, ADVISE)
    for record in records:
        assert record.regulated.source is record.spent.source is EnergySource.MODEL
        assert record.regulated.samples > 10
        assert record.spent.joules is not None
        assert "simulated" in record.spent.device
        assert record.spent.above_idle_j is not None
        assert 0 < record.spent.above_idle_j < record.spent.joules


def test_advice_leaves_a_warm_device_to_run_hot_and_enforcing_keeps_it_cool(tmp_path: Path) -> None:
    advised, enforced = (live(tmp_path / name, how, 6) for name, how in (("a", ADVISE), ("e", ENFORCE)))
    hottest = [max(record.regulated.top_temperature_c or 0 for record in records) for records in (advised, enforced)]
    assert hottest[0] > 80
    assert hottest[1] <= 75
    assert sum(record.regulated.writes for record in advised) == 0
    assert sum(record.regulated.writes for record in enforced) > 0
    assert min(record.regulated.lowest_cap_w or 0 for record in enforced) >= WARM.power_min_w


def test_closing_the_agent_puts_the_caps_back(tmp_path: Path) -> None:
    live(tmp_path, ENFORCE, 1)
    assert SimulatedActuator(tmp_path / "node-0" / "caps.json").setting() == Setting()


def test_the_same_seed_lives_the_same(tmp_path: Path) -> None:
    assert live(tmp_path / "a", ADVISE) == live(tmp_path / "b", ADVISE)


def test_a_node_without_a_device_has_no_figure_and_says_why(tmp_path: Path) -> None:
    (record,) = live(tmp_path, RegulationSpec(), 1)
    seen = record.regulated
    assert (seen.samples, seen.source, seen.device) == (0, EnergySource.UNMETERED, "")
    figures = (seen.mean_power_w, seen.top_power_w, seen.top_temperature_c, seen.last_cap_w, record.spent.joules)
    assert figures == (None,) * 5
    assert "the table target has no" in seen.detail


class Counting:
    """A regulator that tells when it has turned, and breaks on demand."""

    def __init__(self, regulator: DeviceRegulator, breaks_at: int | None = None) -> None:
        self._regulator = regulator
        self._breaks_at = breaks_at
        self.turns = 0
        self.reached = threading.Event()
        self.snapshot = regulator.snapshot
        self.state = regulator.state
        self.restore = regulator.restore

    def step(self, seen: Observation | None, now_ns: int) -> Action:
        self.turns += 1
        if self.turns == self._breaks_at:
            self.reached.set()
            raise RuntimeError("a defect")
        if self.turns == 5:
            self.reached.set()
        return self._regulator.step(seen, now_ns)


def beside(folder: Path, breaks_at: int | None = None) -> tuple[BesideWork, Counting]:
    """A thread on a simulated GPU whose time is the number of reads."""
    gpu = SimulatedGpu(Physics())
    gpu.load(1.0)
    reads = iter(range(1, 1 << 20))
    meter = SimulatedMeter(gpu, lambda: next(reads) * 1_000_000_000, np.random.default_rng(1))
    counting = Counting(DeviceRegulator(Physics().caps, Wanted(temperature_c=75.0)), breaks_at)
    return BesideWork(ControlLoop(meter, counting), 0.01, folder / "regulator"), counting


def test_the_thread_turns_while_the_agent_works_and_ends_with_it(tmp_path: Path) -> None:
    work, counting = beside(tmp_path)
    assert counting.reached.wait(30)
    work.worked(())
    assert work.regulated().samples >= 5
    work.close()
    turns = counting.turns
    assert "regulation" not in [thread.name for thread in threading.enumerate()]
    assert counting.turns == turns


def test_what_was_learned_survives_the_agent_but_not_the_boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, counting = beside(tmp_path)
    assert counting.reached.wait(30)
    work.regulated()
    work.close()
    again, resumed = beside(tmp_path)
    again.close()
    assert resumed.snapshot().writes > 0
    (tmp_path / "boot").write_text("another\n")
    monkeypatch.setattr("actors.regulation.BOOT", tmp_path / "boot")
    anew, fresh = beside(tmp_path, breaks_at=1)
    anew.close()
    assert fresh.snapshot().writes == 0


def test_a_regulator_that_breaks_is_told_of_and_the_node_works_on(tmp_path: Path) -> None:
    work, counting = beside(tmp_path, breaks_at=3)
    assert counting.reached.wait(30)
    work.worked(())
    work.close()
    assert "regulation has ended: a defect" in work.regulated().detail
    assert work.gauges() == Gauges(why="regulation has ended: a defect")


def test_a_node_rests_for_as_long_as_its_duty_cycle_makes_it_wait(tmp_path: Path) -> None:
    def never() -> CapLease:
        raise AssertionError("a duty cycle sets no cap")

    gpu, aimd, rested = SimulatedGpu(Physics()), Aimd(), []
    aimd.share = 0.5
    loop = ControlLoop(
        SimulatedMeter(gpu, lambda: 0, np.random.default_rng(1)),
        DeviceRegulator(Physics().caps, Wanted(temperature_c=75.0)),
        Enforcer(SimulatedActuator(tmp_path / "caps.json"), never, aimd),
    )
    clock = iter((0, 2_000_000_000, 5_000_000_000))

    def wait(seconds: float) -> None:
        rested.append((seconds, work.gauges().resting))

    work = BesideWork(loop, 60.0, tmp_path / "regulator", lambda: next(clock), wait)
    work.worked(())
    assert (rested, work.gauges().resting) == ([(2.0, True)], False)
    work.close()


def test_a_failed_trial_leaves_the_simulated_device_idle(tmp_path: Path) -> None:
    meter, regulation = open_regulation(ADVISE, TableDevice(), tmp_path, alone=True, seed=1)
    tally = meter.tally()
    crashed = TableDevice().evaluate(Problem.of("table", n=64), [Genome({"tile": 16, "unroll": 1, "pack": False})])
    regulation.worked([replace(trial, compile_ns=10_000_000_000) for trial in crashed])
    tally.lap(crashed[0].problem)
    joules = tally.spent().joules
    assert joules == pytest.approx(10 * WARM.settled_idle_w, rel=0.01)
    regulation.close()


@pytest.mark.parametrize("period_s", [0.0, 0.01, 2.0, 60.0])
def test_periods_that_see_nothing_are_refused(period_s: float) -> None:
    with pytest.raises(ConfigError, match="period_s"):
        RegulationSpec(period_s=period_s)


def test_limits_that_are_none_are_refused() -> None:
    with pytest.raises(ConfigError, match="not a power limit"):
        RegulationSpec(power_w=-1.0)
    with pytest.raises(ConfigError, match="not a temperature limit"):
        RegulationSpec(temperature_c=float("nan"))


def test_nobody_regulates_a_node_that_was_given_none() -> None:
    trials: Sequence[Trial] = ()
    none = NoRegulation("why not")
    none.worked(trials)
    assert none.regulated().detail == "why not"
    none.close()
