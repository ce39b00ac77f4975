from __future__ import annotations

import socket
import threading

import pytest

from cluster import machines
from cluster.machines import refusing
from cluster.placement import Machine


def test_machines_are_probed_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(8)

    def silent(machine: Machine) -> bool:
        together.wait(20)  # breaks, where one is asked after the other
        return False

    monkeypatch.setattr(machines, "refuses", silent)
    assert refusing([Machine(f"id-{n}", 0, {}) for n in range(8)]) == frozenset()


def test_those_that_refuse_are_named_and_those_that_listen_are_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        up = Machine("up", 0, {}, "127.0.0.1", listening.getsockname()[1])
        with socket.create_server(("127.0.0.1", 0)) as ended:
            down = Machine("down", 0, {}, "127.0.0.1", ended.getsockname()[1])
        assert refusing([up, down, Machine("unknown", 0, {})]) == {"down"}
    assert refusing([]) == frozenset()
