"""Drives a fleet through its cycles: start the actors, let nodes work, run the round, broadcast, and keep the log.

    cycle c:  node.run_cycle(c, policy) on every node ──► records ──► round ──► signed policy ──► cycles/000c.json

The driver is the only loop. Whatever it has not logged it asks for again, and both actors answer repeated calls alike,
so a killed actor or a resumed run changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import ray
from ray.actor import ActorHandle

from actors.aggregator import AggregatorSpec
from actors.node_events import CycleRecord
from actors.node_rounds import Accord, RoundsSpec
from actors.node_spec import NodeSpec, fingerprint
from actors.remote import RayAggregator, RayNode, start_aggregator, start_node
from aggregation.agreement import SMALLEST
from aggregation.catalogue import Catalogue
from aggregation.groups import groups_of
from aggregation.signing import PolicySigner, verify
from cluster.agreed import agreement
from cluster.calls import get
from cluster.config import FleetConfig
from cluster.federation import SiteFolder
from cluster.membership import Membership
from cluster.moves import Moves
from cluster.placement import Machine, places, settle
from cluster.rounds import Round, Rounds
from cluster.run_folder import RunFolder
from cluster.run_log import Final, FleetCycle, FleetEnd, RoundOutcome
from quasim.codec import from_json, to_json
from quasim.energy.objective import Objective, best_of
from quasim.errors import QuasimError
from quasim.standing import Standing
from quasim.targets.profile import Profile
from quasim.trial import Genome, Problem, Trial
from storage.files import write_atomic
from storage.keys import load_or_create_key

LOG = logging.getLogger(__name__)

FLUSH_ATTEMPTS = 10

FINALISTS_PER_NODE = 3
FINALISTS = 6
"""Genomes in the final playoff of a problem: a second or two of interleaved windows."""

Say = Callable[[str], None]


class Fleet:
    """The actors of one run, and the log of what they did. Needs an initialised Ray."""

    def __init__(self, config: FleetConfig, folder: RunFolder, site: Path, say: Say = LOG.info) -> None:
        machines = _machines()
        self._config = settle(config, machines)
        folder.settle(self._config)
        self._folder = folder
        self._site = site
        self._say = say
        self._problems = config.tuned_problems()
        self._nodes: dict[str, ActorHandle[RayNode]] = {}
        self._busy: dict[ray.ObjectRef[CycleRecord], str] = {}
        self._name = f"aggregator-{folder.path.resolve()}"
        self._public_key = PolicySigner(load_or_create_key(site / "signing.key")).public_key
        self._done = [from_json(path.read_bytes(), FleetCycle, str(path)) for path in folder.cycle_files()]
        self._places = places(self._config, machines)
        self._driver = machines[0].node_id
        secure = self._config.aggregation.protocol == "secure"
        self._membership = Membership(self._config, site, self._public_key) if secure else None
        self._start_nodes(len(self._done))
        self._catalogue = self._agree_on_catalogue()
        self._agreement = agreement(self._config, self._member_counts(), self._catalogue.length)
        self._aggregator = self._start_aggregator()
        accord = Accord(self._catalogue, self._agreement)
        if secure and max(self._member_counts()) < SMALLEST:
            self._say("a roster of one: its rounds are plain, since the sum of one vector is that vector")
        self._rounds = Rounds(self._config, self._aggregator, accord, self._membership, say)

    def run(self) -> list[FleetCycle]:
        """Run the cycles that are not yet in the log; all of the log at the end.

        Raises:
            QuasimError: a node cannot work, or the aggregator cannot be reached.
        """
        policy = get(self._aggregator.policy.remote(), "the aggregator")
        for cycle in range(len(self._done), self._config.cycles):
            self._start_nodes(cycle)
            policy = self._cycle(cycle, policy)
        self._adopt(policy)
        return self._done

    def _cycle(self, cycle: int, policy: bytes | None) -> bytes | None:
        records = self._measure(cycle, policy)
        free = {record.node: self._nodes[record.node] for record in records if record.cycle == cycle}
        ended = self._rounds.run(cycle, free)
        newest = ended.policy or policy
        write_atomic(self._folder.round_file(cycle), to_json(ended.log))
        free = {name: self._nodes[name] for name in sorted(self._nodes.keys() - self._busy.values())}
        moves = Moves(free, len(self._nodes), self._aggregator, self._say).between_cycles(self._config.migration)
        done = FleetCycle(cycle, tuple(records), self._outcome(ended, newest), moves)
        write_atomic(self._folder.cycle_file(cycle), to_json(done))
        self._done.append(done)
        self._say(_headline(done, self._config.cycles))
        return newest

    def _measure(self, cycle: int, policy: bytes | None) -> list[CycleRecord]:
        """A generation on every node that is not still busy with an earlier one.

        A node that fails or takes too long misses the round of the cycle, and the fleet goes on without it; what a late
        one measured is logged with the cycle in which it comes.

        Raises:
            QuasimError: every node failed.
        """
        shared = ray.put(policy)
        for name in sorted(self._nodes.keys() - self._busy.values()):
            self._busy[self._nodes[name].run_cycle.remote(cycle, shared)] = name
        calls = list(self._busy)
        ready, late = ray.wait(calls, num_returns=len(calls), timeout=self._config.cycle_timeout_s)
        for call in late:
            self._say(f"{self._busy[call]} is still busy and misses the round of cycle {cycle}")
        records: list[CycleRecord] = []
        failures: list[QuasimError] = []
        for call in ready:
            name = self._busy.pop(call)
            try:
                records.append(get(call, name))
            except QuasimError as error:
                self._say(f"{name} failed in cycle {cycle}: {error}")
                failures.append(error)
        if not records and failures:
            raise failures[0]
        return sorted(records, key=lambda record: (record.node, record.cycle))

    def _outcome(self, ended: Round, newest: bytes | None) -> RoundOutcome:
        if newest is None:
            return RoundOutcome(0, "", 0, ended.abandoned, ended.refused)
        policy = verify(newest, trusted_key=self._public_key, federation=self._config.federation, newer_than=0)
        participants = policy.participants if ended.policy else 0
        return RoundOutcome(policy.version, policy.protocol, participants, ended.abandoned, ended.refused)

    def _adopt(self, policy: bytes | None) -> None:
        if policy is not None:
            shared = ray.put(policy)
            self._each(lambda node: node.adopt.remote(shared))

    def _each(self, call: Callable[[ActorHandle[RayNode]], Any]) -> dict[str, Any]:
        """The answer of each node that is not busy, by name; one that fails is said and left out."""
        calls = {name: call(self._nodes[name]) for name in sorted(self._nodes.keys() - self._busy.values())}
        answers: dict[str, Any] = {}
        for name, made in calls.items():
            try:
                answers[name] = get(made, name)
            except QuasimError as error:
                self._say(str(error))
        return answers

    def finish(self) -> FleetEnd:
        """Compare the fleet's finalists, send what telemetry is left, and say where everyone stands.

        Raises:
            QuasimError: no node is left, or the aggregator cannot be reached.
        """
        finals = tuple(self._final(problem) for problem in self._problems)
        aims = map(self._config.objective, self._problems)
        winners = [best_of(final.trials, aim) for final, aim in zip(finals, aims, strict=True)]
        standings = tuple(map(self._standing, winners))
        profiles = tuple(map(self._profile, winners))
        for _ in range(FLUSH_ATTEMPTS):
            if not sum(self._each(lambda node: node.flush.remote()).values()):
                break
        nodes = tuple(self._each(lambda node: node.snapshot.remote()).values())
        aggregator = get(self._aggregator.snapshot.remote(), "the aggregator")
        end = FleetEnd(self._problems, nodes, aggregator, finals, standings, profiles)
        write_atomic(self._folder.end, to_json(end))
        return end

    def _final(self, problem: Problem) -> Final:
        """The best that each node knows, and the default, measured again in interleaved windows on one device."""
        tops = self._each(lambda node: node.top.remote(problem, FINALISTS_PER_NODE))
        genomes = finalists(list(tops.values()), self._config.objective(problem))
        if not genomes:
            return Final((), None)
        self._say(f"{problem}: playoff of {len(genomes)} finalists")
        name = min(tops)
        default = get(self._nodes[name].default.remote(problem), name)
        entrants = genomes if default is None or default in genomes else [*genomes, default]
        trials = get(self._nodes[name].playoff.remote(problem, entrants), name)
        known = {trial.genome: trial for trial in trials}
        return Final(tuple(known[genome] for genome in genomes), None if default is None else known[default])

    def _standing(self, winner: Trial | None) -> Standing | None:
        if winner is None:
            return None
        name = self._first_free()
        standing: Standing | None = get(self._nodes[name].standing.remote(winner.problem, winner.genome), name)
        return standing

    def _profile(self, winner: Trial | None) -> Profile | None:
        if winner is None:
            return None
        name = self._first_free()
        profile: Profile | None = get(self._nodes[name].profile.remote(winner.problem, winner.genome), name)
        return profile

    def _first_free(self) -> str:
        return min(self._nodes.keys() - self._busy.values())

    def close(self) -> None:
        """End the actors and with them their workers."""
        for node in self._nodes.values():
            ray.kill(node)
        ray.kill(self._aggregator)

    def _start_nodes(self, cycle: int) -> None:
        """Start the nodes that belong to a cycle and are not there yet."""
        late = len(self._places) - self._config.late_agents
        for number, place in enumerate(self._places):
            name, first_cycle = f"node-{number}", self._config.joins_at if number >= late else 0
            if first_cycle <= cycle and name not in self._nodes:
                if first_cycle:
                    self._say(f"{name} joins at cycle {first_cycle}")
                spec = self._node_spec(name, number, first_cycle)
                self._nodes[name] = start_node(spec, self._config.target, self._name, place)

    def _node_spec(self, name: str, number: int, first_cycle: int) -> NodeSpec:
        config = self._config
        return NodeSpec(
            name=name,
            folder=self._folder.node(name),
            federation=config.federation,
            trusted_key=self._public_key,
            site_key=self._site / "site.key",
            site_fingerprint=fingerprint(load_or_create_key(self._site / "site.key")),
            dictionary=self._site / "ids",
            problems=self._problems,
            objectives=tuple(map(config.objective, self._problems)),
            strategy=config.strategy,
            # Far apart, so that the problems of one node do not draw what those of the next draw.
            seed=config.seed * 1_000_000 + number * 1_000,
            first_cycle=first_cycle,
            evaluations=config.evaluations,
            recheck=config.recheck,
            rounds=RoundsSpec(
                secure=self._membership is not None,
                identity=SiteFolder(self._site, config.federation).identity_file(name),
                root=self._membership.root if self._membership else b"",
            ),
            regulation=config.energy,
        )

    def _agree_on_catalogue(self) -> Catalogue:
        """All that any of the first nodes can speak of; machines unlike in cores have spaces unlike in threads."""
        nodes = [
            (get(node.cohort.remote(), name), Catalogue.from_bytes(get(node.catalogue.remote(), name)))
            for name, node in self._nodes.items()
        ]
        asked = self._config.aggregation
        grouped = asked.groups and groups_of(max(self._member_counts())) > 1
        return Catalogue.agreed(nodes, asked.floor, grouped=grouped)

    def _member_counts(self) -> range:
        """Of the rosters that this run may come to have; the site's is fixed."""
        agents = self._config.agents or 0
        if self._membership is None or self._config.aggregation.roster == "local":
            return range(agents, agents + self._config.late_agents + 1)
        members = len(self._membership.roster.members)
        return range(members, members + 1)

    def _start_aggregator(self) -> ActorHandle[RayAggregator]:
        spec = AggregatorSpec(
            folder=self._folder.aggregator,
            telemetry=self._folder.telemetry,
            policies=self._folder.policies,
            signing_key=self._site / "signing.key",
            federation=self._config.federation,
            catalogue=self._catalogue,
            floor=self._config.aggregation.floor,
            agreement=self._agreement,
            root=self._membership.root if self._membership else b"",
            canaries=self._config.aggregation.canary,
        )
        return start_aggregator(spec, self._name, self._driver)


