from __future__ import annotations

import pytest
from msgspec.structs import replace

from cluster.config import AggregationConfig, FleetConfig, ProblemConfig
from cluster.placement import Machine, places, settle
from quasim.errors import ConfigError, ExitCode
from quasim.targets.spec import CSpec, TritonSpec

H100 = {"ray.io/accelerator-type": "H100"}
TWO = Machine("two", 2, H100)
ONE = Machine("one", 1, {"ray.io/accelerator-type": "A100"})
NONE = Machine("none", 0, {})
PROBLEMS = (ProblemConfig("softmax", "rows=4,cols=4"),)
GPUS = FleetConfig(target=TritonSpec(), problems=PROBLEMS, agents=None, aggregation=AggregationConfig(floor=1))


def where(config: FleetConfig, *machines: Machine) -> list[str]:
    return [place.machine for place in places(settle(config, machines), machines)]


def failure(config: FleetConfig, *machines: Machine) -> str:
    with pytest.raises(ConfigError) as caught:
        settle(config, machines)
    assert caught.value.exit_code is ExitCode.CONFIG
    assert caught.value.do
    return str(caught.value)


def test_null_agents_are_one_for_each_gpu_and_machines_take_turns() -> None:
    assert where(GPUS, NONE, TWO, ONE) == ["two", "one", "two"]
    assert settle(GPUS, [NONE, TWO, ONE]).agents == 3


def test_each_agent_reserves_its_gpu() -> None:
    assert {place.gpus for place in places(settle(GPUS, [TWO]), [TWO])} == {1.0}


def test_late_agents_have_their_gpus_kept_for_them() -> None:
    config = replace(GPUS, late_agents=1)
    assert settle(config, [TWO, ONE]).agents == 2
    assert len(where(config, TWO, ONE)) == 3
    assert "late_agents=1" in failure(config, ONE)


def test_a_share_lets_several_agents_take_turns_on_a_gpu() -> None:
    assert where(replace(GPUS, gpus_per_agent=0.5), ONE) == ["one", "one"]
    assert where(replace(GPUS, gpus_per_agent=0.4), TWO) == ["two"] * 4


def test_labels_choose_the_machines() -> None:
    assert where(replace(GPUS, labels=H100), ONE, TWO) == ["two", "two"]
    assert where(FleetConfig(target=CSpec(), problems=PROBLEMS, agents=2, labels=H100), ONE, TWO) == ["two", "two"]


def test_labels_that_no_machine_carries_are_named() -> None:
    assert "zone=moon" in failure(replace(GPUS, labels={"zone": "moon"}), ONE, TWO)


def test_a_cluster_without_gpus_is_an_error() -> None:
    assert "no GPU in the 1 machines" in failure(GPUS, NONE)
    assert "no GPU in the 2 machines" in failure(replace(GPUS, agents=1), NONE, NONE)


def test_more_agents_than_gpus_are_an_error() -> None:
    assert "4 agents, late ones included, at 1 GPU each, and room for 3" in failure(replace(GPUS, agents=4), TWO, ONE)


def test_agents_without_gpus_are_spread_over_all_machines() -> None:
    config = FleetConfig(target=CSpec(), problems=PROBLEMS, agents=3)
    assert where(config, NONE, TWO) == ["none", "two", "none"]
    assert {place.gpus for place in places(config, [NONE])} == {0}
