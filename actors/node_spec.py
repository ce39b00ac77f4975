"""What an agent is told once, and what it shows of itself."""

from __future__ import annotations

from pathlib import Path

import msgspec

from actors.node_rounds import RoundsSpec
from quasim.energy.objective import Objective
from quasim.energy.spec import RegulationSpec
from quasim.targets import DeviceFacts
from quasim.trial import Problem
from storage.pseudonyms import Pseudonyms


class NodeSpec(msgspec.Struct, frozen=True):
    """What an agent is told once.

    Attributes:
        folder: where its state lives, on the machine that it is pinned to.
        trusted_key: Ed25519 public key of the aggregator whose policies it accepts.
        site_key: file of the key under which ids are hashed.
        site_fingerprint: of the key that all nodes of the fleet must have, see ``fingerprint``.
        dictionary: file that tells the holder of the site key what the ids mean.
        first_cycle: the cycle in which it joins.
        seed: of this node's strategies.
        regulation: of the node's device.
        objectives: what each problem is tuned for, in the problems' order; empty: time.
        lowest_incarnation: above all that its name has had, see ``Outbox``.
    """

    name: str
    folder: Path
    federation: str
    trusted_key: bytes
    site_key: Path
    site_fingerprint: str
    dictionary: Path
    problems: tuple[Problem, ...]
    strategy: str
    seed: int
    first_cycle: int
    evaluations: int
    recheck: int
    rounds: RoundsSpec
    regulation: RegulationSpec = RegulationSpec()
    objectives: tuple[Objective, ...] = ()
    lowest_incarnation: int = 0


class NodeSnapshot(msgspec.Struct, frozen=True):
    """What may be shown of a node.

    Attributes:
        sent: telemetry rows committed to be sent; waiting_rows: not yet acknowledged; refused: never to be stored.
        since: first incarnation whose rows these count, see ``Position``.
    """

    name: str
    device: DeviceFacts
    cycle: int
    policy_version: int
    sent: int
    waiting_rows: int
    refused: int
    since: int = 0


def fingerprint(site_key: bytes) -> str:
    """Tells site keys apart without giving them away."""
    return Pseudonyms(site_key).id("site", "fingerprint")
