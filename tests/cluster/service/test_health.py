from __future__ import annotations

import json
import socket
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from cluster.service.health import Health, health_endpoint
from quasim.errors import ConfigError


def health(*, ready: bool) -> Health:
    state = "ready" if ready else "waiting"
    return Health("n1", "head:6379", True, ready, state, 7 if ready else None, 1, 0, None, ("up",), None)


def get(port: int, path: str = "/healthz") -> tuple[int, bytes]:
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read()
    except HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read()


def test_a_ready_node_answers_200_with_its_document() -> None:
    with health_endpoint(0, lambda: health(ready=True)) as port:
        status, body = get(port)
    assert status == 200
    assert json.loads(body)["state"] == "ready"


def test_a_node_outside_the_cluster_answers_503_with_its_document() -> None:
    with health_endpoint(0, lambda: health(ready=False)) as port:
        status, body = get(port)
    assert status == 503
    assert json.loads(body)["live"] is True


def test_there_is_nothing_else_to_see() -> None:
    with health_endpoint(0, lambda: health(ready=True)) as port:
        assert get(port, "/")[0] == 404


def test_it_listens_on_the_loopback_interface_alone() -> None:
    outside = [info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)]
    elsewhere = [address for address in outside if not str(address).startswith("127.")] or ["127.0.0.2"]
    with health_endpoint(0, lambda: health(ready=True)) as port, pytest.raises(ConnectionRefusedError):
        socket.create_connection((str(elsewhere[0]), port), timeout=10).close()


def test_a_port_that_is_taken_is_named() -> None:
    with (
        health_endpoint(0, lambda: health(ready=True)) as port,
        pytest.raises(ConfigError, match=f"health_port {port} cannot be used"),
        health_endpoint(port, lambda: health(ready=True)),
    ):
        pass
