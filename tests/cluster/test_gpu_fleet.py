"""A small fleet on a real GPU: one agent, variants compiled as Ray tasks, joules from its meter."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from rich.console import Console

from cluster.config import AggregationConfig, FleetConfig, ProblemConfig
from cluster.report import Report
from cluster.report_text import render
from cluster.run_folder import RunFolder
from cluster.session import run_fleet
from quasim.targets.spec import TritonSpec
from storage.queries import open_dataset
from tests.quasim.gpu import on_gpu

pytestmark = [*on_gpu, pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

CONFIG = FleetConfig(
    target=TritonSpec(),
    problems=(ProblemConfig("softmax", "rows=4096,cols=1024"),),
    agents=1,
    aggregation=AggregationConfig(floor=1),
    cycles=2,
    evaluations=4,
    recheck=1,
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> tuple[Report, RunFolder]:
    folder = RunFolder.create(tmp_path_factory.mktemp("runs") / "gpu", CONFIG)
    return run_fleet(CONFIG, folder, nullcontext(), lambda line: None), folder


def test_telemetry_tells_what_variants_are_made_of(finished: tuple[Report, RunFolder]) -> None:
    report, folder = finished
    rows = open_dataset([folder.telemetry]).to_table().to_pylist()
    assert len(rows) == report.fleet.rows.sent == report.fleet.rows.acknowledged == 9
    measured = [row for row in rows if row["status"] == "ok"]
    assert measured
    assert all(row["registers"] > 0 and 0 < row["occupancy"] <= 1 and row["bytes_per_s"] > 0 for row in measured)
    assert {row["energy_source"] for row in measured if row["stage"] == "search"} == {"unmetered"}


def test_the_campaigns_joules_are_those_of_its_agents(finished: tuple[Report, RunFolder]) -> None:
    report, _ = finished
    energy = report.fleet.energy
    assert energy.detail == ""
    assert energy.joules is not None
    assert energy.joules > 0
    assert "GPU-" in energy.nodes[0].device
    assert report.kernels[0].energy.spent_j == energy.joules


def test_the_report_of_a_gpu_shows_rivals_introspection_and_energy(finished: tuple[Report, RunFolder]) -> None:
    console = Console(width=200)
    with console.capture() as captured:
        for part in render(finished[0]):
            console.print(part)
    text = captured.get()
    for words in (
        "PyTorch eager",
        "device copy",
        "registers (compiler)",
        "occupancy (derived)",
        "energy of the cycles",
    ):
        assert words in text
