"""A cluster job against a real ``ray start --head`` with token authentication; the project is not installed there."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path

import pytest

from benchmarks.ray_head import Head
from cluster.job import main
from quasim.errors import ExitCode

ROOT = Path(__file__).parents[2]


def test_a_job_that_cannot_log_leaves_no_folder_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("QUASIM_LOG", "xml")
    config, out = ROOT / "configs" / "local.yaml", tmp_path / "run"
    assert main([str(config), "--out", str(out)]) == ExitCode.CONFIG
    assert "QUASIM_LOG='xml'" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.ray
def test_a_submitted_job_runs_a_fleet_and_prints_its_report(
    tmp_path: Path, ray_head: Head, recorded_space: Path
) -> None:
    (tmp_path / "fleet.yaml").write_text(
        f"target: {{kind: replay, recordings: [{{path: {recorded_space}}}]}}\nagents: 2\ncycles: 2\nevaluations: 5\n"
    )
    command = ["ray", "job", "submit", "--working-dir", str(ROOT), "--"]
    for _ in range(10):
        job = subprocess.run(
            [*command, "python", "-m", "cluster.job", str(tmp_path / "fleet.yaml")],
            env={**ray_head.environment, "RAY_ADDRESS": ray_head.dashboard},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        # A head says that it is up before the agent that takes jobs is.
        if "No available agent" not in job.stderr:
            break
        time.sleep(1)
    assert job.returncode == 0, job.stdout + job.stderr
    [line] = re.findall(r"^\{.*\}$", job.stdout, re.MULTILINE)
    fleet = json.loads(line)["fleet"]
    assert fleet["cycles"] == fleet["policy_versions"] == 2
    assert fleet["rows"]["sent"] == fleet["rows"]["acknowledged"] == fleet["rows"]["stored"] > 0


@pytest.mark.ray
def test_who_has_no_token_cannot_submit(ray_head: Head, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("0" * 64)
    job = subprocess.run(
        ["ray", "job", "submit", "--", "true"],
        env={**ray_head.environment, "RAY_ADDRESS": ray_head.dashboard, "RAY_AUTH_TOKEN_PATH": str(wrong)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert job.returncode != 0
