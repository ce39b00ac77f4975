"""What a run writes down: the cycles of its fleet, and where everyone stood at the end."""

from __future__ import annotations

import msgspec

from actors.aggregator import AggregatorSnapshot
from actors.node_agent import NodeSnapshot
from actors.node_loop import CycleRecord
from quasim.standing import Standing
from quasim.targets.profile import Profile
from quasim.trial import Problem, Trial


class RoundOutcome(msgspec.Struct, frozen=True):
    """How the fleet's learning of one cycle ended.

    Attributes:
        policy_version: newest version after the round; 0 before the first.
        protocol: how the sum was formed, and so who could see what; empty when there is no policy.
        participants: nodes in the sum; 0 when the round was abandoned.
        abandoned: why there is no new policy; empty when there is one.
        refused: (node, reason) of messages that did not count.
    """

    policy_version: int
    protocol: str
    participants: int
    abandoned: str
    refused: tuple[tuple[str, str], ...]


class FleetCycle(msgspec.Struct, frozen=True):
    """One cycle of the fleet, as the folder of the run keeps it.

    Attributes:
        records: what each node measured; of an earlier cycle where a node was late.
    """

    cycle: int
    records: tuple[CycleRecord, ...]
    round: RoundOutcome


class Final(msgspec.Struct, frozen=True):
    """The last playoff of a problem.

    Attributes:
        trials: of the finalists; empty where nothing worked.
        default: of what runs where nobody tuned, from the same rounds; None where the space names nothing.
    """

    trials: tuple[Trial, ...]
    default: Trial | None


class FleetEnd(msgspec.Struct, frozen=True):
    """Where everyone stood at the end of a run.

    Attributes:
        finals, standings, profiles: final playoff, comparison and hardware counters of each problem, in the problems'
            order.
    """

    problems: tuple[Problem, ...]
    nodes: tuple[NodeSnapshot, ...]
    aggregator: AggregatorSnapshot
    finals: tuple[Final, ...]
    standings: tuple[Standing | None, ...]
    profiles: tuple[Profile | None, ...]
