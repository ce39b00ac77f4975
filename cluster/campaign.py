"""What a run cost in joules, and when its winners have saved them. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import msgspec

from actors.node_events import CycleRecord
from quasim.trial import EnergySource, Problem, Trial

WEAKER = (EnergySource.COUNTER, EnergySource.INTEGRATED, EnergySource.MODEL, EnergySource.UNMETERED)
"""Sources of joules, each worth less than the one before."""


class NodeEnergy(msgspec.Struct, frozen=True):
    """What a node's device drew during its cycles.

    Attributes:
        device: model and UUID of what was metered; empty where nothing was.
        joules: gross; None where a cycle has no figure, ``detail`` says why.
        above_idle_j: the same less what the idle device draws; None where its idle power is not known.
        source: of the joules; ``model``: the device is simulated.
    """

    node: str
    device: str
    joules: float | None
    above_idle_j: float | None
    detail: str
    source: EnergySource = EnergySource.UNMETERED


class CampaignEnergy(msgspec.Struct, frozen=True):
    """What tuning drew, on all nodes; final playoffs and standings come after it and are not in it.

    Attributes:
        joules, above_idle_j: sums over the nodes; None where one has no figure.
        detail: why there is no sum; empty where there is one.
    """

    nodes: tuple[NodeEnergy, ...]
    joules: float | None
    above_idle_j: float | None
    detail: str

    @property
    def source(self) -> EnergySource:
        """Of the sum: the weakest of the nodes', so that ``model`` as soon as one node's joules are."""
        if self.joules is None:
            return EnergySource.UNMETERED
        return max((node.source for node in self.nodes), key=WEAKER.index, default=EnergySource.UNMETERED)


class Payback(msgspec.Struct, frozen=True):
    """When the winner of a problem has saved what finding it cost.

    Attributes:
        spent_j: gross joules that all nodes drew while they tuned this problem; None where not metered.
        default_j, winner_j: of one launch, from the same playoff; None where not metered.
        spent_source: of ``spent_j``; ``model``: the device is simulated, though its launches may have been recorded.
        runs: launches of the winner instead of the default that save ``spent_j``; None: ``detail`` says why.
    """

    spent_j: float | None
    default_j: float | None
    winner_j: float | None
    runs: int | None
    detail: str
    spent_source: EnergySource = EnergySource.UNMETERED


def campaign_energy(records: Sequence[CycleRecord]) -> CampaignEnergy:
    """Joules by node and in all."""
    names = sorted({record.node for record in records})
    nodes = tuple(_node(name, [record for record in records if record.node == name]) for name in names)
    detail = next((f"{node.node}: {node.detail}" for node in nodes if node.detail), "") or _shared(nodes)
    if detail:
        return CampaignEnergy(nodes, None, None, detail)
    return CampaignEnergy(nodes, _sum([n.joules for n in nodes]), _sum([n.above_idle_j for n in nodes]), "")


def payback(records: Sequence[CycleRecord], problem: Problem, winner: Trial | None, default: Trial | None) -> Payback:
    """When the winner has paid for the campaign.

    Args:
        winner, default: from the same playoff; None: nothing worked, or the space names no default.
    """
    campaign = campaign_energy(records)
    spent = None if campaign.joules is None else _spent_on(records, problem)
    default_j, winner_j = (trial.energy_j if trial else None for trial in (default, winner))
    detail = campaign.detail or _unmetered("winner", winner) or _unmetered("default", default)
    found = partial(Payback, spent, default_j, winner_j, spent_source=campaign.source)
    if detail or spent is None or default_j is None or winner_j is None:
        return found(None, detail)
    assert winner is not None
    assert default is not None
    if default_j <= winner_j:
        return found(None, "the winner saves nothing over the default")
    least = default_j if default.energy_low_j is None else default.energy_low_j
    if least <= (winner.energy_high_j or winner_j):
        return found(None, "the saving is within what the meter can tell")
    return found(math.ceil(spent / (default_j - winner_j)), "")


def _node(name: str, records: Sequence[CycleRecord]) -> NodeEnergy:
    spent = [record.spent for record in records]
    detail = next((f"cycle {r.cycle}: {r.spent.detail}" for r in records if r.spent.detail), "")
    devices = ", ".join(dict.fromkeys(one.device for one in spent if one.device))
    joules, above = _sum([s.joules for s in spent]), _sum([s.above_idle_j for s in spent])
    return NodeEnergy(name, devices, joules, above, detail, spent[-1].source)


def _shared(nodes: Sequence[NodeEnergy]) -> str:
    """Why joules of nodes must not be added: a counter counts for everyone who uses its device."""
    devices = [node.device for node in nodes]
    twice = next((device for device in devices if devices.count(device) > 1), "")
    return f"several nodes share {twice}, whose counter counts for all of them" if twice else ""


def _spent_on(records: Sequence[CycleRecord], problem: Problem) -> float:
    return sum(joules for record in records for about, joules in record.spent.by_problem if about == problem)


def _sum(figures: Sequence[float | None]) -> float | None:
    known = [figure for figure in figures if figure is not None]
    return sum(known) if len(known) == len(figures) else None


def _unmetered(what: str, trial: Trial | None) -> str:
    if trial is None:
        return f"there is no {what}"
    if trial.energy_j is not None:
        return ""
    why = why_unmetered(trial)
    return f"the {what} was not metered{why and ': '}{why}"


def why_unmetered(trial: Trial) -> str:
    """The reason alone; empty where none was given."""
    return trial.detail.removeprefix(f"{EnergySource.UNMETERED.value}: ")
