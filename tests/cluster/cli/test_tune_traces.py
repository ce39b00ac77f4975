"""What `quasim tune` says of fronts, and the traces that it writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.cli.tune import TuneReport
from quasim.codec import from_json
from quasim.errors import ExitCode
from quasim.search.pareto import front
from quasim.search.trace import GradientTrace, IsingTrace
from tests.cluster.test_cli import Command, command
from tests.cluster.test_replayed import recorded

__all__ = ["command", "recorded"]


@pytest.fixture
def tune(recorded: Path, tmp_path: Path) -> tuple[str, ...]:
    return "tune", "matmul", "--target", str(recorded), "--budget", "20", "--cache", str(tmp_path / "tuned")


def test_ising_leaves_its_couplings_and_anneals(command: Command, tune: tuple[str, ...], tmp_path: Path) -> None:
    found = command.json(*tune, "--strategy", "ising", "--trace", str(tmp_path / "trace"))
    trace = from_json((tmp_path / "trace" / "ising.json").read_bytes(), IsingTrace)
    assert trace.space == found["space"]
    assert len(trace.coupling) == len(trace.linear) == len(trace.genes)
    assert trace.anneals


def test_gradient_leaves_its_schedule_and_both_traces(command: Command, tune: tuple[str, ...], tmp_path: Path) -> None:
    found = command.json(*tune, "--strategy", "gradient", "--trace", str(tmp_path / "trace"))
    trace = from_json((tmp_path / "trace" / "gradient.json").read_bytes(), GradientTrace)
    assert isinstance(found["best"], dict)
    assert trace.schedule is not None
    assert dict(trace.schedule) == found["best"]["genome"]
    assert trace.descents
    assert len(trace.evaluations) == 20


def test_a_trace_asks_for_a_search_even_of_what_is_cached(
    command: Command, tune: tuple[str, ...], tmp_path: Path
) -> None:
    command(*tune)
    command(*tune, "--strategy", "ising", "--trace", str(tmp_path / "trace"))
    assert (tmp_path / "trace" / "ising.json").exists()


def test_a_strategy_without_a_trace_is_refused_before_it_begins(
    command: Command, tune: tuple[str, ...], tmp_path: Path
) -> None:
    said = command.fails(ExitCode.CONFIG, *tune, "--strategy", "random", "--trace", str(tmp_path / "trace"))
    assert "random keeps no trace" in said
    assert not (tmp_path / "trace").exists()


def test_the_front_of_a_run_is_that_of_its_trials(command: Command, tune: tuple[str, ...]) -> None:
    code, out, _ = command(*tune, "--fresh", "--json")
    report = from_json(out, TuneReport)
    assert code == 0
    assert report.front == front(report.trials)
    assert report.best is not None
    assert report.front[0].time_ns == report.best.time_ns
