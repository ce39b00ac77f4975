from __future__ import annotations

from pathlib import Path

import pytest

from cluster.config import ENVIRONMENT, load_config
from cluster.config_origin import Setting, settings
from quasim.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs"

TEXT = """
target: {kind: c, threads: 2}
problems:
  - {kernel: matmul, shape: "k=6,m=4,n=5"}
  - {kernel: softmax, shape: "rows=4,cols=8", objective: energy}
aggregation: {floor: 3}
seed: 7
cycles: 3
"""


def found(
    tmp_path: Path, environment: dict[str, str] | None = None, flags: dict[str, object] | None = None
) -> dict[str, Setting]:
    path = tmp_path / "fleet.yaml"
    path.write_text(TEXT)
    return {one.name: one for one in settings(path, environment or {}, flags or {})}


def test_each_field_says_where_it_comes_from(tmp_path: Path) -> None:
    made = found(tmp_path, {"QUASIM_CYCLES": "4", "QUASIM_SEED": "5", "QUASIM_OUT": ""}, {"seed": 9, "agents": None})
    file = str(tmp_path / "fleet.yaml")
    assert made["seed"] == Setting("seed", 9, "flag", "--seed")
    assert made["cycles"] == Setting("cycles", 4, "variable", "QUASIM_CYCLES")
    assert made["aggregation.floor"] == Setting("aggregation.floor", 3, "file", file)
    assert made["aggregation.protocol"] == Setting("aggregation.protocol", "secure", "default", "")
    assert made["agents"] == Setting("agents", 4, "default", "")
    assert made["out"] == Setting("out", "runs", "default", "")


def test_parts_of_a_list_that_are_left_out_are_defaults(tmp_path: Path) -> None:
    made = found(tmp_path)
    assert [made[f"problems[{i}].objective"].origin for i in range(2)] == ["default", "file"]
    assert made["problems[1].shape"].value == "rows=4,cols=8"


def test_empty_lists_and_mappings_are_settings_too(tmp_path: Path) -> None:
    assert found(tmp_path)["labels"] == Setting("labels", "{}", "default", "")


@pytest.mark.parametrize("config", ["local", "gpu", "gpu-replay", "energy-sim"])
def test_every_value_is_the_one_that_a_run_gets(config: str) -> None:
    path = CONFIGS / f"{config}.yaml"
    made = {one.name: one.value for one in settings(path, {}, {"seed": 3})}
    run = load_config(path, {}, {"seed": 3})
    assert (made["seed"], made["strategy"], made["energy.mode"]) == (3, run.strategy, run.energy.mode)
    assert {name.split(".")[0].split("[")[0] for name in made} == set(run.__struct_fields__)


def test_every_variable_is_shown_as_a_source(tmp_path: Path) -> None:
    made = found(tmp_path, dict.fromkeys(ENVIRONMENT, "5"))
    assert {one.source for one in made.values() if one.origin == "variable"} == set(ENVIRONMENT)


def test_what_a_run_would_refuse_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cycles"):
        found(tmp_path, {"QUASIM_CYCLES": "0"})
