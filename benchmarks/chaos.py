"""Random ``kill -9`` of workers, agents and the aggregator: every run still ends with sent = acknowledged = stored."""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.harness import Bar, Row, main, say
from storage.queries import open_dataset

RUNS = 4
KILLS = 5
VICTIMS = {"worker": "quasim.worker", "agent": "ray::RayNode", "aggregator": "ray::RayAggregator"}
"""Kinds of processes by what their command line holds."""

MARK = "QUASIM_CHAOS_RUN"
"""An environment variable that all processes of a run inherit: no other run on the machine is touched."""

TIMEOUT_S = 300

CONFIG = """
target: {kind: c}
problems:
  - {kernel: matmul, shape: "m=256,n=256,k=256"}
  - {kernel: softmax, shape: "rows=512,cols=1024"}
agents: 3
late_agents: 1
cycles: 6
evaluations: 3
"""


def processes(mark: str) -> dict[int, str]:
    """Kind by pid of the processes of a run that may be killed."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environment = (entry / "environ").read_bytes()
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if f"{MARK}={mark}".encode() in environment:
            kinds = [kind for kind, text in VICTIMS.items() if text in command]
            if kinds:
                found[int(entry.name)] = kinds[0]
    return found


def run(folder: Path, seed: int) -> Row:
    """One run with its kills; what became of it."""
    chance = random.Random(seed)
    config = folder / "config.yaml"
    config.write_text(CONFIG)
    mark = f"{os.getpid()}-{seed}"
    command = [sys.executable, "-m", "quasim", "run", str(config), "--seed", str(seed), "--out", str(folder / "run")]
    environment = {**os.environ, MARK: mark, "QUASIM_HOME": str(folder / "site")}
    start = time.monotonic()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--json"], stdout=subprocess.PIPE, stderr=log, env=environment, start_new_session=True
        )
        killed = _kill_some(process, mark, chance, start)
        try:
            output, _ = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            say(f"chaos: run {seed} hangs: {(folder / 'log').read_text()[-500:]}")
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
    report = json.loads(output) if process.returncode == 0 else {}
    rows = report["fleet"]["rows"] if report else {"sent": 0, "acknowledged": 0}
    return {
        "chaos run": seed,
        "killed": " ".join(killed),
        "exit code": process.returncode,
        "cycles": report["fleet"]["cycles"] if report else 0,
        "measured": sum(report["fleet"]["by_stage"].values()) if report else 0,
        "sent": rows["sent"],
        "acknowledged": rows["acknowledged"],
        # Counted in the files themselves, not taken from the report.
        "stored": open_dataset([folder / "run" / "telemetry"]).count_rows() if report else 0,
        "seconds": time.monotonic() - start,
    }


def _kill_some(process: subprocess.Popen[bytes], mark: str, chance: random.Random, start: float) -> list[str]:
    """Kill ``KILLS`` random processes of the run while it goes on; the kinds killed."""
    killed: list[str] = []
    while len(killed) < KILLS and process.poll() is None and time.monotonic() - start < TIMEOUT_S:
        time.sleep(chance.uniform(0.5, 3.0))
        candidates = processes(mark)
        # The kind first: there are more agents than aggregators, and each kind must have its turn.
        kinds = sorted(set(candidates.values()))
        if not kinds:
            continue
        kind = chance.choice(kinds)
        victim = chance.choice(sorted(pid for pid, its in candidates.items() if its == kind))
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            continue
        killed.append(kind)
        say(f"chaos: killed {kind} {victim}")
    return killed


def measure(_: argparse.Namespace | None = None) -> tuple[list[Row], list[Bar]]:
    """All runs; the bars count kills, and runs that ended with every row sent, acknowledged and stored once."""
    rows = []
    for seed in range(RUNS):
        say(f"chaos: run {seed + 1} of {RUNS}")
        with tempfile.TemporaryDirectory() as folder:
            rows.append(run(Path(folder), seed))
    well = [
        row["exit code"] == 0 and row["measured"] == row["sent"] == row["acknowledged"] == row["stored"] and row["sent"]
        for row in rows
    ]
    killed = [kind for row in rows for kind in str(row["killed"]).split()]
    return rows, [
        Bar.at_least("chaos: kill -9 at random", len(killed), RUNS * KILLS),
        Bar.at_least("chaos: kinds of processes killed", len(set(killed)), len(VICTIMS)),
        Bar.at_least("chaos: share of runs with sent = acknowledged = stored", sum(map(bool, well)) / len(well), 1.0),
    ]


if __name__ == "__main__":
    main("chaos", __doc__ or "", measure)