def finalists(tops: Sequence[Sequence[Trial]], objective: Objective) -> list[Genome]:
    """Who enters the final playoff, from each node's best.

    Fastest first where time counts. Joules of several devices are not compared: there nodes take turns.
    """
    if objective.weight:
        best = [trial for turn in zip_longest(*tops) for trial in turn if trial is not None]
    else:
        best = sorted((trial for top in tops for trial in top), key=lambda t: (t.time_ns, str(t.genome)))
    return list(dict.fromkeys(trial.genome for trial in best))[:FINALISTS]


def _machines() -> list[Machine]:
    """Machines that are alive, the driver's own first since the store is on it, then by address.

    A resumed run must find its nodes' folders: addresses last, ids are new with each start of a cluster.
    """
    own = ray.get_runtime_context().get_node_id()
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    alive = [node for node in nodes if node["Alive"]]
    alive.sort(key=lambda node: (node["NodeID"] != own, node["NodeManagerAddress"], node["NodeID"]))
    return [Machine(node["NodeID"], int(node["Resources"].get("GPU", 0)), node["Labels"]) for node in alive]


def _headline(done: FleetCycle, cycles: int) -> str:
    best: dict[str, float] = {}
    for part in (part for record in done.records for part in record.problems):
        if part.best_ns is not None:
            name = str(part.problem)
            best[name] = min(best.get(name, part.best_ns), part.best_ns)
    times = ", ".join(f"{name} {time_ns / 1e6:.3g} ms" for name, time_ns in sorted(best.items()))
    policy = f"policy {done.round.policy_version}" if not done.round.abandoned else f"no policy: {done.round.abandoned}"
    return f"cycle {done.cycle + 1}/{cycles}: {len(done.records)} nodes, {policy}; best {times or 'none yet'}"
