"""What a run writes down: the cycles of its fleet, and where everyone stood at the end."""

from __future__ import annotations

import msgspec

from actors.aggregator import AggregatorSnapshot
from actors.node_events import CycleRecord
from actors.node_spec import NodeSnapshot
from quasim.energy.migration import Move
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


class PrivacySpent(msgspec.Struct, frozen=True):
    """What rounds with noise may have told of a node.

    Attributes:
        epsilon: at ``delta``, of all ``rounds`` that were opened, whether or not they came to a sum.
    """

    epsilon: float
    delta: float
    rounds: int


class TopicVerdicts(msgspec.Struct, frozen=True):
    """What the canaries found of one topic of a new policy.

    Attributes:
        slower, not_slower: nodes that say so.
    """

    kernel: str
    shape_class: str
    slower: int
    not_slower: int
    held: bool


class RoundLog(msgspec.Struct, frozen=True):
    """What a round of aggregation took; measured, so that no two runs log the same.

    Attributes:
        number: that the round ended with; one that the aggregator's restart interrupted went on under the next.
        asked: nodes that were asked; members: of the roster, 0 without one; participants: nodes in the sum.
        dropouts: (step, nodes) that the round went on without.
        to_nodes_bytes, from_nodes_bytes: of all messages.
        node_bytes: most that one node sent and received.
        node_cpu_s: most that one node's side of the protocol took; None where none answered.
        server_cpu_s: of the aggregator's side.
        wall_s: from opening to end, canaries included.
        canaries: what they found; empty where nothing had to be tried.
        privacy: of this round and all before it; None where sums are exact.
    """

    cycle: int
    number: int
    asked: int
    members: int
    participants: int
    abandoned: str
    dropouts: tuple[tuple[str, tuple[str, ...]], ...]
    to_nodes_bytes: int
    from_nodes_bytes: int
    node_bytes: int
    node_cpu_s: float | None
    server_cpu_s: float
    wall_s: float
    canaries: tuple[TopicVerdicts, ...]
    privacy: PrivacySpent | None


class MoveLog(msgspec.Struct, frozen=True):
    """What became of an advice to move a task.

    Attributes:
        made: the task moved.
        why: why it did not; "" where it did.
        took_s: for how long nobody worked on it, measured; None where it did not move.
    """

    move: Move
    made: bool
    why: str
    took_s: float | None = None


class FleetCycle(msgspec.Struct, frozen=True):
    """One cycle of the fleet, as the folder of the run keeps it.

    Attributes:
        records: what each node measured; of an earlier cycle where a node was late.
        moves: of tasks, after the cycle.
    """

    cycle: int
    records: tuple[CycleRecord, ...]
    round: RoundOutcome
    moves: tuple[MoveLog, ...] = ()


class Final(msgspec.Struct, frozen=True):
    """The last playoff of a problem.

    Attributes:
        trials: of the finalists; empty where nothing worked.
        default: of what runs where nobody tuned, from the same rounds; None where the space names nothing.
    """

    trials: tuple[Trial, ...]
    default: Trial | None


class NodeLost(msgspec.Struct, frozen=True):
    """A node that was gone or busy at the end and could not say what it had sent.

    Attributes:
        rows_stored: telemetry rows of it that were acknowledged, and so are stored.
    """

    name: str
    rows_stored: int


class FleetEnd(msgspec.Struct, frozen=True):
    """Where everyone stood at the end of a run.

    Attributes:
        nodes: those that had been told to leave stand as they left.
        lost: those whose machine was gone, and those that were busy for longer than the end waited.
        forgotten: rows that are stored of nodes which came back with an empty disk, and so do not count them as sent.
        finals, standings, profiles: final playoff, comparison and hardware counters of each problem, in the problems'
            order.
    """

    problems: tuple[Problem, ...]
    nodes: tuple[NodeSnapshot, ...]
    aggregator: AggregatorSnapshot
    finals: tuple[Final, ...]
    standings: tuple[Standing | None, ...]
    profiles: tuple[Profile | None, ...]
    lost: tuple[NodeLost, ...] = ()
    forgotten: int = 0
