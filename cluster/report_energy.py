"""The report's table of regulation: what each node's regulator saw, wanted and did."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from rich.table import Table

from actors.node_events import CycleRecord
from quasim.energy.loop import Regulated
from quasim.trial import EnergySource


class NodeRegulation(msgspec.Struct, frozen=True):
    """One node's cycles together."""

    node: str
    regulated: Regulated


def regulation(records: Sequence[CycleRecord]) -> tuple[NodeRegulation, ...]:
    """By node; its cycles are added up."""
    names = sorted({record.node for record in records})
    return tuple(NodeRegulation(name, together([r.regulated for r in records if r.node == name])) for name in names)


def together(parts: Sequence[Regulated]) -> Regulated:
    """Several stretches of one node as one.

    Args:
        parts: in order of time, one at least.
    """
    last, metered = parts[-1], [part for part in parts if part.mean_power_w is not None]
    counted: dict[str, int] = {}
    for name, turns in (reason for part in parts for reason in part.reasons):
        counted[name] = counted.get(name, 0) + turns
    samples = sum(part.samples for part in metered)
    return Regulated(
        mode="enforce" if any(part.mode == "enforce" for part in parts) else "advise",
        device=last.device,
        source=last.source,
        seconds=sum(part.seconds for part in parts),
        samples=sum(part.samples for part in parts),
        missed=sum(part.missed for part in parts),
        mean_power_w=sum((p.mean_power_w or 0.0) * p.samples for p in metered) / samples if samples else None,
        top_power_w=_most([part.top_power_w for part in parts]),
        top_temperature_c=_most([part.top_temperature_c for part in parts]),
        throttled=sum(part.throttled for part in parts),
        lowest_cap_w=min((part.lowest_cap_w for part in parts if part.lowest_cap_w is not None), default=None),
        last_cap_w=last.last_cap_w,
        advices=sum(part.advices for part in parts),
        writes=sum(part.writes for part in parts),
        safe=sum(part.safe for part in parts),
        lowest_duty=min(part.lowest_duty for part in parts),
        rested_s=sum(part.rested_s for part in parts),
        reasons=tuple(sorted(counted.items(), key=lambda item: (-item[1], item[0]))),
        detail=last.detail,
    )


def _most(figures: Sequence[float | None]) -> float | None:
    return max((figure for figure in figures if figure is not None), default=None)


def regulation_table(nodes: Sequence[NodeRegulation]) -> Table:
    """One row a node."""
    title = "Regulation: caps that were advised or enforced, and what the device did meanwhile"
    table = Table("node", "mode", "watched", "seen", "wanted", "done", title=title)
    table.title_justify = "left"
    for node in nodes:
        found = node.regulated
        if not found.samples:
            table.add_row(node.node, "none", found.detail or "no sample was taken", "", "", "")
        else:
            table.add_row(node.node, found.mode, _watched(found), _seen(found), _wanted(found), _done(found))
    return table


def _watched(found: Regulated) -> str:
    simulated = "model: simulated, not measured" if found.source is EnergySource.MODEL else found.source.value
    return f"{found.device} ({simulated}), {found.samples} samples in {found.seconds:.0f} s, {found.missed} missed"


def _seen(found: Regulated) -> str:
    power = (
        "no power" if found.mean_power_w is None else f"{found.mean_power_w:.0f} W mean, {found.top_power_w:.0f} top"
    )
    heat = "no temperature" if found.top_temperature_c is None else f"{found.top_temperature_c:.0f} °C top"
    return f"{power}; {heat}; slowed itself down in {found.throttled} samples"


def _wanted(found: Regulated) -> str:
    if found.last_cap_w is None or found.lowest_cap_w is None:
        return "no cap"
    reasons = ", ".join(f"{name} {turns}" for name, turns in found.reasons) or "nothing binds"
    return f"cap {found.last_cap_w:.0f} W, lowest {found.lowest_cap_w:.0f}; {found.advices} changes; {reasons}"


def _done(found: Regulated) -> str:
    if found.mode == "advise":
        return "nothing: advice alone"
    rest = "" if found.rested_s == 0 else f"; rested {found.rested_s:.0f} s, which saves no joules of a job"
    why = f"; {found.detail}" if found.detail else ""
    return f"{found.writes} writes{rest}{why}"
