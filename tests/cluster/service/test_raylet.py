from __future__ import annotations

import queue
import sys
from pathlib import Path

import pytest

from cluster.service.config import NodeServiceConfig
from cluster.service.raylet import JOINED, Raylet, command, environment, require_token
from quasim.errors import TrustError


def test_the_command_names_the_node_and_passes_flags_on() -> None:
    config = NodeServiceConfig(labels={"rack": "b7"}, ray={"num-gpus": 1})
    said = command("head:6379", "n1", config)
    assert {"--address=head:6379", "--block", "--labels=quasim-node=n1,rack=b7", "--num-gpus=1"} <= set(said)


def test_authentication_is_on_and_reports_are_off_whatever_the_service_inherited() -> None:
    given = {"RAY_AUTH_TOKEN": "t", "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "1", "HOME": "/nowhere"}
    inherited = environment(given, NodeServiceConfig(drain_s=7))
    assert inherited["RAY_AUTH_MODE"] == "token"
    assert inherited["RAY_USAGE_STATS_ENABLED"] == "0"
    assert inherited["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] == "7"
    assert inherited["HOME"] == "/nowhere"


def test_an_operator_may_rotate_rays_logs_otherwise() -> None:
    given = {"RAY_AUTH_TOKEN": "t", "RAY_ROTATION_BACKUP_COUNT": "2"}
    assert environment(given, NodeServiceConfig())["RAY_ROTATION_BACKUP_COUNT"] == "2"


def test_a_token_is_found_where_ray_finds_it(tmp_path: Path) -> None:
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("t\n")
    require_token({"HOME": str(tmp_path)})
    require_token({"HOME": "/nowhere", "RAY_AUTH_TOKEN_PATH": str(tmp_path / ".ray" / "auth_token")})


@pytest.mark.parametrize("text", [None, "", " \n"])
def test_without_a_token_nothing_starts(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "token").write_text(text)
    with pytest.raises(TrustError, match="no token of the Ray cluster"):
        environment({"RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}, NodeServiceConfig())


def child(code: str) -> tuple[Raylet, queue.Queue[str | int]]:
    heard: queue.Queue[str | int] = queue.Queue()
    return Raylet([sys.executable, "-uc", code], {}, heard.put, lambda: heard.put("(joined)"), heard.put), heard


def test_what_a_child_says_is_heard_and_its_end_is_told_last() -> None:
    raylet, heard = child(f"print('one'); print('{JOINED}'); raise SystemExit(3)")
    assert [heard.get(timeout=20) for _ in range(4)] == ["one", JOINED, "(joined)", 3]
    raylet.close()


def test_a_child_that_ignores_the_drain_can_be_killed() -> None:
    raylet, heard = child(
        "import signal, time; signal.signal(signal.SIGTERM, lambda *_: print('no')); print('up'); time.sleep(60)"
    )
    assert heard.get(timeout=20) == "up"
    raylet.drain()
    assert heard.get(timeout=20) == "no"
    raylet.kill()
    assert heard.get(timeout=20) == -9
    raylet.close()
