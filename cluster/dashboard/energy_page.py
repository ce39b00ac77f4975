"""The page of energy: joules spent by kernel, what winners save, and what regulation saw and wanted."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from actors.node_events import CycleRecord
from cluster.campaign import WEAKER, CampaignEnergy, campaign_energy, payback
from cluster.dashboard.names import Names
from cluster.dashboard.run_reader import RunReader
from cluster.dashboard.telemetry import KernelJoules, Telemetry
from cluster.dashboard.views import EnergyView, KernelEnergy, Moved, NodePower, Prose, Saving
from cluster.report_energy import together
from cluster.run_log import MoveLog
from quasim.energy.objective import best_of
from quasim.trial import EnergySource, Trial

ABOUT = ("regulator", "task-moved")
"""Kinds of events that this page repeats."""

NEWEST = 100


def energy_view(run: RunReader, names: Names, telemetry: Telemetry, until: int | None = None) -> EnergyView:
    """Joules up to cycle ``until``; what winners save is known when the run has ended, and stays out of replays."""
    records = run.records(until)
    campaign = campaign_energy(records) if records else CampaignEnergy((), None, None, "no cycle is done yet")
    events = [event for event in run.events(until) if event.kind in ABOUT]
    return EnergyView(
        joules=campaign.joules,
        above_idle_j=campaign.above_idle_j,
        source=campaign.source.value,
        why=names.text(campaign.detail),
        nodes=tuple(msgspec.structs.replace(node, detail=names.text(node.detail)) for node in campaign.nodes),
        kernels=_kernels(records, campaign, telemetry.joules, names),
        savings=_savings(run, names) if until is None else (),
        regulation=tuple(_power(node, own, names) for node, own in run.by_node(until).items()),
        moves=tuple(_moved(done.cycle, log, names) for done in run.cycles(until) for log in done.moves),
        events=tuple(names.event(event) for event in reversed(events[-NEWEST:])),
        until=until,
        notes=names.texts(telemetry.notes),
    )


def _kernels(
    records: Sequence[CycleRecord], campaign: CampaignEnergy, stored: Sequence[KernelJoules], names: Names
) -> tuple[KernelEnergy, ...]:
    tuned = {part.problem.kernel for record in records for part in record.problems}
    launches = {found.kernel: found for found in stored}
    why = names.text(campaign.detail)
    return tuple(
        _kernel(kernel, records, campaign, launches.get(kernel), why) for kernel in sorted(tuned | launches.keys())
    )


def _kernel(
    kernel: str, records: Sequence[CycleRecord], campaign: CampaignEnergy, launches: KernelJoules | None, why: Prose
) -> KernelEnergy:
    # Where several nodes share one counter, its joules must not be added.
    parts = [joules for r in records for problem, joules in r.spent.by_problem if problem.kernel == kernel]
    return KernelEnergy(
        kernel=kernel,
        spent_j=sum(parts) if parts and campaign.joules is not None else None,
        metered=launches.metered if launches else None,
        trials=launches.trials if launches else None,
        least_j=launches.least_j if launches else None,
        mean_j=launches.mean_j if launches else None,
        source=campaign.source.value,
        launch_source=launches.source if launches else EnergySource.UNMETERED.value,
        why=why,
    )


def _savings(run: RunReader, names: Names) -> tuple[Saving, ...]:
    end, records = run.end, run.records()
    if end is None:
        return ()
    found = []
    for problem, final in zip(end.problems, end.finals, strict=True):
        winner = best_of(final.trials, run.config.objective(problem))
        back = payback(records, problem, winner, final.default)
        figures = back.spent_j, back.default_j, back.winner_j, back.runs
        sources = back.spent_source.value, _weakest(winner, final.default).value
        found.append(Saving(names.problem(problem), *figures, *sources, names.text(back.detail)))
    return tuple(found)


def _weakest(*trials: Trial | None) -> EnergySource:
    """Source of joules of those trials that have some."""
    sources = [trial.energy_source for trial in trials if trial is not None and trial.energy_j is not None]
    return max(sources, key=WEAKER.index, default=EnergySource.UNMETERED)


def _power(node: str, own: Sequence[CycleRecord], names: Names) -> NodePower:
    parts = [record.regulated for record in own]
    whole = together(parts)
    return NodePower(
        node=node,
        device=whole.device,
        mode=whole.mode,
        source=whole.source.value,
        cycle=tuple(record.cycle for record in own),
        mean_power_w=tuple(part.mean_power_w for part in parts),
        top_temperature_c=tuple(part.top_temperature_c for part in parts),
        cap_w=tuple(part.last_cap_w for part in parts),
        throttled=tuple(part.throttled for part in parts),
        writes=whole.writes,
        reasons=tuple((names.text(reason), turns) for reason, turns in whole.reasons),
        why=names.text("" if whole.samples else whole.detail or "no sample was taken"),
    )


def _moved(cycle: int, log: MoveLog, names: Names) -> Moved:
    move = log.move
    return Moved(cycle, move.task, move.source, move.target, move.gain_s, log.made, names.text(log.why))
