"""A real fleet on the GPUs of this machine: configs/gpu.yaml from start to report, with the joules that it took.

The whole report is written beside ``--out``, as ``NAME.report.json``.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from benchmarks.harness import Bar, Row, main, say
from cluster.config import load_config
from cluster.ray_session import local_cluster
from cluster.report import KernelReport, Report
from cluster.report_text import profile_text
from cluster.run_folder import RunFolder
from cluster.session import run_fleet
from quasim.codec import to_json
from quasim.machine import usable_cores
from quasim.standing import Rival
from storage.files import write_atomic
from storage.queries import open_dataset

CONFIG = Path(__file__).parents[1] / "configs" / "gpu.yaml"

MOST_S = 540.0
"""Nine minutes, Ray's start and the final playoffs included."""


def options(parser: argparse.ArgumentParser) -> None:
    """How many agents and cycles."""
    parser.add_argument("--agents", type=int, help="one GPU each; default: as many as there are GPUs")
    parser.add_argument("--cycles", type=int, help="default: the config's")


def measure(given: argparse.Namespace) -> tuple[list[Row], list[Bar]]:
    """One row a kernel and one a node."""
    config = load_config(CONFIG, {}, {"agents": given.agents, "cycles": given.cycles})
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        # Keys of its own: a benchmark must neither need nor change those of the site.
        os.environ["QUASIM_HOME"] = str(Path(name) / "site")
        folder = RunFolder.create(Path(name) / "run", config)
        report = run_fleet(config, folder, local_cluster(len(usable_cores())), say)
        seconds = time.monotonic() - start
        # Counted in the files themselves, not taken from the report.
        stored = open_dataset([folder.telemetry]).count_rows()
    if given.out is not None:
        write_atomic(given.out.with_suffix(".report.json"), to_json(report) + b"\n")
    return [*map(_kernel, report.kernels), *_nodes(report)], _bars(report, stored, seconds, given.agents)


def _kernel(kernel: KernelReport) -> Row:
    best, standing, energy = kernel.best, kernel.standing, kernel.energy
    return {
        "problem": str(kernel.problem),
        "searched": str(kernel.by_status),
        "ms": best.time_ns / 1e6 if best else None,
        "default / ours": _ratio(standing.default) if standing else None,
        "baseline / ours": _ratio(standing.baseline) if standing else None,
        "library / ours": _ratio(standing.library) if standing else None,
        "of roofline": standing.roofline_fraction if standing else None,
        "J spent": energy.spent_j,
        "J default": energy.default_j,
        "J winner": energy.winner_j,
        "paid back after": energy.runs,
        "because": energy.detail,
        "counters": profile_text(kernel.profile) if kernel.profile else None,
        "genome": str(best.genome) if best else None,
    }


def _ratio(rival: Rival) -> float | None:
    return rival.ratio.median if rival.ratio else None


def _nodes(report: Report) -> list[Row]:
    steered = {node.node: node.cycles_with_policy for node in report.fleet.adoption}
    return [
        {
            "node": node.node,
            "GPU": node.device,
            "J": node.joules,
            "J above idle": node.above_idle_j,
            "cycles with a policy": steered.get(node.node),
            "detail": node.detail,
        }
        for node in report.fleet.energy.nodes
    ]


def _bars(report: Report, stored: int, seconds: float, agents: int | None) -> list[Bar]:
    rows, nodes = report.fleet.rows, report.fleet.energy.nodes
    unequal = max(rows.sent, rows.acknowledged, stored) - min(rows.sent, rows.acknowledged, stored)
    return [
        Bar.at_least("agents", len(nodes), agents or 1),
        Bar.at_least("agents that had a GPU to themselves", len({n.device for n in nodes if n.device}), len(nodes)),
        Bar.at_least("telemetry rows stored", stored, 1),
        Bar.at_most("telemetry rows not sent, acknowledged and stored alike", unequal, 0),
        Bar.at_least("kernels with a winner", sum(k.best is not None for k in report.kernels), len(report.kernels)),
        Bar.at_least("campaign energy metered, J", report.fleet.energy.joules or 0.0, 1.0),
        Bar.at_most("seconds", seconds, MOST_S),
    ]


if __name__ == "__main__":
    main("gpu_fleet", __doc__ or "", measure, options)
