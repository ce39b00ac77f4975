from __future__ import annotations

from pathlib import Path

import pytest

from actors.background import Terms
from cluster.background_config import load_background
from quasim.errors import ConfigError, ExitCode, QuasimError
from quasim.targets.spec import ReplaySpec
from quasim.trial import Problem

CONFIGS = Path(__file__).parents[2] / "configs"

GOOD = """
target: {kind: c, threads: 2}
problems: [{kernel: matmul, shape: "k=6,m=4,n=5", launches: 3}]
"""


def failure(tmp_path: Path, text: str) -> str:
    path = tmp_path / "background.yaml"
    path.write_text(text)
    with pytest.raises(QuasimError) as caught:
        load_background(path)
    assert caught.value.exit_code is ExitCode.CONFIG
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_the_commented_file_says_every_default(tmp_path: Path) -> None:
    written = load_background(CONFIGS / "background.yaml")
    (tmp_path / "short.yaml").write_text(GOOD)
    short = load_background(tmp_path / "short.yaml")
    for name in ("allowance", "strategy", "seed", "genomes", "busy", "look_s", "retrain_h", "folder", "cache"):
        assert getattr(written, name) == getattr(short, name), name


def test_each_problem_is_an_aim_with_a_seed_of_its_own_in_the_kernels_order_of_dimensions() -> None:
    aims = load_background(CONFIGS / "background.yaml").aims()
    assert [aim.seed for aim in aims] == [42, 43]
    assert aims[0].problem == Problem.of("matmul", m=768, n=768, k=768)
    assert aims[0].launches == 100_000


def test_hours_and_seconds_become_terms(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD + "retrain_h: 0.5\nlook_s: 2\ngenomes: 3\nallowance: {seconds: 9}\n")
    config = load_background(tmp_path / "a.yaml")
    assert config.terms == Terms(config.allowance, 3, 1800 * 10**9, 2 * 10**9)


def test_recordings_are_looked_for_beside_the_file_and_are_the_problems(tmp_path: Path, recorded_space: Path) -> None:
    (tmp_path / recorded_space.name).symlink_to(recorded_space)
    (tmp_path / "a.yaml").write_text(f"target: {{kind: replay, recordings: [{{path: {recorded_space.name}}}]}}\n")
    config = load_background(tmp_path / "a.yaml")
    assert isinstance(config.target, ReplaySpec)
    assert Path(config.target.recordings[0].path).is_absolute()
    assert [aim.problem.kernel for aim in config.aims()] == ["matmul"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("strategy: magic", "magic"),
        ("genomes: 0", "genomes=0"),
        ("look_s: 0", "look_s=0"),
        ("retrain_h: -1", "retrain_h=-1"),
        ("busy: 1.5", "busy=1.5"),
        ("allowance: {seconds: 0}", "above 0"),
        ("allowance: {hours: 1}", "hours"),
        ("colour: red", "colour"),
        ("target: 7", "target"),
    ],
)
def test_a_bad_value_is_named(tmp_path: Path, more: str, said: str) -> None:
    assert said in failure(tmp_path, GOOD + more + "\n")


@pytest.mark.parametrize(
    "problems",
    [
        "",
        "problems: [{kernel: matmul, shape: 'm=1,n=1,k=1'}, {kernel: matmul, shape: 'k=1,m=1,n=1'}]",
        "problems: [{kernel: matmul, shape: 'm=1,n=1,k=1', launches: 0}]",
        "problems: [{kernel: magic, shape: 'm=1'}]",
    ],
)
def test_no_twice_named_unused_or_unknown_problem_is_taken(tmp_path: Path, problems: str) -> None:
    failure(tmp_path, f"target: {{kind: c}}\n{problems}\n")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no config file"):
        load_background(tmp_path / "nothing.yaml")
