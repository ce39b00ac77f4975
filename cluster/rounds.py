"""Drives one round after the other: enrols nodes, carries messages, keeps the deadlines, and counts what it took.

    open ──► messages ──► nodes answer, each step within its deadline ──► messages … ──► policy or abandoned

A node that dies or is late in any step has dropped out; whether the round goes on is the protocol's business.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.actor import ActorHandle

from actors.metrics import of_round
from actors.node_rounds import Accord, Answer
from actors.ray_aggregator import RayAggregator
from actors.ray_metrics import record
from actors.remote import RayNode
from actors.round_step import RoundStep
from aggregation.canary import Tally
from cluster.agreed import spent
from cluster.calls import get
from cluster.config import FleetConfig
from cluster.membership import Membership
from cluster.run_log import PrivacySpent, RoundLog, TopicVerdicts
from quasim.errors import QuasimError

LOG = logging.getLogger(__name__)

Nodes = Mapping[str, ActorHandle[RayNode]]


@dataclass(frozen=True, slots=True)
class Round:
    """How a round ended.

    Attributes:
        policy: signed policy that it gave; None where it gave none.
        refused: (node, reason) of messages that did not count.
    """

    policy: bytes | None
    abandoned: str
    refused: tuple[tuple[str, str], ...]
    log: RoundLog


@dataclass(slots=True)
class _Tally:
    """What a round has taken so far."""

    refused: list[tuple[str, str]] = field(default_factory=list)
    participants: tuple[str, ...] = ()
    dropouts: tuple[tuple[str, tuple[str, ...]], ...] = ()
    found: tuple[Tally, ...] = ()
    received: Counter[str] = field(default_factory=Counter)
    sent: Counter[str] = field(default_factory=Counter)
    node_cpu_s: dict[str, float] = field(default_factory=dict)
    server_cpu_s: float = 0.0

    def note(self, step: RoundStep) -> None:
        self.refused += step.refused
        self.participants = step.participants or self.participants
        self.dropouts += step.dropouts
        self.found += step.tallies
        self.server_cpu_s += step.cpu_s

    def carried(self, name: str, message: bytes, answer: Answer | None) -> None:
        self.received[name] += len(message)
        if answer is not None:
            self.sent[name] += sum(map(len, answer.messages))
            self.node_cpu_s[name] = self.node_cpu_s.get(name, 0.0) + answer.cpu_s

    def log(
        self, cycle: int, last: RoundStep, asked: int, members: int, wall_s: float, privacy: PrivacySpent | None
    ) -> RoundLog:
        both = self.received + self.sent
        return RoundLog(
            cycle=cycle,
            number=last.number,
            asked=asked,
            members=members,
            participants=len(self.participants),
            abandoned=last.abandoned or "",
            dropouts=self.dropouts,
            to_nodes_bytes=self.received.total(),
            from_nodes_bytes=self.sent.total(),
            node_bytes=max(both.values(), default=0),
            node_cpu_s=max(self.node_cpu_s.values(), default=None),
            server_cpu_s=self.server_cpu_s,
            wall_s=wall_s,
            canaries=tuple(map(_verdicts, self.found)),
            privacy=privacy,
        )


class Rounds:
    """The rounds of one run.

    Args:
        membership: None: sums are plain, and nobody is enrolled.
        say: told of nodes that cannot take part.
        opened: told the cycle and number of a round that begins, and how many nodes it asks.
        clock: seconds.
    """

    def __init__(
        self,
        config: FleetConfig,
        aggregator: ActorHandle[RayAggregator],
        accord: Accord,
        membership: Membership | None,
        say: Callable[[str], None],
        opened: Callable[[int, int, int], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config, self._aggregator, self._membership = config, aggregator, membership
        self._opened = opened
        self._agreement, self._accord = accord.agreement, ray.put(accord)
        self._say, self._clock = say, clock
        self._informed: dict[str, bytes] = {}
        self._met: dict[str, ActorHandle[RayNode]] = {}

    def run(self, cycle: int, nodes: Nodes, gone: frozenset[str]) -> Round:
        """The round of a cycle with these nodes, none of which is busy.

        Args:
            gone: nodes that will not come back soon; they make room where the others would be too few.

        Raises:
            QuasimError: the aggregator cannot be reached, or what was agreed on cannot be.
        """
        started, tally = self._clock(), _Tally()
        if self._membership and self._membership.dismiss(gone):
            self._say(f"a new roster without {', '.join(sorted(gone))}: with them, rounds would be below their floor")
        taking = self._enrolled(nodes)
        envelope = self._membership.envelope if self._membership else None
        step = _step(self._aggregator.open_round.remote(cycle, sorted(taking), envelope))
        self._opened(cycle, step.number, len(taking))
        tally.note(step)
        while not step.over:
            step = self._deliver(step, taking, tally)
            tally.note(step)
        members = len(self._membership.roster.members) if self._membership else 0
        privacy = spent(self._agreement, step.number + 1)
        log = tally.log(cycle, step, len(taking), members, self._clock() - started, privacy)
        dropouts = {dropped: len(names) for dropped, names in log.dropouts}
        record(of_round(log.wall_s, log.participants, dropouts, abandoned=bool(log.abandoned)))
        return Round(step.policy, step.abandoned or "", tuple(tally.refused), log)

    def _enrolled(self, nodes: Nodes) -> Nodes:
        """Those of the nodes that are in the roster and have it; new ones begin an epoch.

        An agent that was started anew may have lost its key and its roster with its disk, and is asked like a new one.
        """
        if self._membership is None:
            return nodes
        anew = [name for name, node in nodes.items() if self._met.get(name, node) != node]
        self._membership.forget(anew)
        for name in anew:
            self._informed.pop(name, None)
        self._met |= nodes
        if new := self._membership.unknown(nodes):
            requests = self._each({name: nodes[name].enrolment.remote() for name in new})
            self._membership.admit(requests)
            # Its old entry in the roster may hold a key that it has no more.
            nodes = {name: node for name, node in nodes.items() if name in requests or name not in new}
        envelope, keys = self._membership.envelope, self._membership.roster.keys
        for name in sorted(nodes.keys() - keys.keys()):
            self._say(f"{name} is not in the roster and takes no part in rounds")
        behind = [name for name in nodes if name in keys and self._informed.get(name) != envelope]
        heard = self._each({name: nodes[name].accept_roster.remote(envelope) for name in behind})
        self._informed |= dict.fromkeys(heard, envelope)
        return {name: node for name, node in nodes.items() if self._informed.get(name) == envelope}

    def _each(self, calls: Mapping[str, Any]) -> dict[str, Any]:
        """The answer of each; a node that fails is said and left out."""
        answers = {}
        for name, call in calls.items():
            try:
                answers[name] = get(call, name)
            except QuasimError as error:
                self._say(f"{name} takes no part: {error}")
        return answers

    def _deliver(self, step: RoundStep, nodes: Nodes, tally: _Tally) -> RoundStep:
        """Bring messages to the nodes and their answers back, in the order of the roster."""
        timeout_s = self._config.cycle_timeout_s if step.trial else self._config.aggregation.step_timeout_s
        calls = [
            (name, message, nodes[name].answer.remote(message, self._accord)) for name, message in sorted(step.messages)
        ]
        if calls:
            ray.wait([call for *_, call in calls], num_returns=len(calls), timeout=timeout_s)
        answers = []
        for name, message, call in calls:
            answer = _answer(call, name, step.number)
            if not step.trial:
                tally.carried(name, message, answer)
            answers += [(name, said) for said in answer.messages] if answer else []
        if not answers:
            return _step(self._aggregator.deadline.remote())
        return _step(self._aggregator.answer.remote(answers))


def _answer(call: Any, name: str, number: int) -> Answer | None:
    """What a node answered; None when it did not in time, which is a dropout."""
    try:
        answer: Answer = ray.get(call, timeout=0.1)
    except Exception as error:
        LOG.warning("%s dropped out of the round: %s", name, error, extra={"node": name, "round": number})
        return None
    return answer


def _step(call: Any) -> RoundStep:
    step: RoundStep = get(call, "the aggregator")
    return step


def _verdicts(tally: Tally) -> TopicVerdicts:
    topic = tally.topic
    return TopicVerdicts(topic.kernel, topic.shape_class, tally.slower, tally.not_slower, tally.held)
