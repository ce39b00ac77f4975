"""Replay is repeatable: same seed and spaces give byte-identical generations and policies, also across a resume."""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.adapting import switches
from benchmarks.harness import Bar, Row, main, say

CYCLES = 6
KILL_AFTER = 3
TIMEOUT_S = 180


def config_text(before: Path, after: Path) -> str:
    """A replayed fleet with a late joiner and a device that changes half way."""
    return f"""
target:
  kind: replay
  recordings:
    - {{path: {before}}}
    - {{path: {after}, from_cycle: {CYCLES // 2}}}
agents: 3
late_agents: 1
cycles: {CYCLES}
evaluations: 20
"""


def digests(run: Path) -> dict[str, str]:
    """SHA-256 of every generation and policy of a run, by file name."""
    files = [*run.glob("cycles/*"), *run.glob("policies/*")]
    return {f"{p.parent.name}/{p.name}": hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(files)}


def quasim_run(arguments: list[str], site: Path) -> subprocess.Popen[bytes]:
    """A `quasim run` in a process group of its own."""
    environment = {**os.environ, "QUASIM_HOME": str(site)}
    command = [sys.executable, "-m", "quasim", "run", *arguments, "--json"]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def kill_half_way(process: subprocess.Popen[bytes], run: Path) -> None:
    """Kill the driver once it has logged some cycles."""
    deadline = time.monotonic() + TIMEOUT_S
    while len(list(run.glob("cycles/*.json"))) < KILL_AFTER and time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError("the run ended before it could be killed")
        time.sleep(0.02)
    process.kill()
    process.wait()


def measure(_: argparse.Namespace | None = None) -> tuple[list[Row], list[Bar]]:
    """Run, run again, run with a killed driver and resume; compare all files."""
    before, after = switches()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = folder / "config.yaml"
        config.write_text(config_text(before, after))
        for run in ("first", "second"):
            say(f"repeat: {run} run")
            if quasim_run([str(config), "--out", str(folder / run)], folder / "site").wait(TIMEOUT_S):
                raise RuntimeError(f"the {run} run failed")
        say(f"repeat: third run, its driver killed after {KILL_AFTER} cycles, then resumed")
        third = folder / "third"
        kill_half_way(quasim_run([str(config), "--out", str(third)], folder / "site"), third)
        if quasim_run(["--resume", str(third)], folder / "site").wait(TIMEOUT_S):
            raise RuntimeError("the resumed run failed")
        first, second, resumed = (digests(folder / run) for run in ("first", "second", "third"))
    same = [sum(first[name] == other.get(name) for name in first) for other in (second, resumed)]
    rows: list[Row] = [
        {"repeat": "same seed again", "files": len(first), "identical": same[0]},
        {"repeat": "killed and resumed", "files": len(first), "identical": same[1]},
    ]
    complete = len(first) == 2 * CYCLES
    return rows, [
        Bar.at_least("repeat: share of files identical", min(same) / len(first) if complete else 0.0, 1.0),
    ]


if __name__ == "__main__":
    main("repeat", __doc__ or "", measure)
