"""How a run ends: the fleet's finalists meet on one device, telemetry is sent, and everyone says where they stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from ray.actor import ActorHandle

from actors.aggregator import AggregatorSnapshot
from actors.node_spec import NodeSnapshot
from actors.ray_aggregator import RayAggregator
from cluster.calls import get
from cluster.config import FleetConfig
from cluster.crew import Crew, Node
from cluster.run_log import Final, FleetEnd, NodeLost
from quasim.energy.objective import Objective, best_of
from quasim.errors import QuasimError
from quasim.standing import Standing
from quasim.targets.profile import Profile
from quasim.trial import Genome, Problem, Trial
from storage.pseudonyms import Pseudonyms
from storage.segments import Stream

FLUSH_ATTEMPTS = 10

FINALISTS_PER_NODE = 3
FINALISTS = 6
"""Genomes in the final playoff of a problem: a second or two of interleaved windows."""


class Finale:
    """The end of one run.

    Args:
        each: the answer of each node that is free to a call, by name.
        free: nodes that are, by name; asked anew each time, since some may go.
        say: told what happens, for people.
    """

    def __init__(
        self,
        config: FleetConfig,
        problems: Sequence[Problem],
        each: Callable[[Callable[[Node], Any]], dict[str, Any]],
        free: Callable[[], Mapping[str, Node]],
        say: Callable[[str], None],
    ) -> None:
        self._config, self._problems = config, tuple(problems)
        self._each, self._free, self._say = each, free, say

    def end(self, aggregator: ActorHandle[RayAggregator], crew: Crew, site_key: bytes) -> FleetEnd:
        """All of it.

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
        nodes = (*crew.left, *self._each(lambda node: node.snapshot.remote()).values())
        store: AggregatorSnapshot = get(aggregator.snapshot.remote(), "the aggregator")
        lost, forgotten = uncounted(store.streams, nodes, crew.joined, Pseudonyms(site_key))
        return FleetEnd(
            self._problems,
            tuple(sorted(nodes, key=lambda node: node.name)),
            store,
            finals,
            standings,
            profiles,
            lost,
            forgotten,
        )

    def _final(self, problem: Problem) -> Final:
        """The best that each node knows, and the default, measured again in interleaved windows on one device."""
        tops = self._each(lambda node: node.top.remote(problem, FINALISTS_PER_NODE))
        genomes = finalists(list(tops.values()), self._config.objective(problem))
        if not genomes:
            return Final((), None)
        self._say(f"{problem}: playoff of {len(genomes)} finalists")
        final: Final = self._first(lambda name, node: _played(name, node, problem, genomes))
        return final

    def _standing(self, winner: Trial | None) -> Standing | None:
        if winner is None:
            return None
        standing: Standing | None = self._first(
            lambda name, node: get(node.standing.remote(winner.problem, winner.genome), name)
        )
        return standing

    def _profile(self, winner: Trial | None) -> Profile | None:
        if winner is None:
            return None
        profile: Profile | None = self._first(
            lambda name, node: get(node.profile.remote(winner.problem, winner.genome), name)
        )
        return profile

    def _first(self, ask: Callable[[str, Node], Any]) -> Any:
        """The answer of the first node that gives one.

        Raises:
            QuasimError: none does.
        """
        failure = QuasimError("no node is left to measure the finalists", "resume the run once machines are back")
        for name, node in sorted(self._free().items()):
            try:
                return ask(name, node)
            except QuasimError as error:
                self._say(str(error))
                failure = error
        raise failure


def _played(name: str, node: Node, problem: Problem, genomes: Sequence[Genome]) -> Final:
    default = get(node.default.remote(problem), name)
    entrants = genomes if default is None or default in genomes else [*genomes, default]
    known = {trial.genome: trial for trial in get(node.playoff.remote(problem, entrants), name)}
    return Final(tuple(known[genome] for genome in genomes), None if default is None else known[default])


def finalists(tops: Sequence[Sequence[Trial]], objective: Objective) -> list[Genome]:
    """Who enters the final playoff, from each node's best.

    Fastest first where time counts. Joules of several devices are not compared: there nodes take turns.
    """
    if objective.weight:
        best = [trial for turn in zip_longest(*tops) for trial in turn if trial is not None]
    else:
        best = sorted((trial for top in tops for trial in top), key=lambda t: (t.time_ns, str(t.genome)))
    return list(dict.fromkeys(trial.genome for trial in best))[:FINALISTS]


def uncounted(
    streams: Sequence[Stream], nodes: Sequence[NodeSnapshot], joined: Collection[str], ids: Pseudonyms
) -> tuple[tuple[NodeLost, ...], int]:
    """Stored rows that no node counts as sent: those of nodes that cannot be asked, and of disks that are lost.

    Args:
        streams: whose the stored rows are, seen at once.
        nodes: those that said where they stand.
        joined: names of all that have worked.
    """
    since = {ids.id("node", node.name): node.since for node in nodes}
    forgotten = sum(stream.rows for stream in streams if stream.incarnation < since.get(stream.node, 0))
    rows: Counter[str] = Counter()
    for stream in streams:
        rows[stream.node] += stream.rows
    silent = sorted(set(joined) - {node.name for node in nodes})
    return tuple(NodeLost(name, rows[ids.id("node", name)]) for name in silent), forgotten
