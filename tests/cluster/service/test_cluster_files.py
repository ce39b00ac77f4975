"""What is shipped for clusters fits what reads it, and one another."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import msgspec
import pytest
import typer.main

from cluster.cli import app
from cluster.config import load_config
from cluster.service.config import load_service
from quasim.errors import ExitCode

ROOT = Path(__file__).parents[3]
FILES = ROOT / "configs/cluster"
SCHEMA = json.loads((Path(__file__).parent / "rayjob.schema.json").read_text())


def read(name: str) -> dict[str, Any]:
    document = msgspec.yaml.decode((FILES / name).read_bytes())
    assert isinstance(document, dict)
    return document


def prepared(document: dict[str, Any]) -> None:
    """As `ray up` does before it touches a machine."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(document))


@pytest.mark.parametrize("name", ["static.yaml", "cloud.yaml"])
def test_ray_up_takes_the_file(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    prepared(read(name))


@pytest.mark.parametrize("name", ["static.yaml", "cloud.yaml"])
def test_ray_up_would_refuse_it_with_a_field_that_does_not_exist(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(jsonschema.ValidationError):
        prepared({**read(name), "setup_comands": []})


@pytest.mark.parametrize("name", ["static.yaml", "cloud.yaml"])
def test_every_start_of_ray_says_that_tokens_are_wanted_and_the_token_is_sent(name: str) -> None:
    document = read(name)
    starts = [
        line for kind in ("head", "worker") for line in document[f"{kind}_start_ray_commands"] if "ray start" in line
    ]
    assert len(starts) == 2
    for line in starts:
        assert line.index("RAY_AUTH_MODE=token") < line.index("ray start")
    assert "~/.ray/auth_token" in document["file_mounts"].values()


def test_local_files_that_ray_up_sends_are_there() -> None:
    sent = [local for local in read("static.yaml")["file_mounts"].values() if not local.startswith("~")]
    assert sent
    assert all((ROOT / local).is_file() for local in sent)


def test_a_machine_gets_the_dependencies_that_the_project_declares() -> None:
    # The standard library reads TOML from Python 3.11 on alone.
    project = (ROOT / "pyproject.toml").read_text()
    lists = [
        re.search(rf"^{name} = \[(.*?)\]$", project, re.MULTILINE | re.DOTALL) for name in ("dependencies", "fleet")
    ]
    declared = [one for found in lists if found for one in re.findall(r'"([^"]+)"', found[1])]
    wanted = [line for line in (FILES / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert len(declared) > 10
    assert wanted == declared


def test_the_kubernetes_manifest_fits_its_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(read("rayjob.yaml"), SCHEMA)


def broken(path: tuple[str | int, ...], value: object) -> dict[str, Any]:
    document: Any = deepcopy(read("rayjob.yaml"))
    at = document
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    assert isinstance(document, dict)
    return document


CLUSTER = ("spec", "rayClusterSpec")


@pytest.mark.parametrize(
    "document",
    [
        broken(("spec", "entryPoint"), "x"),
        broken((*CLUSTER, "authOptions"), {"mode": "on"}),
        broken((*CLUSTER, "headGroupSpec", "rayStartParams", "num-cpus"), 2),
        broken((*CLUSTER, "workerGroupSpecs", 0, "groupName"), "GPU nodes"),
        broken((*CLUSTER, "workerGroupSpecs", 0, "template", "spec", "containers"), []),
    ],
    ids=["misspelt", "mode", "number", "name", "empty"],
)
def test_the_schema_refuses_what_kubernetes_would(document: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, SCHEMA)


def test_the_kubernetes_job_wants_tokens_and_runs_a_config_that_is_there() -> None:
    spec = read("rayjob.yaml")["spec"]
    assert spec["rayClusterSpec"]["authOptions"]["mode"] == "token"
    [config] = re.findall(r"configs/\S+\.yaml", spec["entrypoint"])
    load_config(ROOT / config, {}, {})


def test_volumes_that_pods_mount_are_theirs() -> None:
    cluster = read("rayjob.yaml")["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        mounted = {m["name"] for c in (*pod["initContainers"], *pod["containers"]) for m in c["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_a_pod_may_take_longer_to_end_than_its_drain_takes() -> None:
    pod = read("rayjob.yaml")["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"]
    drain = {e["name"]: e["value"] for e in pod["containers"][0]["env"]}["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"]
    assert float(drain) < pod["terminationGracePeriodSeconds"]


def unit() -> dict[str, list[str]]:
    """Settings of the systemd unit; a name may come several times."""
    found: dict[str, list[str]] = {}
    for line in (FILES / "quasim-node.service").read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            name, value = line.split("=", 1)
            found.setdefault(name, []).append(value)
    return found


def test_the_unit_starts_a_command_that_there_is() -> None:
    [start] = unit()["ExecStart"]
    command, *words = shlex.split(start)
    assert Path(command).name == "quasim"
    assert words[:2] == ["node", "run"]
    options = {name for option in _node_run().params for name in option.opts}
    assert {word for word in words if word.startswith("--")} <= options


def _node_run() -> Any:
    group: Any = typer.main.get_command(app)
    return group.commands["node"].commands["run"]


def test_the_unit_waits_longer_than_a_drain_takes() -> None:
    drain_s = load_service(FILES / "node.yaml").drain_s
    assert float(unit()["TimeoutStopSec"][0]) > drain_s
    stop = re.search(r"--stop-timeout (\d+)", (FILES / "Containerfile").read_text())
    assert stop
    assert float(stop[1]) > drain_s


def test_the_unit_does_not_retry_what_wants_a_person() -> None:
    codes = {int(code) for code in unit()["RestartPreventExitStatus"][0].split()}
    assert codes == {ExitCode.CONFIG, ExitCode.MISSING_TOOL, ExitCode.UNTRUSTED}


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    # systemd looks whether program and user are there; ours are on the machines that the unit is for.
    text = (FILES / "quasim-node.service").read_text()
    text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE).replace(
        "User=quasim", "User=root"
    )
    (tmp_path / "quasim-node.service").write_text(text)
    said = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / "quasim-node.service")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (said.returncode, said.stderr) == (0, "")


def test_the_container_asks_the_health_port_of_the_default_config() -> None:
    port = load_service(FILES / "node.yaml").health_port
    assert f"http://127.0.0.1:{port}/healthz" in (FILES / "Containerfile").read_text()
