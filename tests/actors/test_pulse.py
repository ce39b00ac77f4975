from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from actors.node_agent import NodeAgent
from actors.pulse import Heart, Vitals, pulse_of
from quasim.energy.loop import Gauges
from quasim.trial import EnergySource, Genome, Problem, Trial
from storage.segments import SegmentStore
from tests.actors.bench_device import PROBLEM, TableDevice
from tests.actors.test_node_agent import StoreLink, spec


def test_a_node_that_is_not_open_yet_invents_nothing() -> None:
    pulse = pulse_of("node-0", "rack-1", "starting", None, 9.0)
    assert (pulse.node, pulse.machine, pulse.state, pulse.at) == ("node-0", "rack-1", "starting", 9.0)
    assert (pulse.power_w, pulse.cap_w, pulse.temperature_c, pulse.last_batch_at) == (None,) * 4
    assert (pulse.energy_source, pulse.metered_why) == ("unmetered", "the node is not open yet")
    assert (pulse.device, pulse.cycle, pulse.problem, pulse.rows_sent) == ("", -1, "", 0)


def test_a_pulse_carries_what_was_read_and_the_problem_only_while_it_is_measured() -> None:
    gauges = Gauges(312.5, 400.0, 61.0, EnergySource.COUNTER, "")
    vitals = Vitals("H100", 3, "matmul[m=8]", gauges, 40, 32, 8.5)
    working, resting = (pulse_of("node-0", "rack-1", state, vitals, 9.0) for state in ("measuring", "idle"))
    assert (working.power_w, working.cap_w, working.temperature_c) == (312.5, 400.0, 61.0)
    assert (working.energy_source, working.metered_why) == ("counter", "")
    assert (working.rows_sent, working.rows_acknowledged, working.last_batch_at) == (40, 32, 8.5)
    assert (working.problem, resting.problem) == ("matmul[m=8]", "")


def test_an_agent_tells_of_itself_while_it_works(tmp_path: Path) -> None:
    told: list[Vitals] = []

    class Watched(TableDevice):
        def evaluate(self, problem: Problem, genomes: Sequence[Genome]) -> list[Trial]:
            told.append(agent.vitals())
            return super().evaluate(problem, genomes)

    device = Watched()
    store = SegmentStore(tmp_path / "telemetry")
    agent = NodeAgent(spec(tmp_path), device, StoreLink(store), clock=lambda: 77.0)
    before = agent.vitals()
    record = agent.run_cycle(0, None)
    after = agent.vitals()
    agent.close()
    store.close()
    assert (before.cycle, before.rows_sent, before.rows_acknowledged, before.last_batch_at) == (-1, 0, 0, None)
    assert {(seen.cycle, seen.problem, seen.rows_sent) for seen in told} == {(0, str(PROBLEM), 0)}
    assert after.cycle == 0
    assert after.rows_sent == after.rows_acknowledged == len(record.stages()) > 0
    assert (after.last_batch_at, after.device) == (77.0, device.device.name)
    assert (after.gauges.power_w, after.gauges.why) == (None, "nobody regulates")


def test_a_heart_beats_on_after_a_beat_that_failed_and_stops_when_closed() -> None:
    beats: list[int] = []
    third = threading.Event()

    def beat() -> None:
        beats.append(len(beats))
        if len(beats) == 1:
            raise RuntimeError("the aggregator is not there yet")
        if len(beats) == 3:
            third.set()

    heart = Heart(beat, period_s=0.001)
    assert third.wait(20)
    heart.close()
    assert "pulse" not in {thread.name for thread in threading.enumerate()}


def test_a_node_whose_duty_cycle_makes_it_wait_rests_and_keeps_its_problem() -> None:
    vitals = Vitals("H100", 3, "matmul[m=8]", Gauges(resting=True), 40, 32, 8.5)
    waiting, idle = (pulse_of("node-0", "rack-1", state, vitals, 9.0) for state in ("measuring", "idle"))
    assert (waiting.state, waiting.problem) == ("resting", "matmul[m=8]")
    assert (idle.state, idle.problem) == ("idle", "")
