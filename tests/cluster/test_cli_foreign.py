"""A kernel of the user's own on the command line, and the counters of a winner."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.cli.tune import TuneReport, _earlier
from cluster.report_text import profile_text
from quasim.codec import to_json
from quasim.errors import ConfigError, ExitCode
from quasim.targets.profile import Profile
from quasim.targets.replay.target import ReplayTarget
from tests.cluster.test_cli import Command
from tests.quasim.gpu import REASON

EXAMPLE = str(Path(__file__).parents[2] / "examples" / "row_scale.py")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.setattr("quasim.kernels._ADOPTED", {})
    return Command(monkeypatch, capsys)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--foreign", f"{EXAMPLE}:NOTHING"), "NoneType"),
        (("--foreign", "nowhere.py:KERNEL"), "no file nowhere.py"),
        (("softmax", "--foreign", f"{EXAMPLE}:KERNEL"), "leave out the kernel"),
        (("--foreign", f"{EXAMPLE}:KERNEL", "--target", "recording.json"), "leave out the kernel and --target"),
        (("--foreign", f"{EXAMPLE}:KERNEL", "--shape", "rows=8"), "cols"),
        ((), "--foreign"),
    ],
)
def test_tune_says_what_is_wrong_with_a_foreign_kernel(command: Command, arguments: tuple[str, ...], said: str) -> None:
    assert said in command.fails(ExitCode.CONFIG, "tune", *arguments)


@pytest.mark.skipif(not REASON, reason="there is a GPU")
def test_tuning_a_foreign_kernel_needs_a_gpu(command: Command) -> None:
    command.fails(ExitCode.MISSING_TOOL, "tune", "--foreign", f"{EXAMPLE}:KERNEL")


def test_trials_of_another_state_of_the_file_are_not_resumed(tmp_path: Path, recorded_space: Path) -> None:
    device, path = ReplayTarget("replay", [(0, recorded_space)]), tmp_path / "report.json"
    problem, space = device.problem, device.space(device.problem).digest
    report = TuneReport(problem, "replay", device.device, space, "random", 0, 0, {}, None, None, (), file="before")
    path.write_bytes(to_json(report))
    assert _earlier(path, problem, device, "before") == ()
    with pytest.raises(ConfigError, match="another state"):
        _earlier(path, problem, device, "after")


def test_counters_are_asked_of_a_target_that_has_them(command: Command, recorded_space: Path) -> None:
    found = command.json("tune", "matmul", "--target", str(recorded_space), "--budget", "4", "--profile")
    assert found["profile"] == {
        **dict.fromkeys(Profile.__struct_fields__),
        "reason": "target replay has no profiler",
    }


def test_counters_are_told_as_measured_or_with_the_reason_why_not() -> None:
    assert profile_text(Profile(reason="ncu is not on the PATH")) == "none: ncu is not on the PATH"
    text = profile_text(Profile(l2_hit_rate=0.425))
    assert text.startswith("measured: ")
    assert "L2 hits 42.5 %" in text
    assert "L1 hits unknown" in text


@pytest.mark.gpu
@pytest.mark.skipif(bool(REASON), reason=REASON or "there is a GPU")
def test_a_users_kernel_is_tuned_as_it_is(command: Command) -> None:
    shape = "rows=512,cols=2048"
    found = command.json("tune", "--foreign", f"{EXAMPLE}:KERNEL", "--shape", shape, "--budget", "6", "--profile")
    assert found["by_status"] == {"ok": 6}
    assert found["key"] == {"cols": 2048}
    assert found["profile"]
