from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from actors.aggregator import Aggregator, AggregatorSpec, Watched
from actors.board import Mark
from actors.node_agent import NodeAgent
from actors.node_rounds import Accord, RoundsSpec
from actors.node_spec import NodeSpec, fingerprint
from actors.pulse import pulse_of
from actors.round_step import RoundStep
from aggregation.agreement import Agreement
from aggregation.catalogue import Catalogue
from aggregation.signing import inspect
from quasim.errors import DataError, StorageError
from storage.files import make_folder
from storage.keys import load_or_create_key
from storage.ownership import InUseError
from storage.segments import Ack, Refusal
from tests.actors.bench_device import PROBLEM, SPACE, TableDevice

CATALOGUE = Catalogue.of({("table", PROBLEM): SPACE})
ACCORD = Accord(CATALOGUE, Agreement(secure=False))


def spec(tmp_path: Path, floor: int = 1) -> AggregatorSpec:
    return AggregatorSpec(
        folder=tmp_path / "aggregator",
        telemetry=tmp_path / "telemetry",
        policies=tmp_path / "policies",
        signing_key=tmp_path / "signing.key",
        federation="lab",
        catalogue=CATALOGUE,
        floor=floor,
        agreement=Agreement(secure=False),
    )


@pytest.fixture
def aggregator(tmp_path: Path) -> Iterator[Aggregator]:
    made = Aggregator(spec(tmp_path))
    yield made
    made.close()


class Nowhere:
    """A link that never reaches anyone."""

    def submit(self, batch: bytes) -> Ack | Refusal | None:
        return None


def node(tmp_path: Path, name: str, key: bytes) -> NodeAgent:
    made = NodeAgent(
        NodeSpec(
            name=name,
            folder=tmp_path / name,
            federation="lab",
            trusted_key=key,
            site_key=tmp_path / "site.key",
            site_fingerprint=fingerprint(load_or_create_key(tmp_path / "site.key")),
            dictionary=tmp_path / "ids",
            problems=(PROBLEM,),
            strategy="evolution",
            seed=int(name[-1]),
            first_cycle=0,
            evaluations=4,
            recheck=1,
            rounds=RoundsSpec(secure=False, identity=tmp_path / f"{name}.key"),
        ),
        TableDevice(),
        Nowhere(),
    )
    made.run_cycle(0, None)
    return made


async def run_round(aggregator: Aggregator, nodes: dict[str, NodeAgent], cycle: int) -> RoundStep:
    step = await aggregator.open_round(cycle, list(nodes))
    while not step.over:
        answers = [(n, a) for n, m in step.messages for a in nodes[n].answer(m, ACCORD).messages]
        step = await (aggregator.answer(answers) if answers else aggregator.deadline())
    return step


def spooled(tmp_path: Path, name: str) -> bytes:
    [path] = (tmp_path / name / "spool").glob("*.arrows")
    return path.read_bytes()


def test_a_round_ends_in_a_signed_policy_that_nodes_adopt(tmp_path: Path, aggregator: Aggregator) -> None:
    async def scenario() -> None:
        key = await aggregator.public_key()
        nodes = {name: node(tmp_path, name, key) for name in ("node-0", "node-1")}
        step = await run_round(aggregator, nodes, 0)
        assert step.policy is not None
        policy, signer = inspect(step.policy)
        assert (policy.version, policy.participants, signer) == (1, 2, key)
        assert policy.protocol.startswith("plain")
        assert {n.adopt(step.policy) for n in nodes.values()} == {1}
        assert await aggregator.policy() == step.policy

    asyncio.run(scenario())


def test_a_cycle_already_learned_from_answers_with_its_policy(tmp_path: Path, aggregator: Aggregator) -> None:
    async def scenario() -> None:
        nodes = {"node-0": node(tmp_path, "node-0", await aggregator.public_key())}
        first = await run_round(aggregator, nodes, 0)
        assert (await aggregator.open_round(0, ["node-0"])).policy == first.policy

    asyncio.run(scenario())


