"""Secure rounds between the actors' classes: nodes that die in the middle, an aggregator that restarts, canaries."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from actors.aggregator import Aggregator
from actors.node_agent import NodeAgent
from actors.node_rounds import Accord, cohort
from aggregation.agreement import Agreement
from aggregation.envelope import RefusedError
from aggregation.signing import inspect
from quasim.errors import DataError
from tests.actors.bench_device import TableDevice
from tests.actors.secure_fleet import (
    ACCORD,
    CATALOGUE,
    Nowhere,
    agents,
    aggregator_spec,
    deliver,
    enrol,
    node_spec,
    to_the_end,
)

STEPS = ("keys", "shares", "receipts", "vectors", "consents", "unmasking")
"""What each exchange of a complete graph is for; after the last there is a sum."""


def test_a_secure_round_ends_in_a_policy_that_says_so(tmp_path: Path) -> None:
    async def scenario() -> None:
        nodes, made = agents(tmp_path, 4), Aggregator(aggregator_spec(tmp_path))
        opened = await made.open_round(0, sorted(nodes), enrol(tmp_path, nodes))
        steps = await to_the_end(made, opened, nodes)
        assert len(steps) == 1 + len(STEPS)
        assert steps[-1].policy is not None
        policy, _ = inspect(steps[-1].policy)
        assert policy.participants == 4
        assert policy.protocol.startswith("secure: the aggregator sees the sum alone")
        assert steps[-1].participants == tuple(sorted(nodes))
        made.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("at", range(len(STEPS)), ids=STEPS)
def test_a_node_lost_in_any_step_is_a_dropout_of_that_step_and_the_round_goes_on(tmp_path: Path, at: int) -> None:
    async def scenario() -> None:
        nodes, made = agents(tmp_path, 4), Aggregator(aggregator_spec(tmp_path))
        step = await made.open_round(0, sorted(nodes), enrol(tmp_path, nodes))
        for _ in range(at):
            step = await deliver(made, step, nodes)
        del nodes["node-2"]
        steps = await to_the_end(made, step, nodes)
        assert steps[-1].policy is not None
        assert steps[-1].dropouts == ((STEPS[at], ("node-2",)),)
        # Its vector counts if it had come in.
        assert ("node-2" in steps[-1].participants) == (at > STEPS.index("vectors"))
        made.close()

    asyncio.run(scenario())


def test_below_the_floor_nothing_is_shared_and_the_next_round_works(tmp_path: Path) -> None:
    async def scenario() -> None:
        nodes, made = agents(tmp_path, 4), Aggregator(aggregator_spec(tmp_path))
        roster = enrol(tmp_path, nodes)
        step = await made.open_round(0, sorted(nodes), roster)
        for _ in range(STEPS.index("consents")):
            step = await deliver(made, step, nodes)
        left = {name: nodes[name] for name in ("node-0", "node-1")}
        steps = await to_the_end(made, step, left)
        assert steps[-1].policy is None
        assert "2 survivors help to unmask, 3 must" in (steps[-1].abandoned or "")
        assert steps[-1].dropouts == (("consents", ("node-2", "node-3")),)
        assert await made.policy() is None
        steps = await to_the_end(made, await made.open_round(1, sorted(nodes), roster), nodes)
        assert steps[-1].policy is not None
        made.close()

    asyncio.run(scenario())


def test_a_node_that_restarts_in_mid_round_has_dropped_out_and_is_back_in_the_next(tmp_path: Path) -> None:
    async def scenario() -> None:
        nodes, made = agents(tmp_path, 4), Aggregator(aggregator_spec(tmp_path))
        roster = enrol(tmp_path, nodes)
        opened = await made.open_round(0, sorted(nodes), roster)
        step = await deliver(made, opened, nodes)
        nodes["node-1"].close()
        nodes["node-1"] = NodeAgent(node_spec(tmp_path, 1), TableDevice(), Nowhere())
        again = dict(opened.messages)["node-1"]
        assert nodes["node-1"].answer(again, ACCORD).messages == ()
        steps = await to_the_end(made, step, nodes)
        assert steps[-1].dropouts == (("shares", ("node-1",)),)
        for name, node in nodes.items():
            assert node.adopt(steps[-1].policy or b"") == 1, name
            node.run_cycle(1, None)
        steps = await to_the_end(made, await made.open_round(1, sorted(nodes), roster), nodes)
        assert "node-1" in steps[-1].participants
        made.close()

    asyncio.run(scenario())


async def calm(folder: Path) -> bytes:
    """Payload of the policy of three nodes' first round."""
    nodes, made = agents(folder, 3), Aggregator(aggregator_spec(folder))
    steps = await to_the_end(made, await made.open_round(0, sorted(nodes), enrol(folder, nodes)), nodes)
    made.close()
    return inspect(steps[-1].policy or b"")[0].payload()


