"""Drives a fleet through its cycles: start the actors, let nodes work, run the round, broadcast, and keep the log.

    cycle c:  node.run_cycle(c, policy) on every node ──► records ──► round ──► signed policy ──► cycles/000c.json

The driver is the only loop. Whatever it has not logged it asks for again, and both actors answer repeated calls alike,
so a killed actor or a resumed run changes nothing. Actors outlive a driver that dies; the next one finds them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import ray
from ray.actor import ActorHandle

from actors.live_file import EventLog
from actors.node_events import CycleRecord
from actors.node_rounds import Accord
from actors.ray_aggregator import start_aggregator
from actors.remote import Place, RayNode, start_node
from aggregation.agreement import SMALLEST
from aggregation.catalogue import Catalogue
from aggregation.groups import groups_of
from aggregation.signing import PolicySigner, verify
from cluster import events
from cluster.agreed import agreement
from cluster.calls import get
from cluster.config import FleetConfig
from cluster.crew import LOOK_S, TOLD_S, Crew, Node
from cluster.finale import Finale
from cluster.membership import Membership
from cluster.moves import Moves
from cluster.rounds import Round, Rounds
from cluster.run_folder import RunFolder
from cluster.run_log import FleetCycle, FleetEnd, RoundOutcome
from cluster.seats import Seat
from cluster.specs import Specs
from quasim.codec import from_json, to_json
from quasim.errors import QuasimError
from storage.files import write_atomic
from storage.keys import load_or_create_key

LOG = logging.getLogger(__name__)

TABLE_S = 30.0
"""The longest that the end of a run waits for the telemetry table to catch up; `quasim telemetry` does it, too."""

Say = Callable[[str], None]


class _Call(NamedTuple):
    """A cycle that a node works on."""

    name: str
    node: Node


class Fleet:
    """The actors of one run, and the log of what they did. Needs an initialised Ray.

    Args:
        say: told what happens, for people.
        stop: whether to end once the cycle that runs is logged.
    """

    def __init__(
        self,
        config: FleetConfig,
        folder: RunFolder,
        site: Path,
        say: Say = LOG.info,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._config, self._folder, self._site = config, folder, site
        self._say, self._stop = say, stop
        self._problems = config.tuned_problems()
        self._busy: dict[ray.ObjectRef[CycleRecord], _Call] = {}
        self._name = f"quasim {folder.path.resolve()}"
        self._public_key = PolicySigner(load_or_create_key(site / "signing.key")).public_key
        self._done = [from_json(path.read_bytes(), FleetCycle, str(path)) for path in folder.cycle_files()]
        secure = config.aggregation.protocol == "secure"
        self._membership = Membership(config, site, self._public_key) if secure else None
        root = self._membership.root if self._membership else None
        self._specs = Specs(config, folder, site, self._problems, self._public_key, root)
        self._events = EventLog(folder.events)
        self._crew = Crew(config, folder, self._start_node, self._events, len(self._done))
        try:
            self._open(secure)
        except BaseException:
            self._crew.close()  # or its agents would wait for a driver that never comes
            raise

    def _open(self, secure: bool) -> None:
        if self._config.agents is None:
            self._config = _grouped_as_begun(self._config, len(self._crew.nodes))
        self._catalogue = self._agree_on_catalogue()
        self._agreement = agreement(self._config, self._member_counts(), self._catalogue.length)
        if secure and max(self._member_counts()) < SMALLEST:
            self._say("a roster of one: its rounds are plain, since the sum of one vector is that vector")
        spec = self._specs.aggregator(self._catalogue, self._agreement)
        self._aggregator = start_aggregator(spec, self._name, self._crew.driver.node_id)
        self._crew.watch(self._aggregator)
        accord = Accord(self._catalogue, self._agreement)
        self._rounds = Rounds(self._config, self._aggregator, accord, self._membership, self._say, self._opened)
        at = len(self._done)
        self._events.note("run-started", f"cycle {at} of {self._config.cycles} is next", cycle=at)

    def run(self) -> list[FleetCycle]:
        """Run the cycles that are not yet in the log, until told to stop; all of the log at the end.

        Raises:
            QuasimError: a node cannot work, none is left, or the aggregator cannot be reached.
        """
        policy = get(self._aggregator.policy.remote(), "the aggregator")
        while self.paused:
            if self._stop():
                return self._done
            cycle = len(self._done)
            self._crew.begin(cycle, self._busy_names)
            self._await_nodes()
            if self._stop():  # while none was there: a cycle of nobody is none
                return self._done
            policy = self._cycle(cycle, policy)
        self._await_late()
        self._adopt(policy)
        return self._done

    @property
    def paused(self) -> bool:
        """Whether cycles are left to a later driver."""
        return len(self._done) < self._config.cycles

    @property
    def _busy_names(self) -> frozenset[str]:
        return frozenset(call.name for call in self._busy.values())

    @property
    def _free(self) -> dict[str, Node]:
        """Agents that work on no cycle, by name."""
        busy = self._busy_names
        return {name: node for name, node in self._crew.nodes.items() if name not in busy}

    def _await_nodes(self) -> None:
        """Wait for a machine, where none is left that an agent could work on.

        Raises:
            QuasimError: none came.
        """
        until = time.monotonic() + self._config.cycle_timeout_s
        if not self._crew.nodes:
            self._say("no agent is left; waiting for a machine")
        while not self._crew.nodes and not self._stop():
            if time.monotonic() > until:
                raise QuasimError(
                    f"no machine for an agent came within {self._config.cycle_timeout_s:g} s",
                    f"add machines, or take drains back, and resume {self._folder.path}",
                )
            time.sleep(LOOK_S)

    def _cycle(self, cycle: int, policy: bytes | None) -> bytes | None:
        records = self._measure(cycle, policy)
        if not records and not self._busy:  # a cycle of nobody is none: it is run again with those who come back
            self._abandoned(cycle)
            return policy
        nodes = self._crew.nodes
        free = {record.node: nodes[record.node] for record in records if record.cycle == cycle and record.node in nodes}
        ended = self._rounds.run(cycle, free, self._crew.gone)
        newest = ended.policy or policy
        write_atomic(self._folder.round_file(cycle), to_json(ended.log))
        outcome = self._outcome(ended, newest)
        self._note(events.of_round(ended.log, outcome.policy_version), cycle, ended.log.number)
        moves = Moves(self._free, len(self._crew.nodes), self._aggregator, self._say)
        done = FleetCycle(cycle, tuple(records), outcome, moves.between_cycles(self._config.migration))
        write_atomic(self._folder.cycle_file(cycle), to_json(done))
        self._done.append(done)
        self._note(events.of_cycle(done), cycle, ended.log.number)
        self._say(_headline(done, self._config.cycles))
        return newest

    def _abandoned(self, cycle: int) -> None:
        why = f"every machine went before it had measured; cycle {cycle + 1} is run again"
        self._say(why)
        self._events.note("cycle-abandoned", why, cycle=cycle)

    def _note(self, happened: list[events.Happened], cycle: int, number: int) -> None:
        events.write(self._events, happened, round=number, cycle=cycle)

    def _opened(self, cycle: int, number: int, asked: int) -> None:
        self._events.note("round-opened", f"{asked} nodes are asked", round=number, cycle=cycle)

    def _measure(self, cycle: int, policy: bytes | None) -> list[CycleRecord]:
        """A generation on every node that is not still busy with an earlier one.

        A node that fails or takes too long misses the round of the cycle, and the fleet goes on without it; what a late
        one measured is logged with the cycle in which it comes. One whose machine is gone is not waited for.

        Raises:
            QuasimError: every node failed.
        """
        shared = ray.put(policy)
        for name, node in self._free.items():
            self._busy[node.run_cycle.remote(cycle, shared)] = _Call(name, node)
        records, failures = self._collected(cycle)
        for name in sorted(self._busy_names):
            self._say(f"{name} is still busy and misses the round of cycle {cycle}")
        if not records and failures:
            raise failures[0]
        return records

    def _await_late(self) -> None:
        """Wait for nodes that are busy after the last cycle, no longer than for a cycle, and log what they measured.

        It joins the log of the last cycle. A node that is busy for longer still can be asked nothing at the end.
        """
        if not self._busy:
            return
        names, limit_s = ", ".join(sorted(self._busy_names)), self._config.cycle_timeout_s
        self._say(f"waiting up to {limit_s:g} s for what {names} still measures")
        last = self._done[-1]
        late, _ = self._collected(last.cycle)
        for name in sorted(self._busy_names):
            self._say(f"{name} is busy for longer than {limit_s:g} s; what it has not sent by now is left out")
        records = sorted((*last.records, *late), key=_by_node)
        self._done[-1] = msgspec.structs.replace(last, records=tuple(records))
        write_atomic(self._folder.cycle_file(last.cycle), to_json(self._done[-1]))

    def _collected(self, cycle: int) -> tuple[list[CycleRecord], list[QuasimError]]:
        """What nodes measured by the time that a cycle may take, and how those failed that are still there."""
        records: list[CycleRecord] = []
        failures: list[QuasimError] = []
        for call in self._awaited():
            name, node = self._busy.pop(call)
            try:
                records.append(get(call, name))
            except QuasimError as error:
                self._crew.look_now()
                if not self._crew.holds(name, node):
                    self._say(f"{name} is gone; the fleet goes on without it")
                    continue
                self._say(f"{name} failed in cycle {cycle}: {error}")
                self._events.note("node-failed", f"{type(error).__name__}: {error}", node=name, cycle=cycle)
                failures.append(error)
        return sorted(records, key=_by_node), failures

    def _awaited(self) -> list[ray.ObjectRef[CycleRecord]]:
        """The calls that are answered once all are, or time is up; those of agents that are gone are dropped."""
        until = time.monotonic() + self._config.cycle_timeout_s
        while True:
            calls = list(self._busy)
            ready, waiting = ray.wait(calls, num_returns=len(calls), timeout=LOOK_S) if calls else ([], [])
            for call in waiting:
                name, node = self._busy[call]
                if not self._crew.holds(name, node):
                    self._say(f"{name} is gone; the fleet goes on without it")
                    del self._busy[call]
            if len(ready) == len(self._busy) or time.monotonic() > until:
                return ready

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

    def _each(self, call: Callable[[Node], Any]) -> dict[str, Any]:
        """The answer of each node that is not busy, by name; one that fails is said and left out."""
        calls = {name: call(node) for name, node in self._free.items()}
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
        finale = Finale(self._config, self._problems, self._each, lambda: self._free, self._say)
        end = finale.end(self._aggregator, self._crew, load_or_create_key(self._site / "site.key"))
        write_atomic(self._folder.end, to_json(end))
        self._events.note("run-ended", f"after {len(self._done)} cycles", cycle=len(self._done) - 1)
        return end

    def close(self) -> None:
        """End the agents, the aggregator, and with them their workers."""
        if self.paused:
            self._events.note("run-ended", f"stopped before cycle {len(self._done)}", cycle=len(self._done))
        self._crew.close()
        ray.wait([self._aggregator.tabulate.remote()], timeout=TABLE_S)
        ray.wait([self._aggregator.live.remote()], timeout=TOLD_S)  # so that how all ended is what remains to be seen
        ray.kill(self._aggregator)
        self._events.close()

    def _start_node(self, seat: Seat, place: Place) -> ActorHandle[RayNode]:
        return start_node(self._specs.node(seat), self._config.target, self._name, place, f"{self._name} {seat.node}")

    def _agree_on_catalogue(self) -> Catalogue:
        """All that any of the first nodes can speak of; machines unlike in cores have spaces unlike in threads.

        Raises:
            QuasimError: a node cannot open its device, or none is there.
        """
        nodes: list[tuple[str, Catalogue]] = []
        for name, node in self._crew.nodes.items():
            try:
                catalogue = Catalogue.from_bytes(get(node.catalogue.remote(), name))
                nodes.append((get(node.cohort.remote(), name), catalogue))
            except QuasimError:
                self._crew.look_now()
                if self._crew.holds(name, node):
                    raise
        if not nodes:
            raise QuasimError(
                f"no machine of the agents of {self._folder.path} is there",
                f"see {self._folder.seats.name} for their names, and {self._folder.drained.name}/ for who was drained",
            )
        asked = self._config.aggregation
        grouped = asked.groups and groups_of(max(self._member_counts())) > 1
        return Catalogue.agreed(nodes, asked.floor, grouped=grouped)

    def _member_counts(self) -> range:
        """Of the rosters that this run may come to have; the site's is fixed, and of a fleet that grows the first."""
        agents = self._config.agents or len(self._crew.nodes)
        if self._membership is None or self._config.aggregation.roster == "local":
            return range(agents, agents + self._config.late_agents + 1)
        members = len(self._membership.roster.members)
        return range(members, members + 1)


def _by_node(record: CycleRecord) -> tuple[str, int]:
    return record.node, record.cycle


def _grouped_as_begun(config: FleetConfig, agents: int) -> FleetConfig:
    """A fleet that grows is summed in groups only where it begins so large: topics of cohorts, which are agreed on at
    the start, would show what small parts of a group have."""
    groups = config.aggregation.groups and groups_of(agents) > 1
    return msgspec.structs.replace(config, aggregation=msgspec.structs.replace(config.aggregation, groups=groups))


def _headline(done: FleetCycle, cycles: int) -> str:
    best: dict[str, float] = {}
    for part in (part for record in done.records for part in record.problems):
        if part.best_ns is not None:
            name = str(part.problem)
            best[name] = min(best.get(name, part.best_ns), part.best_ns)
    times = ", ".join(f"{name} {time_ns / 1e6:.3g} ms" for name, time_ns in sorted(best.items()))
    policy = f"policy {done.round.policy_version}" if not done.round.abandoned else f"no policy: {done.round.abandoned}"
    return f"cycle {done.cycle + 1}/{cycles}: {len(done.records)} nodes, {policy}; best {times or 'none yet'}"