def test_a_round_below_its_floor_is_abandoned_and_the_next_one_works(tmp_path: Path) -> None:
    async def scenario() -> None:
        made = Aggregator(spec(tmp_path, floor=2))
        key = await made.public_key()
        nodes = {name: node(tmp_path, name, key) for name in ("node-0", "node-1")}
        alone = await run_round(made, {"node-0": nodes["node-0"]}, 0)
        assert alone.policy is None
        assert alone.abandoned is not None
        assert (await run_round(made, nodes, 1)).policy is not None
        made.close()

    asyncio.run(scenario())


def test_a_restarted_aggregator_goes_on_from_its_folder(tmp_path: Path) -> None:
    async def scenario() -> None:
        made = Aggregator(spec(tmp_path))
        nodes = {"node-0": node(tmp_path, "node-0", await made.public_key())}
        first = await run_round(made, nodes, 0)
        assert isinstance(await made.submit(spooled(tmp_path, "node-0")), Ack)
        await made.open_round(1, ["node-0"])
        made.close()
        again = Aggregator(spec(tmp_path))
        assert await again.policy() == first.policy
        assert (await again.snapshot()).store.rows == 4
        assert first.policy is not None
        nodes["node-0"].adopt(first.policy)
        nodes["node-0"].run_cycle(1, None)
        second = await run_round(again, nodes, 1)
        assert second.policy is not None
        assert inspect(second.policy)[0].version == 2
        again.close()

    asyncio.run(scenario())


def test_killed_between_storing_a_policy_and_saving_the_state_it_starts_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        made = Aggregator(spec(tmp_path))
        nodes = {"node-0": node(tmp_path, "node-0", await made.public_key())}
        await run_round(made, nodes, 0)
        before = (tmp_path / "aggregator" / "state").read_bytes()
        await made.open_round(1, ["node-0"])
        made.close()
        for stale in (before, None):
            state = tmp_path / "aggregator" / "state"
            state.unlink() if stale is None else state.write_bytes(stale)
            again = Aggregator(spec(tmp_path))
            assert (await again.snapshot()).fleet.version == 1
            again.close()

    asyncio.run(scenario())


def test_batches_that_arrive_together_are_answered_each(tmp_path: Path, aggregator: Aggregator) -> None:
    async def scenario() -> None:
        key = await aggregator.public_key()
        names = [f"node-{n}" for n in range(3)]
        for name in names:
            node(tmp_path, name, key)
        batches = [spooled(tmp_path, name) for name in names]
        answers = await asyncio.gather(*(aggregator.submit(b) for b in [*batches, b"broken", batches[0]]))
        kinds = [type(answer) for answer in answers]
        assert kinds == [Ack, Ack, Ack, Refusal, Ack]
        assert (await aggregator.snapshot()).store.rows == 12

    asyncio.run(scenario())


