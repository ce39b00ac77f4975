"""The page of rounds: who took part, who dropped out, what hid the vectors, and who works with the policy."""

from __future__ import annotations

from collections.abc import Sequence

from aggregation.agreement import SMALLEST
from aggregation.groups import groups_of
from aggregation.secure.degrees import degrees
from cluster.config import FleetConfig
from cluster.dashboard.names import Names
from cluster.dashboard.run_reader import RunReader
from cluster.dashboard.views import Adopted, Canary, RoundRow, RoundsView
from cluster.run_log import RoundLog, RoundOutcome, TopicVerdicts


def rounds_view(run: RunReader, names: Names, until: int | None = None) -> RoundsView:
    """Rounds up to cycle ``until``, and the policies that nodes worked with."""
    by_cycle = {done.cycle: done for done in run.cycles(until)}
    worked: dict[int, list[int]] = {}
    for record in run.records(until):
        worked.setdefault(record.cycle, []).append(record.policy_version)
    logs = {log.cycle: log for log in run.rounds(until)}
    rows, before = [], 0
    for cycle in sorted(by_cycle.keys() & logs.keys()):
        outcome = by_cycle[cycle].round
        rows.append(_row(logs[cycle], outcome, before, worked.get(cycle + 1, []), run.config, names))
        before = outcome.policy_version
    missing = len(by_cycle) - len(rows)
    notes = [f"{missing} of {len(by_cycle)} cycles have no log of their round"] if missing else []
    return RoundsView(tuple(rows), _adoption(run, until), until, names.texts(notes))


def _row(
    log: RoundLog, outcome: RoundOutcome, before: int, following: Sequence[int], config: FleetConfig, names: Names
) -> RoundRow:
    """One round.

    Args:
        before: version that was in force.
        following: versions that nodes worked the next cycle with.
    """
    released = not outcome.abandoned and outcome.policy_version > before
    masked = config.aggregation.protocol == "secure" and log.members >= SMALLEST
    return RoundRow(
        cycle=log.cycle,
        number=log.number,
        asked=log.asked,
        members=log.members,
        participants=log.participants,
        dropouts=log.dropouts,
        abandoned=names.text(log.abandoned),
        refused=tuple((node, names.text(why)) for node, why in outcome.refused),
        protocol=names.text(outcome.protocol),
        masked=masked,
        masks_each=_masks(log.members, config) if masked else None,
        policy_version=outcome.policy_version,
        released=released,
        adopted=sum(version >= outcome.policy_version for version in following) if following else None,
        worked=len(following) or None,
        to_nodes_bytes=log.to_nodes_bytes,
        from_nodes_bytes=log.from_nodes_bytes,
        node_cpu_s=log.node_cpu_s,
        server_cpu_s=log.server_cpu_s,
        wall_s=log.wall_s,
        canaries=tuple(map(_canary, log.canaries)),
        epsilon=log.privacy.epsilon if log.privacy else None,
        delta=log.privacy.delta if log.privacy else None,
    )


def _masks(members: int, config: FleetConfig) -> int:
    """Of the smallest group, which has the fewest."""
    return degrees(members // (groups_of(members) if config.aggregation.groups else 1)).k


def _canary(found: TopicVerdicts) -> Canary:
    return Canary(f"{found.kernel} {found.shape_class}", found.slower, found.not_slower, found.held)


def _adoption(run: RunReader, until: int | None) -> tuple[Adopted, ...]:
    return tuple(
        Adopted(node, tuple(record.cycle for record in own), tuple(record.policy_version for record in own))
        for node, own in run.by_node(until).items()
    )
