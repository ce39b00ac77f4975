"""An aggregator and its nodes in one process, over a signed roster: what the tests of secure rounds share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from actors.aggregator import Aggregator, AggregatorSpec
from actors.node_agent import NodeAgent
from actors.node_rounds import Accord, RoundsSpec
from actors.node_spec import NodeSpec, fingerprint
from actors.round_step import RoundStep
from aggregation.agreement import Agreement
from aggregation.catalogue import Catalogue
from aggregation.enrolment import verify_enrolment
from aggregation.envelope import signing_key
from aggregation.roster import Limits, Roster, sign_roster
from aggregation.signing import PolicySigner
from storage.keys import load_or_create_key
from storage.segments import Ack, Refusal
from tests.actors.bench_device import PROBLEM, SPACE, TableDevice

ROOT = bytes([7]) * 32
ROOT_KEY = signing_key(ROOT).public_key().public_bytes_raw()
CATALOGUE = Catalogue.of({("table", PROBLEM): SPACE})
AGREEMENT = Agreement(secure=True)
ACCORD = Accord(CATALOGUE, AGREEMENT)


class Nowhere:
    """A link that never reaches anyone."""

    def submit(self, batch: bytes) -> Ack | Refusal | None:
        return None


def aggregator_spec(folder: Path, canaries: int = 0) -> AggregatorSpec:
    return AggregatorSpec(
        folder=folder / "aggregator",
        telemetry=folder / "telemetry",
        policies=folder / "policies",
        signing_key=folder / "signing.key",
        federation="lab",
        catalogue=CATALOGUE,
        floor=1,
        agreement=AGREEMENT,
        root=ROOT_KEY,
        canaries=canaries,
    )


def node_spec(folder: Path, number: int) -> NodeSpec:
    name = f"node-{number}"
    return NodeSpec(
        name=name,
        folder=folder / name,
        federation="lab",
        trusted_key=PolicySigner(load_or_create_key(folder / "signing.key")).public_key,
        site_key=folder / "site.key",
        site_fingerprint=fingerprint(load_or_create_key(folder / "site.key")),
        dictionary=folder / "ids",
        problems=(PROBLEM,),
        strategy="evolution",
        seed=number,
        first_cycle=0,
        evaluations=4,
        recheck=1,
        rounds=RoundsSpec(secure=True, identity=folder / f"{name}.key", root=ROOT_KEY),
    )


def agents(folder: Path, count: int) -> dict[str, NodeAgent]:
    """Nodes that have measured cycle 0."""
    made = {}
    for number in range(count):
        spec = node_spec(folder, number)
        made[spec.name] = NodeAgent(spec, TableDevice(), Nowhere())
        made[spec.name].run_cycle(0, None)
    return made


def enrol(folder: Path, nodes: Mapping[str, NodeAgent], epoch: int = 1) -> bytes:
    """The signed roster of these nodes, which all of them accept."""
    members = tuple(verify_enrolment(node.enrolment(), federation="lab") for _, node in sorted(nodes.items()))
    server = PolicySigner(load_or_create_key(folder / "signing.key")).public_key
    limits = Limits(participants=1, threshold_percent=66, floor=1)
    envelope = sign_roster(ROOT, Roster(federation="lab", epoch=epoch, server=server, limits=limits, members=members))
    for node in nodes.values():
        node.accept_roster(envelope)
    return envelope


async def deliver(made: Aggregator, step: RoundStep, nodes: Mapping[str, NodeAgent]) -> RoundStep:
    """Bring a step's messages to those nodes that are there, and their answers back."""
    letters = [(name, message) for name, message in step.messages if name in nodes]
    answers = [(name, said) for name, message in letters for said in nodes[name].answer(message, ACCORD).messages]
    return await (made.answer(answers) if answers else made.deadline())


async def to_the_end(made: Aggregator, step: RoundStep, nodes: Mapping[str, NodeAgent]) -> list[RoundStep]:
    """All steps of a round from this one on."""
    steps = [step]
    while not steps[-1].over:
        steps.append(await deliver(made, steps[-1], nodes))
    return steps
