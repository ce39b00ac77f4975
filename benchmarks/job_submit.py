"""From a clean clone to a running head: seconds until `ray job submit` has its first trials measured, by stage.

The project is not installed on the head's machine: Ray ships the clone. Kernels are compiled anew, into an empty cache.
When a trial was measured is not recorded, but the first rows on the aggregator's disk are: a node sends them at the end
of its cycle. So that this comes soon after the first trial, the job is one agent that measures one new genome a cycle.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.harness import Bar, Row, main, say
from benchmarks.ray_head import Head, running_head
from quasim.errors import QuasimError

ROOT = Path(__file__).parents[1]
LIMIT_S = 60.0

FLEET = """
target: {kind: c}
problems: [{kernel: softmax, shape: "rows=4096,cols=2048"}]
agents: 1
cycles: 1
evaluations: 1
recheck: 0
aggregation: {floor: 1}
"""
"""A fleet that has little to do before its first rows."""

PATIENCE_S = 240.0


def measure(given: argparse.Namespace) -> tuple[list[Row], list[Bar]]:
    with tempfile.TemporaryDirectory(prefix="q", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        begun_s = time.monotonic()
        commit = _clone(given.source, folder / "clone")
        clone_s = time.monotonic() - begun_s
        begun_s = time.monotonic()
        with running_head(folder, {"QUASIM_CACHE_DIR": str(folder / "cache")}) as head:
            head_s = time.monotonic() - begun_s
            stages = _submit(folder, head)
    row: Row = {"commit": commit, "clone_s": clone_s, "head_start_s": head_s, **stages}
    return [row], [Bar.at_most("clone and submit to first rows stored, s", clone_s + stages["first_rows_s"], LIMIT_S)]


def _clone(source: Path, to: Path) -> str:
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(source), str(to)], check=True)
    asked = ["git", "-C", str(to), "rev-parse", "--short", "HEAD"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


def _submit(folder: Path, head: Head) -> dict[str, float]:
    """Seconds since the submission began at which each stage was reached."""
    run, begun_s = folder / "run", time.monotonic()
    (folder / "clone" / "fleet.yaml").write_text(FLEET)
    job = ["python", "-m", "cluster.job", "fleet.yaml", "--out", str(run)]
    environment = {**head.environment, "RAY_ADDRESS": head.dashboard}
    with (folder / "job.log").open("w") as log:
        submitted = subprocess.Popen(
            ["ray", "job", "submit", "--working-dir", ".", "--", *job],
            cwd=folder / "clone",
            env=environment,
            stdout=log,
            stderr=log,
        )

    def reached(what: str, happened: Callable[[], bool]) -> float:
        while not happened():
            if submitted.poll() or time.monotonic() - begun_s > PATIENCE_S:
                raise QuasimError(f"not {what}: {(folder / 'job.log').read_text()}")
            time.sleep(0.05)
        say(f"{what}: {time.monotonic() - begun_s:.1f} s")
        return time.monotonic() - begun_s

    try:
        return {
            "accepted_s": reached("accepted", lambda: "submitted successfully" in (folder / "job.log").read_text()),
            "driver_s": reached("driver started", lambda: (run / "config.json").exists()),
            "first_rows_s": reached("first rows stored", lambda: any((run / "telemetry").rglob("*.arrow"))),
            "report_s": reached("job done", lambda: submitted.poll() is not None),
        }
    finally:
        submitted.terminate()
        submitted.wait(30)


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--source", type=Path, default=ROOT, help="repository to clone; default: this one, as committed"
    )


if __name__ == "__main__":
    main("job_submit", __doc__, measure, options)
