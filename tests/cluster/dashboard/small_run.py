"""A run's folder as two real agents on replayed devices fill it, without the actors' Ray around them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from actors.aggregator import AggregatorSnapshot
from actors.live import FleetLive, NodeLive
from actors.live_file import EventLog
from actors.node_agent import NodeAgent
from actors.node_events import CycleRecord
from actors.node_rounds import RoundsSpec
from actors.node_spec import NodeSnapshot, NodeSpec, fingerprint
from actors.pulse import pulse_of
from aggregation.fleet_state import FleetSnapshot, Phase
from aggregation.signing import PolicySigner
from cluster.config import FleetConfig
from cluster.run_folder import RunFolder
from cluster.run_log import Final, FleetCycle, FleetEnd, NodeLost, RoundLog, RoundOutcome, TopicVerdicts
from quasim.codec import to_json
from quasim.targets.replay import ReplayTarget, write_t4
from quasim.targets.spec import Recording, ReplaySpec
from quasim.trial import EnergySource, Problem, Trial
from storage.files import make_folder, write_atomic
from storage.keys import load_or_create_key
from storage.segments import Ack, Refusal, SegmentStore, StoreSnapshot
from storage.table import TelemetryTable

CYCLES = 3
NOW = 1_800_000_000.0
"""Unix seconds at which the fleet's state is written."""

NODES = ("node-0", "node-1")


class _Straight:
    """A link straight into the store."""

    def __init__(self, store: SegmentStore) -> None:
        self._store = store

    def submit(self, batch: bytes) -> Ack | Refusal | None:
        [answer] = self._store.append([batch])
        return answer


@dataclass(frozen=True)
class SmallRun:
    """Attributes: site: folder of its key and dictionary; problem: that both nodes tune."""

    folder: RunFolder
    site: Path
    problem: Problem


def with_joules(recording: Path, out: Path) -> Path:
    """The same device with a meter: a watt for its time, said to be a model's."""
    device = ReplayTarget("replay", [(0, recording)])
    space = device.space(device.problem)
    trials = device.evaluate(device.problem, [space.genome_at(cell) for cell in range(space.size)])
    metered = [
        msgspec.structs.replace(trial, energy_j=trial.time_ns / 1e9, energy_source=EnergySource.MODEL)
        if trial.timing
        else trial
        for trial in trials
    ]
    write_t4(out, device.device.name, device.problem, metered, space)
    return out


def make_run(path: Path, recording: Path) -> SmallRun:
    """Three cycles of two nodes, the first of which is metered; the second round was abandoned."""
    site = make_folder(path.parent / "site")
    metered = with_joules(recording, path.parent / "metered.t4.json.gz")
    config = FleetConfig(target=ReplaySpec((Recording(str(recording)),)), agents=2, cycles=CYCLES)
    folder = RunFolder.create(path, config)
    problem = ReplayTarget("replay", [(0, recording)]).problem
    with SegmentStore(folder.telemetry) as store, TelemetryTable(folder.table) as table:
        agents = [
            _agent(name, source, folder, site, problem, store)
            for name, source in zip(NODES, (metered, recording), strict=True)
        ]
        for cycle in range(CYCLES):
            write_cycle(folder, cycle, [agent.run_cycle(cycle, None) for agent in agents])
            table.commit(folder.telemetry)
        write_live(folder, agents, NOW)
        for agent in agents:
            agent.close()
    write_events(folder, problem)
    return SmallRun(folder, site, problem)


def _agent(
    name: str, recording: Path, folder: RunFolder, site: Path, problem: Problem, store: SegmentStore
) -> NodeAgent:
    spec = NodeSpec(
        name=name,
        folder=folder.node(name),
        federation="local",
        trusted_key=PolicySigner(bytes(32)).public_key,
        site_key=site / "site.key",
        site_fingerprint=fingerprint(load_or_create_key(site / "site.key")),
        dictionary=site / "ids",
        problems=(problem,),
        strategy="random",
        seed=NODES.index(name),
        first_cycle=0,
        evaluations=12,
        recheck=2,
        rounds=RoundsSpec(secure=False, identity=site / f"{name}.key"),
    )
    return NodeAgent(spec, ReplayTarget("replay", [(0, recording)]), _Straight(store), clock=lambda: NOW)


def write_cycle(folder: RunFolder, cycle: int, records: list[CycleRecord]) -> None:
    """The log of a cycle and of its round; that of cycle 1 found too few nodes."""
    abandoned = "below the floor" if cycle == 1 else ""
    version = (1, 1, 2)[cycle]
    label = "secure: the aggregator sees the sum alone"
    outcome = RoundOutcome(version, label, 0 if abandoned else 2, abandoned, ())
    log = RoundLog(
        cycle=cycle,
        number=cycle,
        asked=2,
        members=2,
        participants=0 if abandoned else 2,
        abandoned=abandoned,
        dropouts=(("vectors", ("node-1",)),) if abandoned else (),
        to_nodes_bytes=4000,
        from_nodes_bytes=3000,
        node_bytes=3500,
        node_cpu_s=0.01,
        server_cpu_s=0.02,
        wall_s=0.5,
        canaries=(TopicVerdicts("matmul", "m~2^8", 1, 2, False),),
        privacy=None,
    )
    steered = [msgspec.structs.replace(r, policy_version=(0, 1, 1)[cycle]) for r in records]
    write_atomic(folder.round_file(cycle), to_json(log))
    write_atomic(folder.cycle_file(cycle), to_json(FleetCycle(cycle, tuple(steered), outcome)))


def write_live(folder: RunFolder, agents: list[NodeAgent], at: float) -> None:
    """The state of the fleet as its aggregator would write it."""
    vitals = [agent.vitals() for agent in agents]
    pulses = [pulse_of(name, "127.0.0.1", "measuring", own, at) for name, own in zip(NODES, vitals, strict=True)]
    nodes = tuple(NodeLive(pulse, "ok", at) for pulse in pulses)
    rows = sum(pulse.rows_acknowledged for pulse in pulses)
    make_folder(folder.live)
    write_atomic(folder.fleet_now, to_json(FleetLive(at, nodes, "idle", CYCLES, 2, rows)))


def write_end(folder: RunFolder, problem: Problem, finals: tuple[Trial, Trial] | None = None) -> None:
    """The end of the run: node-1 was lost, and of the problem's last playoff there are these two, the default last."""
    device = ReplayTarget("replay", [(0, Path(folder.load_config().target.recordings[0].path))]).device  # type: ignore[union-attr]
    final = Final((finals[0],), finals[1]) if finals else Final((), None)
    end = FleetEnd(
        problems=(problem,),
        nodes=(NodeSnapshot("node-0", device, CYCLES - 1, 2, sent=40, waiting_rows=0, refused=0),),
        aggregator=AggregatorSnapshot(
            FleetSnapshot(Phase.IDLE, CYCLES - 1, CYCLES - 1, NODES, 2), StoreSnapshot(1, 6, 80, 1, 0, 0, ())
        ),
        finals=(final,),
        standings=(None,),
        profiles=(None,),
        lost=(NodeLost("node-1", 40),),
    )
    write_atomic(folder.end, to_json(end))


def write_events(folder: RunFolder, problem: Problem) -> None:
    """What the driver would have said."""
    times = iter(range(100))
    log = EventLog(folder.events, lambda: NOW - 100 + next(times))
    log.note("run-started", "two agents")
    for cycle in range(CYCLES):
        log.note("cycle-done", f"best {problem} 1.2 ms", cycle=cycle, round=cycle)
        log.note("regulator", "node-0 wants a cap", node="node-0", cycle=cycle)
    log.close()
