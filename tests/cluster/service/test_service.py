"""The service at a real head: it joins, comes back when its raylet dies, and drains while an actor still works."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import msgspec
import pytest

from benchmarks.ray_head import Head, free_port, own_ports
from cluster.service.health import Health
from cluster.service.raylet import JOINED

WORKER = """
import socket, sys, time, ray
from ray._private.state import state
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

@ray.remote(num_cpus=0)
class Agent:
    def answers(self): return True

def listens(node):
    try:
        socket.create_connection((node["NodeManagerAddress"], node["NodeManagerPort"]), 1).close()
    except OSError:
        return False
    return True

ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
# Ray takes a while to notice that the first raylet of this name was killed.
[here] = [n["NodeID"] for n in ray.nodes() if n["Alive"] and n["Labels"].get("quasim-node") == "n1" and listens(n)]
agent = Agent.options(scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=False)).remote()
print("placed", ray.get(agent.answers.remote(), timeout=60), flush=True)
while here not in state.get_draining_nodes():
    time.sleep(0.1)
print("draining", ray.get(agent.answers.remote(), timeout=60), flush=True)
sys.stdin.readline()
ray.kill(agent)
"""


@contextmanager
def service(folder: Path, head: Head, config: Mapping[str, object]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running `quasim node run`, and the address of its health document."""
    port = free_port()
    (folder / "node.yaml").write_bytes(
        msgspec.yaml.encode({"name": "n1", "health_port": port, "logs": str(folder / "logs"), **config})
    )
    command = [sys.executable, "-m", "quasim", "node", "run", f"--address={head.address}", "--json"]
    with (folder / "said").open("w") as said:
        process = subprocess.Popen(
            [*command, f"--config={folder / 'node.yaml'}"],
            env=head.environment,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        )
    try:
        yield process, f"http://127.0.0.1:{port}/healthz"
    finally:
        process.terminate()
        process.communicate(timeout=60)


def health(url: str) -> Health | None:
    try:
        with urlopen(url, timeout=5) as answer:
            return msgspec.json.decode(answer.read(), type=Health)
    except HTTPError as refusal:
        with refusal:
            return msgspec.json.decode(refusal.read(), type=Health)
    except OSError:
        return None


def until(url: str, wanted: Callable[[Health], bool]) -> Health:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        now = health(url)
        if now and wanted(now):
            return now
        time.sleep(0.1)
    raise AssertionError(f"the node stayed {health(url)}")


@pytest.mark.ray
def test_a_node_joins_comes_back_and_drains_while_its_agent_works(tmp_path: Path, ray_head: Head) -> None:
    config = {"ray": {"num-cpus": 1, **own_ports()}, "restart": {"first_s": 0.2}, "drain_s": 60}
    with service(tmp_path, ray_head, config) as (process, url):
        first = until(url, lambda now: now.ready)
        assert first.pid is not None
        assert any(JOINED in line for line in first.last_words)
        os.kill(first.pid, signal.SIGKILL)
        second = until(url, lambda now: now.ready and now.starts == 2)
        assert (second.last_code, second.failures) == (-9, 1)
        with subprocess.Popen(
            [sys.executable, "-c", WORKER, ray_head.address],
            env=ray_head.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as worker:
            assert worker.stdout is not None
            assert worker.stdin is not None
            assert "placed True\n" in worker.stdout  # among them may be Ray's own words on the raylet that was killed
            process.send_signal(signal.SIGTERM)
            assert "draining True\n" in worker.stdout
            assert until(url, lambda now: not now.ready).state == "draining"
            worker.stdin.write("\n")
            worker.stdin.flush()
            printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(printed)["state"] == "over"
    log = [json.loads(line) for line in (tmp_path / "logs/node.log").read_text().splitlines()]
    assert {line["node"] for line in log} == {"n1"}
    assert log[-1]["text"] == "node n1: left with exit code 0"
