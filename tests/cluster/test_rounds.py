"""Rounds of real agents, one of which is started anew and cannot be enrolled at first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.actor import ActorHandle

from actors.node_rounds import Accord
from actors.ray_aggregator import RayAggregator, start_aggregator
from actors.remote import Place, RayNode, start_node
from aggregation.agreement import Agreement
from aggregation.catalogue import Catalogue
from aggregation.signing import PolicySigner
from cluster.config import FleetConfig
from cluster.machines import machines
from cluster.membership import Membership
from cluster.rounds import Rounds
from cluster.run_folder import RunFolder
from cluster.run_log import RoundLog
from cluster.seats import Seat
from cluster.specs import Specs
from quasim.targets.spec import Recording, ReplaySpec
from storage.keys import load_or_create_key

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

NAMES = ("node-0", "node-1", "node-2", "node-3")
"""So many that a round can do without one of them."""


class Group:
    """Four agents, their aggregator, and the rounds that they take part in."""

    def __init__(self, site: Path, space: Path) -> None:
        self._target = ReplaySpec((Recording(str(space)),))
        config = FleetConfig(target=self._target, agents=len(NAMES))
        folder = RunFolder.create(site / "run", config)
        key = PolicySigner(load_or_create_key(site / "signing.key")).public_key
        self.membership = Membership(config, site, key)
        self._specs = Specs(config, folder, site, self._target.problems(), key, self.membership.root)
        self._name, self._here = f"rounds of {site}", machines().alive[0].node_id
        self._started: list[ActorHandle[RayNode]] = []
        self.policy = b""
        self.nodes = {name: self._another(name) for name in NAMES}
        accord = Accord(Catalogue.from_bytes(ray.get(self.nodes["node-0"].catalogue.remote())), Agreement(secure=True))
        told = self._specs.aggregator(accord.catalogue, accord.agreement)
        self._aggregator: ActorHandle[RayAggregator] = start_aggregator(told, self._name, self._here)
        self.said: list[str] = []
        self.rounds = Rounds(config, self._aggregator, accord, self.membership, self.said.append, lambda *opened: None)

    def _another(self, name: str) -> ActorHandle[RayNode]:
        seat, place = Seat(name, "here", 0, 0, NAMES.index(name)), Place(self._here, 0, "here")
        unique = f"{self._name} {name} {len(self._started)}"
        self._started.append(start_node(self._specs.node(seat), self._target, self._name, place, unique))
        return self._started[-1]

    def replace(self, name: str) -> ActorHandle[RayNode]:
        """An agent ends, and another of its name starts."""
        ray.kill(self.nodes[name])
        self.nodes[name] = self._another(name)
        return self.nodes[name]

    def round(self, cycle: int) -> RoundLog:
        """The round of a cycle; its policy is for all, and the next round is of those that hold it."""
        ended = self.rounds.run(cycle, self.nodes, frozenset())
        assert ended.policy is not None, ended.abandoned
        self.policy = ended.policy
        return ended.log

    def adopt(self, *names: str) -> None:
        ray.get([self.nodes[name].adopt.remote(self.policy) for name in names])

    def close(self) -> None:
        for node in self._started:
            ray.kill(node)
        ray.kill(self._aggregator)


@pytest.fixture
def group(tmp_path: Path, recorded_space: Path) -> Iterator[Group]:
    made = Group(tmp_path, recorded_space)
    yield made
    made.close()


def test_an_agent_started_anew_that_cannot_be_enrolled_misses_the_round_and_stays_a_member(group: Group) -> None:
    first = group.round(0)
    envelope = group.membership.envelope
    ray.kill(group.replace("node-3"))
    group.adopt("node-0", "node-1", "node-2")
    missed = group.round(1)
    assert [said.partition(":")[0] for said in group.said] == ["node-3 takes no part"]
    group.replace("node-3")
    group.adopt(*NAMES)
    back = group.round(2)
    taken = [(log.asked, log.members, log.participants) for log in (first, missed, back)]
    assert taken == [(4, 4, 4), (3, 4, 3), (4, 4, 4)]
    assert group.membership.envelope == envelope
