from __future__ import annotations

import pytest

from quasim.errors import ExitCode
from tests.cluster.test_cli import Command
from tests.quasim.gpu import REASON


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def test_kernel_show_prints_the_cuda_source_and_the_compilers_facts(command: Command) -> None:
    asked = ("kernel", "show", "softmax", "--shape", "rows=8,cols=64", "--target", "cuda")
    assert "__global__" in command(*asked, "--source")[1]
    shown = command.json(*asked, "--resources", "--arch", "sm_80")
    registers, occupancy = shown["registers (compiler)"], shown["occupancy (derived)"]
    assert isinstance(registers, int)
    assert isinstance(occupancy, float)
    assert registers > 0
    assert 0 < occupancy <= 1


def test_an_architecture_without_cuda_is_refused(command: Command) -> None:
    code, _, err = command("kernel", "show", "add", "--shape", "rows=8,cols=64", "--target", "cuda", "--arch", "gfx90a")
    assert code != 0
    assert "gfx90a" in err


@pytest.mark.skipif(not REASON, reason="this machine has a GPU")
def test_tuning_without_a_gpu_says_what_is_missing(command: Command) -> None:
    assert command.fails(ExitCode.MISSING_TOOL, "tune", "add", "--shape", "rows=8,cols=64", "--target", "cuda")
