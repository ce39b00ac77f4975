"""A node's part in rounds: what must survive a restart, its identity, and the participant of the current cycle.

roster       newest signed roster that the node accepted; never an older one again
rounds.json  newest secure round that it took part in, so that a restarted node does not answer it again
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from aggregation.agreement import Agreement
from aggregation.catalogue import Catalogue
from aggregation.enrolment import request_enrolment
from aggregation.envelope import signing_key
from aggregation.participant import Participant
from aggregation.roster import Roster, verify_roster
from quasim.codec import from_json, to_json
from quasim.errors import DataError
from quasim.space import Floats
from storage.files import write_atomic
from storage.keys import load_or_create_key

Entropy = Callable[[int], bytes]
Clock = Callable[[], float]


class RoundsSpec(msgspec.Struct, frozen=True):
    """What a node is told once about rounds.

    Attributes:
        secure: it never gives its vector in the clear, whatever is agreed on, unless it is alone.
        identity: file of the Ed25519 seed that the node's messages are signed with; made on first use.
        root: raw public key that rosters are verified with; empty where rounds are plain.
    """

    secure: bool
    identity: Path
    root: bytes = b""


class Accord(msgspec.Struct, frozen=True):
    """What the fleet agreed on once all had started: what its vectors speak of, and how they are summed."""

    catalogue: Catalogue
    agreement: Agreement


class Answer(msgspec.Struct, frozen=True):
    """What a node says to a message of the server.

    Attributes:
        cpu_s: seconds of CPU that its side of the protocol took for it.
    """

    messages: tuple[bytes, ...]
    cpu_s: float


class _Taken(msgspec.Struct, frozen=True):
    last_round: int = -1


class NodeRounds:
    """One node's side of all rounds of a run.

    Args:
        folder: of the node.
        entropy: gives so many unpredictable bytes.
        clock: seconds of CPU of the calling thread.
    """

    def __init__(
        self,
        name: str,
        federation: str,
        folder: Path,
        spec: RoundsSpec,
        entropy: Entropy = os.urandom,
        clock: Clock = time.thread_time,
    ) -> None:
        self._name, self._federation, self._spec = name, federation, spec
        self._entropy, self._clock = entropy, clock
        self._roster_file, self._taken_file = folder / "roster", folder / "rounds.json"
        self._roster: Roster | None = None
        self._participant: Participant | None = None
        self._taken = _Taken()
        if self._roster_file.exists():
            self._roster = self._verified(self._roster_file.read_bytes(), 0)
        if self._taken_file.exists():
            self._taken = from_json(self._taken_file.read_bytes(), _Taken, str(self._taken_file))

    def enrolment(self, device_family: str) -> bytes:
        """The node's signed request to take part, in the cohort of its device's family."""
        return request_enrolment(self._seed(), self._federation, self._name, cohort(device_family))

    def accept(self, envelope: bytes) -> None:
        """Keep a signed roster; the one that the node holds changes nothing.

        Raises:
            TrustError: it is not the pinned root's, of another federation, or older than the node's.
        """
        if self._roster is not None and self._roster_file.read_bytes() == envelope:
            return
        self._roster = self._verified(envelope, self._roster.epoch if self._roster else 0)
        write_atomic(self._roster_file, envelope)
        self.forget()

    def forget(self) -> None:
        """What the node knows or holds has changed: its next answers are made from that."""
        self._participant = None

    def answer(self, message: bytes, agreement: Agreement, policy: str, vector: Callable[[], Floats]) -> Answer:
        """The node's side of a round; that it takes part is durable before its answer leaves.

        Args:
            policy: digest of the policy that the node holds; empty for none.
            vector: makes its vector, when one is wanted.

        Raises:
            DataError: a message that must not be answered.
        """
        if self._participant is None:
            self._participant = self._new(agreement, policy, vector())
        started = self._clock()
        answers = self._participant.handle(message)
        spent = self._clock() - started
        if self._participant.last_round != self._taken.last_round:
            self._taken = _Taken(self._participant.last_round)
            write_atomic(self._taken_file, to_json(self._taken))
        return Answer(tuple(answers), spent)

    def _new(self, agreement: Agreement, policy: str, vector: Floats) -> Participant:
        if self._spec.secure and not agreement.secure:
            raise DataError(f"{self._name} was asked to agree on plain sums", "configure the same protocol for all")
        return Participant(
            self._name,
            signing_key(self._seed()),
            agreement,
            self._roster,
            policy,
            vector,
            last_round=self._taken.last_round,
            entropy=self._entropy,
        )

    def _seed(self) -> bytes:
        return load_or_create_key(self._spec.identity)

    def _verified(self, envelope: bytes, newer_than: int) -> Roster:
        return verify_roster(envelope, root=self._spec.root, federation=self._federation, newer_than=newer_than)


def cohort(device_family: str) -> str:
    """The family as a name that a roster can hold, such as ``NVIDIA-H100-80GB-HBM3``."""
    return re.sub(r"[^A-Za-z0-9]+", "-", device_family)[:128].strip("-") or "unknown"