def test_a_store_that_fails_acknowledges_nothing_and_recovers(
    tmp_path: Path, aggregator: Aggregator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        node(tmp_path, "node-0", await aggregator.public_key())
        batch = spooled(tmp_path, "node-0")

        def full(_: object) -> list[Ack | Refusal]:
            raise StorageError("disk full", "make room")

        with monkeypatch.context() as patch:
            patch.setattr(aggregator._store, "append", full)
            with pytest.raises(StorageError, match="disk full"):
                await aggregator.submit(batch)
        assert isinstance(await aggregator.submit(batch), Ack)

    asyncio.run(scenario())


def test_two_aggregators_never_own_one_folder(
    tmp_path: Path, aggregator: Aggregator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.aggregator.HANDOVER_S", 0.2)
    with pytest.raises(InUseError):
        Aggregator(spec(tmp_path))


def test_an_aggregator_that_cannot_open_gives_its_folders_back(tmp_path: Path) -> None:
    state = make_folder(spec(tmp_path).folder) / "state"
    state.write_bytes(b"{}")
    with pytest.raises(DataError, match="aggregator state"):
        Aggregator(spec(tmp_path))
    state.unlink()
    Aggregator(spec(tmp_path)).close()


def test_an_aggregator_waits_for_a_predecessor_that_is_about_to_end(tmp_path: Path, aggregator: Aggregator) -> None:
    threading.Timer(0.3, aggregator.close).start()
    successor = Aggregator(spec(tmp_path))
    successor.close()


def test_answers_repeated_after_a_restart_still_end_the_round(tmp_path: Path) -> None:
    async def scenario() -> None:
        made = Aggregator(spec(tmp_path))
        nodes = {"node-0": node(tmp_path, "node-0", await made.public_key())}
        opened = await made.open_round(0, ["node-0"])
        answers = [(n, a) for n, m in opened.messages for a in nodes[n].answer(m, ACCORD).messages]
        first = await made.answer(answers)
        made.close()
        again = Aggregator(spec(tmp_path))
        repeated = await again.answer(answers)
        assert not repeated.over
        assert (await again.deadline()).policy == first.policy
        again.close()

    asyncio.run(scenario())


def test_a_round_interrupted_by_a_restart_goes_on_under_a_new_number(tmp_path: Path) -> None:
    async def scenario() -> None:
        made = Aggregator(spec(tmp_path))
        nodes = {"node-0": node(tmp_path, "node-0", await made.public_key())}
        opened = await made.open_round(0, ["node-0"])
        made.close()
        again = Aggregator(spec(tmp_path))
        step = await again.answer([("node-0", b"an answer to the round that is lost")])
        assert (opened.number, step.number, step.refused) == (0, 1, ())
        answers = [(n, a) for n, m in step.messages for a in nodes[n].answer(m, ACCORD).messages]
        assert (await again.answer(answers)).policy is not None
        again.close()

    asyncio.run(scenario())


def test_many_small_segments_are_merged_and_no_row_is_lost(
    tmp_path: Path, aggregator: Aggregator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.aggregator.COMPACT_AT", 3)

    async def scenario() -> None:
        key = await aggregator.public_key()
        for name in (f"node-{n}" for n in range(5)):
            node(tmp_path, name, key)
            await aggregator.submit(spooled(tmp_path, name))
        store = (await aggregator.snapshot()).store
        assert store.rows == 20
        assert store.segments < 5

    asyncio.run(scenario())


def test_storing_in_a_thread_says_nothing_of_where_learning_stands(
    tmp_path: Path, aggregator: Aggregator, monkeypatch: pytest.MonkeyPatch
) -> None:
    board, learned, stored = aggregator._board, [], []

    async def scenario() -> None:
        nodes = {"node-0": node(tmp_path, "node-0", await aggregator.public_key())}
        monkeypatch.setattr(board, "learned", lambda fleet: learned.append(threading.current_thread()))
        monkeypatch.setattr(board, "stored", lambda rows: stored.append((threading.current_thread(), rows)))
        await aggregator.submit(spooled(tmp_path, "node-0"))
        await run_round(aggregator, nodes, 0)

    asyncio.run(scenario())
    ((storing, rows),) = stored
    assert (storing is not threading.main_thread(), rows) == (True, 4)
    assert set(learned) == {threading.main_thread()}


def test_a_restarted_aggregator_shows_whom_it_heard_before(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "live" / "fleet.json", tmp_path / "live" / "events.jsonl")
    seen = replace(spec(tmp_path), watched=watched)

    async def scenario() -> None:
        made = Aggregator(seen, now=lambda: 100.0)
        await made.pulse(pulse_of("node-0", "rack-1", "idle", None, 100.0))
        made.close()
        again = Aggregator(seen, now=lambda: 101.0)
        await again.mark({"node-0": Mark("left", 1)})
        (shown,) = (await again.live()).nodes
        again.close()
        assert (shown.pulse.machine, shown.health, shown.heard_at) == ("rack-1", "left", 100.0)

    asyncio.run(scenario())
