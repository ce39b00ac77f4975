from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from actors.node_agent import NodeAgent
from actors.node_rounds import RoundsSpec
from actors.node_spec import NodeSpec, fingerprint
from aggregation.catalogue import Catalogue
from aggregation.distill import refine
from aggregation.signing import PolicySigner
from quasim.errors import DataError, TrustError
from storage.keys import load_or_create_key
from storage.ownership import InUseError
from storage.segments import Ack, Refusal, SegmentStore
from tests.actors.bench_device import PROBLEM, SPACE, TableDevice

SIGNER = PolicySigner(bytes(32))
SPACES = {("table", PROBLEM): SPACE}


class StoreLink:
    """A link straight into a store; it can be cut, before or after the store has written."""

    def __init__(self, store: SegmentStore) -> None:
        self.store = store
        self.up = True
        self.lose_answer = False

    def submit(self, batch: bytes) -> Ack | Refusal | None:
        if not self.up:
            return None
        [answer] = self.store.append([batch])
        return None if self.lose_answer else answer


@pytest.fixture
def link(tmp_path: Path) -> StoreLink:
    return StoreLink(SegmentStore(tmp_path / "telemetry"))


def spec(tmp_path: Path) -> NodeSpec:
    return NodeSpec(
        name="node-0",
        folder=tmp_path / "node-0",
        federation="lab",
        trusted_key=SIGNER.public_key,
        site_key=tmp_path / "site.key",
        site_fingerprint=fingerprint(load_or_create_key(tmp_path / "site.key")),
        dictionary=tmp_path / "ids",
        problems=(PROBLEM,),
        strategy="evolution",
        seed=3,
        first_cycle=0,
        evaluations=4,
        recheck=2,
        rounds=RoundsSpec(secure=False, identity=tmp_path / "identity.key"),
    )


def agent(tmp_path: Path, link: StoreLink) -> NodeAgent:
    return NodeAgent(spec(tmp_path), TableDevice(), link)


def envelope(version: int = 1, federation: str = "lab", signer: PolicySigner = SIGNER) -> bytes:
    catalogue = Catalogue.of(SPACES)
    policy = None
    for number in range(version):
        policy = refine(
            policy,
            catalogue,
            np.zeros(catalogue.length),
            federation=federation,
            cycle=number,
            participants=1,
            protocol="plain",
        )
    assert policy is not None
    return signer.sign(policy)


def test_a_cycle_is_stored_and_acknowledged(tmp_path: Path, link: StoreLink) -> None:
    node = agent(tmp_path, link)
    record = node.run_cycle(0, None)
    state = node.snapshot()
    assert len(record.stages()) == state.sent == link.store.rows == 4
    assert state.waiting_rows == 0


def test_telemetry_waits_while_the_aggregator_is_away(tmp_path: Path, link: StoreLink) -> None:
    node = agent(tmp_path, link)
    link.up = False
    node.run_cycle(0, None)
    assert node.snapshot().waiting_rows == 4
    link.up = True
    assert node.flush() == 0
    assert link.store.rows == node.snapshot().sent == 4


def test_a_lost_acknowledgement_counts_no_row_twice(tmp_path: Path, link: StoreLink) -> None:
    node = agent(tmp_path, link)
    link.lose_answer = True
    node.run_cycle(0, None)
    assert node.snapshot().waiting_rows == 4
    link.lose_answer = False
    node.flush()
    assert link.store.rows == node.snapshot().sent == 4


def test_a_finished_cycle_asked_again_answers_with_its_record(tmp_path: Path, link: StoreLink) -> None:
    node = agent(tmp_path, link)
    first = node.run_cycle(0, None)
    assert node.run_cycle(0, None) == first
    node.close()
    assert agent(tmp_path, link).run_cycle(0, None) == first
    assert link.store.rows == 4


