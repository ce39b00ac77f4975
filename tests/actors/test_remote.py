"""A node agent as a Ray actor: what goes wrong when it opens keeps its type, and with it the exit code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from msgspec.structs import replace
from ray.actor import ActorHandle
from ray.exceptions import RayTaskError

from actors.node_rounds import RoundsSpec
from actors.node_spec import NodeSpec, fingerprint
from actors.remote import Place, RayNode, start_node
from quasim.errors import DataError, ExitCode, MissingToolError, QuasimError, TrustError
from quasim.targets.spec import Recording, ReplaySpec, TargetSpec, TritonSpec
from storage.keys import load_or_create_key
from tests.quasim.gpu import REASON

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


def recorded(path: Path) -> ReplaySpec:
    return ReplaySpec((Recording(str(path)),))


@pytest.fixture
def spec(tmp_path: Path, recorded_space: Path) -> NodeSpec:
    return NodeSpec(
        name="node-0",
        folder=tmp_path / "node-0",
        federation="lab",
        trusted_key=bytes(32),
        site_key=tmp_path / "site.key",
        site_fingerprint=fingerprint(load_or_create_key(tmp_path / "site.key")),
        dictionary=tmp_path / "ids",
        problems=recorded(recorded_space).problems(),
        strategy="evolution",
        seed=3,
        first_cycle=0,
        evaluations=4,
        recheck=0,
        rounds=RoundsSpec(secure=False, identity=tmp_path / "identity.key"),
    )


class Starter:
    """Starts agents, and ends them after the test."""

    def __init__(self) -> None:
        self.started: list[ActorHandle[RayNode]] = []

    def __call__(self, spec: NodeSpec, target: TargetSpec) -> ActorHandle[RayNode]:
        here = Place(ray.get_runtime_context().get_node_id(), 0)
        node = start_node(spec, target, "nobody", here, f"agent of {spec.folder}")
        self.started.append(node)
        return node


@pytest.fixture
def start() -> Iterator[Starter]:
    starter = Starter()
    yield starter
    for node in starter.started:
        ray.kill(node)


def cause(node: ActorHandle[RayNode]) -> QuasimError:
    with pytest.raises(RayTaskError) as caught:
        ray.get(node.catalogue.remote())
    assert isinstance(caught.value.cause, QuasimError)
    return caught.value.cause


def test_a_wrong_site_key_keeps_its_exit_code(spec: NodeSpec, start: Starter, recorded_space: Path) -> None:
    error = cause(start(replace(spec, site_fingerprint="0" * 32), recorded(recorded_space)))
    assert isinstance(error, TrustError)
    assert error.exit_code is ExitCode.UNTRUSTED


def test_a_device_that_cannot_be_opened_keeps_its_exit_code(spec: NodeSpec, start: Starter, tmp_path: Path) -> None:
    error = cause(start(spec, recorded(tmp_path / "nowhere.json")))
    assert isinstance(error, DataError)
    assert "nowhere.json" in error.what


@pytest.mark.skipif(not REASON, reason="this machine has a GPU")
def test_a_machine_without_a_driver_keeps_its_exit_code(spec: NodeSpec, start: Starter) -> None:
    error = cause(start(spec, TritonSpec()))
    assert isinstance(error, MissingToolError)
    assert error.exit_code is ExitCode.MISSING_TOOL


def test_a_node_that_could_not_open_tries_again(
    spec: NodeSpec, start: Starter, tmp_path: Path, recorded_space: Path
) -> None:
    node = start(spec, recorded(tmp_path / "late.json.gz"))
    cause(node)
    (tmp_path / "late.json.gz").write_bytes(recorded_space.read_bytes())
    assert ray.get(node.catalogue.remote())


def test_a_restarted_node_opens_by_itself(spec: NodeSpec, start: Starter, recorded_space: Path) -> None:
    node = start(spec, recorded(recorded_space))
    before = ray.get(node.catalogue.remote())
    ray.kill(node, no_restart=False)
    assert ray.get(node.catalogue.remote()) == before
