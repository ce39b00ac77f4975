from __future__ import annotations

import pytest
from msgspec.structs import replace

from actors.remote import Place
from cluster.config import AggregationConfig, FleetConfig, ProblemConfig
from cluster.placement import Machine, distinct, first_seats, newcomers, place
from cluster.service.config import LABEL
from quasim.errors import ConfigError, ExitCode
from quasim.targets.spec import CSpec, TritonSpec

H100 = {"ray.io/accelerator-type": "H100"}
TWO = Machine("two-id", 2, H100, "two")
ONE = Machine("one-id", 1, {"ray.io/accelerator-type": "A100"}, "one")
NONE = Machine("none-id", 0, {}, "none")
PROBLEMS = (ProblemConfig("softmax", "rows=4,cols=4"),)
GPUS = FleetConfig(target=TritonSpec(), problems=PROBLEMS, agents=None, aggregation=AggregationConfig(floor=1))
CPUS = FleetConfig(target=CSpec(), problems=PROBLEMS, agents=None)


def where(config: FleetConfig, *machines: Machine) -> list[str]:
    return [seat.machine for seat in first_seats(config, machines)]


def shares(config: FleetConfig, *machines: Machine) -> set[float]:
    found = [place(config, seat, machines) for seat in first_seats(config, machines)]
    return {one.gpus for one in found if one is not None}


def failure(config: FleetConfig, *machines: Machine) -> str:
    with pytest.raises(ConfigError) as caught:
        first_seats(config, machines)
    assert caught.value.exit_code is ExitCode.CONFIG
    assert caught.value.do
    return str(caught.value)


def test_null_agents_are_one_for_each_gpu_and_machines_take_turns() -> None:
    assert where(GPUS, NONE, TWO, ONE) == ["two", "one", "two"]
    assert [seat.node for seat in first_seats(GPUS, [NONE, TWO, ONE])] == ["node-0", "node-1", "node-2"]


def test_null_agents_without_gpus_are_one_for_each_machine() -> None:
    assert where(CPUS, NONE, TWO, ONE) == ["none", "two", "one"]


def test_each_agent_reserves_its_gpu() -> None:
    assert shares(GPUS, TWO) == {1.0}


def test_late_agents_have_their_seats_kept_for_them() -> None:
    config = replace(GPUS, late_agents=1)
    assert [seat.first_cycle for seat in first_seats(config, [TWO, ONE])] == [0, 0, 5]
    assert "late_agents=1" in failure(config, ONE)


def test_a_share_lets_several_agents_take_turns_on_a_gpu() -> None:
    assert where(replace(GPUS, gpus_per_agent=0.5), ONE) == ["one", "one"]
    assert where(replace(GPUS, gpus_per_agent=0.4), TWO) == ["two"] * 4
    assert shares(replace(GPUS, gpus_per_agent=0.4), TWO) == {0.4}


def test_labels_choose_the_machines() -> None:
    assert where(replace(GPUS, labels=H100), ONE, TWO) == ["two", "two"]
    assert where(replace(CPUS, agents=2, labels=H100), ONE, TWO) == ["two", "two"]


def test_labels_that_no_machine_carries_are_named() -> None:
    assert "zone=moon" in failure(replace(GPUS, labels={"zone": "moon"}), ONE, TWO)
    assert "zone=moon" in failure(replace(CPUS, labels={"zone": "moon"}), ONE, TWO)


def test_a_cluster_without_gpus_is_an_error() -> None:
    assert "no GPU in the 1 machines" in failure(GPUS, NONE)
    assert "no GPU in the 2 machines" in failure(replace(GPUS, agents=1), NONE, NONE)


def test_more_agents_than_gpus_are_an_error() -> None:
    assert "4 agents, late ones included, at 1 GPU each, and room for 3" in failure(replace(GPUS, agents=4), TWO, ONE)


def test_agents_without_gpus_are_spread_over_all_machines() -> None:
    config = replace(CPUS, agents=3)
    assert where(config, NONE, TWO) == ["none", "two", "none"]
    assert shares(config, NONE) == {0}


def test_a_machine_that_comes_gets_seats_and_one_that_is_known_gets_none() -> None:
    seats = first_seats(GPUS, [ONE])
    assert newcomers(GPUS, [ONE], seats, 4) == []
    new = newcomers(GPUS, [ONE, TWO], seats, 4)
    assert [(seat.node, seat.machine, seat.share, seat.first_cycle) for seat in new] == [
        ("node-1", "two", 0, 4),
        ("node-2", "two", 1, 4),
    ]
    assert [seat.number for seat in new] == [1, 2]
    assert newcomers(GPUS, [TWO], [*seats, *new], 5) == []


def test_a_counted_fleet_takes_nobody_else() -> None:
    config = replace(CPUS, agents=1, aggregation=AggregationConfig(floor=1))
    assert newcomers(config, [NONE, TWO], first_seats(config, [NONE]), 4) == []


def test_a_seat_keeps_its_machine_through_its_restarts() -> None:
    (seat,) = first_seats(GPUS, [ONE])
    assert place(GPUS, seat, [TWO]) is None
    again = Machine("new-id", 1, {}, "one")
    assert place(GPUS, seat, [TWO, again]) == Place("new-id", 1.0, "one")


def test_a_gpu_that_is_gone_leaves_its_seat_empty() -> None:
    first, second = first_seats(GPUS, [TWO])
    smaller = Machine("two-id", 1, H100, "two")
    assert place(GPUS, first, [smaller]) is not None
    assert place(GPUS, second, [smaller]) is None


def test_an_operators_name_counts_more_than_an_address_and_names_one_machine() -> None:
    before, after = (Machine(f"id-{n}", 0, {LABEL: "rack-1"}, f"10.0.0.{n}") for n in (1, 2))
    assert before.name == after.name == "rack-1"
    assert distinct([before, after, NONE]) == [before, NONE]


def test_of_two_machines_of_one_name_the_one_that_is_in_use_keeps_it() -> None:
    first, sits = (Machine(f"id-{n}", 0, {LABEL: "rack-1"}, f"10.0.0.{n}") for n in (1, 2))
    assert distinct([first, sits, NONE], in_use={"id-2"}) == [sits, NONE]
    assert distinct([sits, first, NONE], in_use={"id-2"}) == [sits, NONE]
    assert distinct([first, sits], in_use={"id-1", "id-2"}) == [first]
