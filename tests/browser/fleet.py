"""A real run for the browser to show, and the real server that shows it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.config import FleetConfig
from quasim.energy.plant import Physics
from quasim.energy.spec import RegulationSpec
from quasim.targets.spec import Recording, ReplaySpec
from tests.conftest import ROOT

SPACES = ROOT / "quasim" / "targets" / "replay" / "spaces"
TOKEN = "a-token-that-only-this-test-knows-0123456789"


def fleet(cycles: int, evaluations: int, agents: int = 2) -> FleetConfig:
    """Recorded H100s, heated by a simulated plant so that power and caps are there; the model says that it is one."""
    recordings = [SPACES / f"h100-{name}.t4.json.gz" for name in ("softmax-4096x4096", "matmul-4096x4096x4096")]
    return FleetConfig(
        target=ReplaySpec(tuple(Recording(str(path)) for path in recordings)),
        agents=agents,
        late_agents=1,
        cycles=cycles,
        evaluations=evaluations,
        seed=5,
        energy=RegulationSpec(mode="enforce", temperature_c=60.0, simulated=Physics(ambient_c=38.0)),
    )


@contextmanager
def served(token_file: Path, *arguments: str) -> Iterator[str]:
    """`quasim dashboard` with these arguments; gives its address."""
    token_file.write_text(TOKEN)
    token_file.chmod(0o600)
    command = [sys.executable, "-m", "quasim", "dashboard", *arguments, "--token-file", str(token_file), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ)
    assert server.stdout is not None
    try:
        yield server.stdout.readline().split()[0].rstrip("/")
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=20)
