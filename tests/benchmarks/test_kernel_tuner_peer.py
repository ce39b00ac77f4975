from __future__ import annotations

import json
import subprocess
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from quasim.targets.replay import ReplayTarget
from tests.conftest import ROOT

PYTHON = ROOT / ".venv-peers" / "bin" / "python"
COMMAND = (str(PYTHON), "-m", "benchmarks.kernel_tuner_peer", "--json", "--spaces")

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="needs the peers' environment, see `make peers`")


class Run(msgspec.Struct, forbid_unknown_fields=True):
    space: str
    strategy: str
    seed: int
    best_ns: list[float | None]
    optimum_ns: float
    stopped: str


class Document(msgspec.Struct, forbid_unknown_fields=True):
    version: str
    cap: int
    rows: list[Run]


@pytest.fixture(scope="module")
def document(recorded_space: Path) -> Document:
    return _search(recorded_space)


def test_runs_repeat_and_each_seed_is_a_run_of_its_own(document: Document, recorded_space: Path) -> None:
    assert _search(recorded_space) == document
    asked = {(run.strategy, run.seed) for run in document.rows}
    assert asked == {(name, seed) for name in ("adaptive_tabu_greywolf", "genetic_algorithm") for seed in (0, 1)}
    assert len({tuple(run.best_ns) for run in document.rows}) == 4


def test_only_recorded_times_are_found_and_never_more_than_the_budget_is_asked_for(
    document: Document, recorded_space: Path
) -> None:
    optimum_ns = ReplayTarget("replay", [(0, recorded_space)]).optimum_ns()
    for run in document.rows:
        assert run.optimum_ns == pytest.approx(optimum_ns, rel=1e-12)
        found = [best for best in run.best_ns if best is not None]
        assert all(later <= sooner for sooner, later in pairwise(found))
        assert optimum_ns * (1 - 1e-12) <= found[-1] <= 1.2 * optimum_ns
        assert 0 < len(run.best_ns) <= document.cap


def test_a_file_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"results": []}))
    done = subprocess.run((*COMMAND, str(tmp_path)), cwd=ROOT, capture_output=True, check=False, text=True)
    assert done.returncode == 1
    assert "a.json is no cache file" in done.stderr


def _search(space: Path) -> Document:
    done = subprocess.run((*COMMAND, str(space), "--seeds", "2"), cwd=ROOT, capture_output=True, check=True)
    return msgspec.json.decode(done.stdout, type=Document)