def test_a_node_that_died_before_its_commit_repeats_the_cycle_alike(
    tmp_path: Path, link: StoreLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = agent(tmp_path, link)
    node.run_cycle(0, None)

    def die() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(node, "_save", die)
    with pytest.raises(KeyboardInterrupt):
        node.run_cycle(1, None)
    node.close()
    reborn = agent(tmp_path, link)
    record = reborn.run_cycle(1, None)
    assert len(record.stages()) == 6
    assert link.store.rows == reborn.snapshot().sent == 10


def test_a_node_that_died_after_its_commit_sends_what_it_had_spooled(tmp_path: Path, link: StoreLink) -> None:
    node = agent(tmp_path, link)
    link.up = False
    node.run_cycle(0, None)
    link.up = True
    node.close()
    reborn = agent(tmp_path, link)
    reborn.flush()
    assert link.store.rows == reborn.snapshot().sent == 4


def test_a_verified_policy_is_adopted(tmp_path: Path, link: StoreLink) -> None:
    assert agent(tmp_path, link).adopt(envelope()) == 1


@pytest.mark.parametrize(
    "bad", [envelope(federation="other"), envelope(signer=PolicySigner(b"\1" * 32)), envelope()[:-1], b""]
)
def test_foreign_forged_or_broken_policies_are_refused(tmp_path: Path, link: StoreLink, bad: bytes) -> None:
    assert agent(tmp_path, link).adopt(bad) == 0


def test_a_rollback_is_refused(tmp_path: Path, link: StoreLink) -> None:
    node = agent(tmp_path, link)
    assert node.adopt(envelope(version=2)) == 2
    assert node.adopt(envelope(version=1)) == 2


def test_a_refused_batch_is_set_aside_and_counted(tmp_path: Path, link: StoreLink) -> None:
    node = agent(tmp_path, link)
    link.up = False
    node.run_cycle(0, None)
    [spooled] = (tmp_path / "node-0" / "spool").glob("*.arrows")
    spooled.write_bytes(b"not arrow")
    link.up = True
    node.flush()
    assert node.snapshot().refused == 4
    assert node.snapshot().waiting_rows == 0
    assert len(list((tmp_path / "node-0" / "spool" / "refused").iterdir())) == 1
    node.run_cycle(1, None)
    assert link.store.rows == 6


def test_a_node_whose_disk_is_lost_sends_under_new_numbers_and_says_from_which_it_counts(
    tmp_path: Path, link: StoreLink
) -> None:
    node = NodeAgent(msgspec.structs.replace(spec(tmp_path), lowest_incarnation=10), TableDevice(), link)
    node.run_cycle(0, None)
    node.close()
    shutil.rmtree(tmp_path / "node-0")
    reborn = NodeAgent(msgspec.structs.replace(spec(tmp_path), lowest_incarnation=20), TableDevice(), link)
    reborn.run_cycle(1, None)
    stands = reborn.snapshot()
    assert (stands.sent, stands.waiting_rows, stands.refused, stands.since) == (4, 0, 0, 20)
    assert link.store.rows == 8


def test_a_damaged_state_is_named(tmp_path: Path, link: StoreLink) -> None:
    node = agent(tmp_path, link)
    node.run_cycle(0, None)
    node.close()
    (tmp_path / "node-0" / "state.json").write_bytes(b"{}")
    with pytest.raises(DataError, match=r"state\.json"):
        agent(tmp_path, link)


def test_keys_are_for_their_owner_only(tmp_path: Path, link: StoreLink) -> None:
    agent(tmp_path, link).run_cycle(0, None)
    assert (tmp_path / "site.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "ids").stat().st_mode & 0o077 == 0


def test_two_agents_never_own_one_folder(tmp_path: Path, link: StoreLink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.node_agent.HANDOVER_S", 0.2)
    first = agent(tmp_path, link)
    with pytest.raises(InUseError):
        agent(tmp_path, link)
    first.close()
    agent(tmp_path, link).close()


def test_a_failed_cycle_leaves_the_node_where_it_was(
    tmp_path: Path, link: StoreLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = agent(tmp_path, link)
    node.run_cycle(0, None)
    with monkeypatch.context() as patch:
        patch.setattr(TableDevice, "evaluate", lambda *_: (_ for _ in ()).throw(OSError("device lost")))
        with pytest.raises(OSError, match="device lost"):
            node.run_cycle(1, None)
    node.run_cycle(2, None)
    assert link.store.rows == node.snapshot().sent == 10


def test_a_restored_node_tells_its_device_the_cycle(tmp_path: Path, link: StoreLink) -> None:
    node = agent(tmp_path, link)
    for cycle in range(3):
        node.run_cycle(cycle, None)
    node.close()
    device = TableDevice(change_at=2)
    NodeAgent(spec(tmp_path), device, link).close()
    assert device.changed


def test_a_machine_with_another_site_key_is_refused(tmp_path: Path, link: StoreLink) -> None:
    other = msgspec.structs.replace(spec(tmp_path), site_fingerprint="0" * 32)
    with pytest.raises(TrustError, match=r"site\.key"):
        NodeAgent(other, TableDevice(), link)
