"""The page of the fleet: a tile for each node, from its pulse, or from the last cycle that a replay shows."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from actors.live import FleetLive, NodeLive
from actors.node_events import CycleRecord
from cluster.dashboard.names import Names
from cluster.dashboard.run_reader import RunReader
from cluster.dashboard.views import FleetView, NodeTile, Prose
from quasim.energy.loop import Regulated


def fleet_view(run: RunReader, names: Names, until: int | None = None) -> FleetView:
    """The fleet now, or after cycle ``until``."""
    newest = run.newest(until)
    if run.live is not None and until is None:
        return _now(run.live, newest, names, finished=run.end is not None)
    cycles = run.cycles(until)
    notes = ["this run has no live state: nodes are as their last cycle left them"] if until is None else []
    return FleetView(
        live=False,
        finished=False,
        at=None,
        nodes=tuple(_recorded(newest[node], run, names) for node in sorted(newest)),
        phase="",
        round=len(cycles),
        policy_version=cycles[-1].round.policy_version if cycles else 0,
        rows_stored=None,
        until=until,
        notes=names.texts(notes),
    )


def _now(live: FleetLive, newest: Mapping[str, CycleRecord], names: Names, *, finished: bool) -> FleetView:
    tiles = [_tile(node, newest.get(node.pulse.node), names) for node in live.nodes]
    return FleetView(
        live=True,
        finished=finished,
        at=live.at,
        nodes=tuple(map(_at_rest, tiles) if finished else tiles),
        phase=live.phase,
        round=live.round,
        policy_version=live.policy_version,
        rows_stored=live.rows_stored,
        until=None,
        notes=(),
    )


def _tile(node: NodeLive, last: CycleRecord | None, names: Names) -> NodeTile:
    pulse = node.pulse
    return NodeTile(
        node=pulse.node,
        machine=pulse.machine,
        device=pulse.device,
        state=pulse.state,
        health=node.health,
        cycle=pulse.cycle,
        kernel=pulse.problem.partition("[")[0],
        problem=names.text(pulse.problem),
        power_w=pulse.power_w,
        cap_w=pulse.cap_w,
        temperature_c=pulse.temperature_c,
        energy_source=pulse.energy_source,
        metered_why=names.text(pulse.metered_why),
        rows_sent=pulse.rows_sent,
        rows_acknowledged=pulse.rows_acknowledged,
        last_batch_at=pulse.last_batch_at,
        heard_at=node.heard_at,
        policy_version=last.policy_version if last else None,
    )


def _at_rest(tile: NodeTile) -> NodeTile:
    """Of a run that is over: whatever it last said that it was doing, it does no more."""
    health = tile.health if tile.health == "lost" else "finished"
    return msgspec.structs.replace(tile, health=health, state="finished", kernel="", problem=Prose(""))


def _recorded(record: CycleRecord, run: RunReader, names: Names) -> NodeTile:
    seen = record.regulated
    return NodeTile(
        node=record.node,
        machine="",
        device=_device(record, run),
        state="",
        health="recorded",
        cycle=record.cycle,
        kernel=", ".join(dict.fromkeys(part.problem.kernel for part in record.problems)),
        problem=Prose(""),
        power_w=seen.mean_power_w,
        cap_w=seen.last_cap_w,
        temperature_c=seen.top_temperature_c,
        energy_source=seen.source.value,
        metered_why=names.text(_why(seen)),
        rows_sent=None,
        rows_acknowledged=None,
        last_batch_at=None,
        heard_at=None,
        policy_version=record.policy_version,
    )


def _device(record: CycleRecord, run: RunReader) -> str:
    """As the node's end says, or what its meter calls it."""
    ended = {node.name: node.device.name for node in run.end.nodes} if run.end else {}
    return ended.get(record.node, record.spent.device)


def _why(seen: Regulated) -> str:
    if None not in (seen.mean_power_w, seen.last_cap_w, seen.top_temperature_c):
        return ""
    return seen.detail or ("no sample was taken" if not seen.samples else "the meter does not tell")
