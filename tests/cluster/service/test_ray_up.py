"""`ray up configs/cluster/static.yaml` for real: over SSH to this machine, into a home folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from benchmarks.ray_head import free_port, own_ports, token_environment
from tests.cluster.service.ssh_host import MISSING, SshHost, ssh_host

ROOT = Path(__file__).parents[3]

NODES = """
import json, ray, sys
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
print(json.dumps([(node["Alive"], "quasim-node" in node["Labels"]) for node in ray.nodes()]))
"""


@pytest.fixture
def host() -> Iterator[SshHost]:
    with tempfile.TemporaryDirectory(prefix="q", ignore_cleanup_errors=True) as name, ssh_host(Path(name)) as host:
        # Dependencies are this environment's: making another takes minutes and a network.
        (host.home / "quasim").mkdir()
        (host.home / "quasim" / "venv").symlink_to(sys.prefix)
        yield host


def static(host: SshHost, port: int) -> dict[str, object]:
    """The shipped file, for one machine on which other clusters run: it keeps its own ports, and ends none of them."""
    document = msgspec.yaml.decode((ROOT / "configs/cluster/static.yaml").read_bytes(), type=dict[str, object])
    flags = {"num-cpus": 1, "include-dashboard": "false", "temp-dir": host.home / "t", **own_ports()}
    own = " ".join(f"--{name}={value}" for name, value in flags.items())
    commands = msgspec.convert(document["head_start_ray_commands"], list[str])
    document["head_start_ray_commands"] = [
        line.replace("ray start", f"ray start {own}").replace("6379", str(port))
        for line in commands
        if not line.endswith("ray stop")
    ]
    return {**document, "provider": {"type": "local", "head_ip": "127.0.0.1", "worker_ips": []}, "auth": host.auth}


@pytest.mark.ray
@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
def test_a_machine_that_one_can_log_in_to_becomes_a_head(tmp_path: Path, host: SshHost) -> None:
    environment = {**token_environment(tmp_path), "HOME": str(tmp_path), "RAY_TMPDIR": str(host.home.parent)}
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text((tmp_path / "token").read_text())
    (tmp_path / ".quasim").mkdir()
    (tmp_path / ".quasim" / "site.key").write_bytes(os.urandom(32))
    (tmp_path / ".quasim" / "site.key").chmod(0o600)
    port = free_port()
    (tmp_path / "static.yaml").write_bytes(msgspec.yaml.encode(static(host, port)))
    up = subprocess.run(
        ["ray", "up", "--yes", "--no-config-cache", str(tmp_path / "static.yaml")],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert up.returncode == 0, up.stdout + up.stderr
    assert (host.home / ".quasim" / "site.key").stat().st_mode & 0o077 == 0
    asked = [sys.executable, "-c", NODES, f"127.0.0.1:{port}"]
    nodes = subprocess.run(asked, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(nodes.stdout) == [[True, True]]