def test_policies_do_not_depend_on_the_keys_of_their_rounds(tmp_path: Path) -> None:
    assert asyncio.run(calm(tmp_path / "one")) == asyncio.run(calm(tmp_path / "two"))


def test_an_aggregator_that_restarts_in_mid_round_opens_a_new_number_and_gives_the_same_policy(tmp_path: Path) -> None:
    async def scenario() -> bytes:
        nodes, made = agents(tmp_path, 3), Aggregator(aggregator_spec(tmp_path))
        step = await made.open_round(0, sorted(nodes), enrol(tmp_path, nodes))
        for _ in range(STEPS.index("vectors")):
            step = await deliver(made, step, nodes)
        made.close()
        again = Aggregator(aggregator_spec(tmp_path))
        steps = await to_the_end(again, await deliver(again, step, nodes), nodes)
        assert {one.number for one in steps} == {1}
        assert not any(one.refused or one.dropouts for one in steps)
        again.close()
        return inspect(steps[-1].policy or b"")[0].payload()

    assert asyncio.run(scenario()) == asyncio.run(calm(tmp_path / "calm"))


def test_a_roster_of_one_gives_a_policy_that_is_labelled_plain(tmp_path: Path) -> None:
    async def scenario() -> None:
        nodes, made = agents(tmp_path, 1), Aggregator(aggregator_spec(tmp_path))
        steps = await to_the_end(made, await made.open_round(0, sorted(nodes), enrol(tmp_path, nodes)), nodes)
        assert inspect(steps[-1].policy or b"")[0].protocol.startswith("plain: the aggregator sees each")
        made.close()

    asyncio.run(scenario())


def test_a_new_policy_is_tried_on_canaries_before_it_is_released(tmp_path: Path) -> None:
    async def scenario() -> None:
        nodes, made = agents(tmp_path, 3), Aggregator(aggregator_spec(tmp_path, canaries=2))
        roster = enrol(tmp_path, nodes)
        steps = await to_the_end(made, await made.open_round(0, sorted(nodes), roster), nodes)
        assert not any(one.trial for one in steps)
        for node in nodes.values():
            node.run_cycle(1, steps[-1].policy)
        steps = await to_the_end(made, await made.open_round(1, sorted(nodes), roster), nodes)
        trial = [one for one in steps if one.trial]
        assert [len(one.messages) for one in trial] == [2]
        assert steps[-1].policy is not None
        assert [(found.slower, found.not_slower) for found in steps[-1].tallies] == [(0, 2)]
        made.close()

    asyncio.run(scenario())


def test_a_node_refuses_to_agree_on_plain_sums_and_to_go_back_to_an_older_roster(tmp_path: Path) -> None:
    async def scenario() -> None:
        nodes, made = agents(tmp_path, 2), Aggregator(aggregator_spec(tmp_path))
        old = enrol(tmp_path, nodes)
        opened = await made.open_round(0, sorted(nodes), enrol(tmp_path, nodes, epoch=2))
        plain = Accord(CATALOGUE, Agreement(secure=False))
        for name, message in opened.messages:
            assert nodes[name].answer(message, plain).messages == ()
        with pytest.raises(RefusedError, match="epoch 1 is not newer than 2"):
            nodes["node-0"].accept_roster(old)
        with pytest.raises(RefusedError, match="epoch 1 is not newer than 2"):
            await made.open_round(1, sorted(nodes), old)
        made.close()

    asyncio.run(scenario())


def test_an_aggregator_asks_nobody_that_is_not_in_the_roster(tmp_path: Path) -> None:
    async def scenario() -> None:
        nodes, made = agents(tmp_path, 3), Aggregator(aggregator_spec(tmp_path))
        del nodes["node-2"]
        with pytest.raises(DataError, match="node-2"):
            await made.open_round(0, ["node-0", "node-1", "node-2"], enrol(tmp_path, nodes))
        made.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("family", "name"), [("NVIDIA H100 80GB HBM3", "NVIDIA-H100-80GB-HBM3"), ("/", "unknown"), ("c", "c")]
)
def test_a_device_family_is_a_cohort(family: str, name: str) -> None:
    assert cohort(family) == name
