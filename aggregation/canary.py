"""A new policy is tried on a few nodes before all get it: the server's side, sans IO.

Masked vectors cannot be looked at, so that a liar's are summed like any other. What its lies led to can be measured::

    Opened ──► Broadcast(trials) ──► (MessageArrived(report) | DeadlinePassed)* ──► Released | Held

A topic whose leading candidates are slower than those of the policy in force keeps what it had. It stops what would
make nodes slower now; it does not find out who lied, and lies about cells that lead nowhere pass.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import msgspec

from aggregation.rounds import (
    Broadcast,
    Event,
    MessageArrived,
    Opened,
    Refusal,
    Refused,
    from_message,
    to_message,
)
from quasim.errors import DataError
from quasim.policy import Policy, Topic

LEADERS = 3
"""Candidates of a topic that are tried: what a node that starts from the policy runs first."""


class Verdict(str, Enum):
    """The fastest leading candidate of a new policy beside that of the one in force, on one node."""

    SLOWER = "slower"
    NOT_SLOWER = "not_slower"


class TopicTrial(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to compare for one topic: topic cells that lead in the policy in force, and in the new one."""

    topic: Topic
    current: tuple[int, ...]
    new: tuple[int, ...]

    def __post_init__(self) -> None:
        for cells in (self.current, self.new):
            if not 1 <= len(cells) <= LEADERS or not all(0 <= cell < self.topic.cells for cell in cells):
                raise DataError(
                    f"{cells} are not 1 to {LEADERS} of the {self.topic.cells} cells of {self.topic.kernel}",
                    "compare catalogues",
                )


class Trials(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="canary_trials"):
    """What the server asks of a node; ``policy`` is the digest of the new one."""

    policy: str
    trials: tuple[TopicTrial, ...]


class Report(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="canary_report"):
    """What a node answers: one verdict for each trial, None where it does not tune the topic or nothing worked.

    A verdict says less than the times behind it, from which shapes could be read.
    """

    policy: str
    verdicts: tuple[Verdict | None, ...]


class Tally(msgspec.Struct, frozen=True):
    """The nodes' verdicts on one topic."""

    topic: Topic
    slower: int
    not_slower: int

    @property
    def held(self) -> bool:
        """Slower for half of the nodes that could tell or more, or nobody could tell."""
        return self.slower >= self.not_slower


@dataclass(frozen=True, slots=True)
class Released:
    """All may have this policy.

    Attributes:
        policy: the new one, in which topics that were held back are as they were.
        tallies: of the topics that were tried.
    """

    policy: Policy
    tallies: tuple[Tally, ...]


@dataclass(frozen=True, slots=True)
class Held:
    """Nothing of the new policy may be released; the one in force stays."""

    tallies: tuple[Tally, ...]


CanaryInstruction = Broadcast | Refused | Released | Held


def trials(current: Policy | None, new: Policy) -> tuple[TopicTrial, ...]:
    """What to compare before ``new`` follows ``current``: topics that lead elsewhere than before.

    A topic that had no candidates has nothing to be slower than, and one with the same leaders gives the same.
    """
    pairs = ((part.topic, _leaders(current, part.topic), _leaders(new, part.topic)) for part in new.parts)
    return tuple(TopicTrial(topic, old, led) for topic, old, led in pairs if old and led and set(old) != set(led))


def _emptied(current: Policy | None, new: Policy) -> set[Topic]:
    """Topics for which the new policy no longer proposes anything: without a trial, nodes would start from nothing."""
    topics = [part.topic for part in new.parts]
    return {topic for topic in topics if _leaders(current, topic) and not _leaders(new, topic)}


def _leaders(policy: Policy | None, topic: Topic) -> tuple[int, ...]:
    part = policy.part(topic) if policy else None
    return part.candidates[:LEADERS] if part else ()


def choose_canaries(cohorts: Mapping[str, Sequence[str]], each: int, seed: bytes) -> tuple[str, ...]:
    """The nodes that try a policy: up to ``each`` of every cohort, ascending.

    Args:
        cohorts: nodes by cohort; they run different devices and so different topics.
        seed: nobody but the server may know it beforehand, else liars see to it that theirs are asked.
    """
    chosen = []
    for nodes in cohorts.values():
        chosen += sorted(nodes, key=lambda node: hashlib.sha256(seed + node.encode()).digest())[:each]
    return tuple(sorted(chosen))


class Canary:
    """The server's side of one trial.

    Args:
        current: the policy in force; None before the first, which is then released untried.
        new: the policy that would follow it.
        nodes: who tries it, as of ``choose_canaries``.
    """

    def __init__(self, current: Policy | None, new: Policy, nodes: Sequence[str]) -> None:
        self._current, self._new = current, new
        self._nodes = tuple(nodes)
        self._trials = trials(current, new)
        self._reports: dict[str, Report] = {}
        self._over = False

    def handle(self, event: Event) -> list[CanaryInstruction]:
        """What to do about an event. No message makes it raise; after the end, every message is late."""
        if isinstance(event, Opened):
            return self._open()
        if isinstance(event, MessageArrived):
            return self._take(event)
        return [] if self._over else [self._decide()]

    def _open(self) -> list[CanaryInstruction]:
        if not self._trials or not self._nodes:
            return [self._decide()]
        return [Broadcast(self._nodes, to_message(Trials(self._new.digest, self._trials)))]

    def _take(self, event: MessageArrived) -> list[CanaryInstruction]:
        read = self._read(event)
        if isinstance(read, Refused):
            return [read]
        self._reports[event.node] = read
        return [self._decide()] if len(self._reports) == len(self._nodes) else []

    def _read(self, event: MessageArrived) -> Report | Refused:
        node = event.node
        if node not in self._nodes:
            return Refused(node, Refusal.FOREIGN, f"{node} was not asked to try policy {self._new.version}")
        if self._over:
            return Refused(node, Refusal.LATE, f"policy {self._new.version} is decided")
        if node in self._reports:
            return Refused(node, Refusal.DUPLICATE, f"{node} has reported on policy {self._new.version}")
        try:
            report = from_message(event.data, Report)
        except DataError as error:
            return Refused(node, Refusal.MALFORMED, error.what)
        if report.policy != self._new.digest:
            return Refused(node, Refusal.OTHER_POLICY, f"a report on policy {report.policy[:16]}…")
        if len(report.verdicts) != len(self._trials):
            return Refused(node, Refusal.WRONG_LENGTH, f"{len(report.verdicts)} verdicts on {len(self._trials)} trials")
        return report

    def _decide(self) -> Released | Held:
        self._over = True
        tallies = tuple(self._tally(at) for at in range(len(self._trials)))
        held = {tally.topic for tally in tallies if tally.held} | _emptied(self._current, self._new)
        if held and held == {part.topic for part in self._new.parts}:
            return Held(tallies)
        return Released(self._without(held), tallies)

    def _tally(self, at: int) -> Tally:
        verdicts = [report.verdicts[at] for report in self._reports.values()]
        return Tally(self._trials[at].topic, verdicts.count(Verdict.SLOWER), verdicts.count(Verdict.NOT_SLOWER))

    def _without(self, held: set[Topic]) -> Policy:
        """The new policy, with the held topics as the current one has them."""
        current = {part.topic: part for part in self._current.parts} if self._current else {}
        parts = tuple(current[part.topic] if part.topic in held else part for part in self._new.parts)
        return msgspec.structs.replace(self._new, parts=parts)
