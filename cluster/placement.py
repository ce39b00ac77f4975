"""Which machine each agent goes to. Pure: machines and wishes in, places out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import msgspec

from actors.remote import Place
from cluster.config import FleetConfig
from quasim.errors import ConfigError
from quasim.targets.spec import TritonSpec


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine of the cluster.

    Attributes:
        node_id: Ray's.
        gpus: that Ray may hand out there, in all.
        labels: Ray's own, such as ``ray.io/accelerator-type``, and the operator's.
    """

    node_id: str
    gpus: int
    labels: Mapping[str, str]


def settle(config: FleetConfig, machines: Sequence[Machine]) -> FleetConfig:
    """The configuration with the number of agents that ``agents: null`` stands for here.

    Raises:
        ConfigError: no machine is as asked for, or there are fewer GPUs than agents.
    """
    count = len(_shares(config, machines)) - config.late_agents if config.agents is None else config.agents
    if count < 1:
        raise ConfigError(
            f"late_agents={config.late_agents} leave no GPU for an agent that starts the fleet", "lower late_agents"
        )
    settled = msgspec.structs.replace(config, agents=count)
    places(settled, machines)
    return settled


def places(config: FleetConfig, machines: Sequence[Machine]) -> list[Place]:
    """A place for each agent, early ones first; machines take turns, so that agents are spread.

    Args:
        config: with its agents counted.
        machines: the driver's own first, and otherwise in an order that outlives a restart of the cluster: an agent's
            state lies on its machine.

    Raises:
        ConfigError: no machine is as asked for, or there are fewer GPUs than agents.
    """
    wanted = (config.agents or 0) + config.late_agents
    if not isinstance(config.target, TritonSpec):
        fit = _fitting(config, machines)
        return [Place(fit[number % len(fit)].node_id, 0) for number in range(wanted)]
    shares = _shares(config, machines)
    if wanted > len(shares):
        raise ConfigError(
            f"{wanted} agents, late ones included, at {config.gpus_per_agent:g} GPU each, and room for {len(shares)}",
            "lower agents, or write agents: null for as many as fit",
        )
    return [Place(machine, config.gpus_per_agent) for machine in shares[:wanted]]


def _shares(config: FleetConfig, machines: Sequence[Machine]) -> list[str]:
    """The machine of each share of a GPU that an agent could have."""
    fit = [machine for machine in _fitting(config, machines) if machine.gpus]
    if not fit:
        raise ConfigError(
            f"no GPU in the {len(machines)} machines of the cluster{_asked(config)}",
            "add a machine that has one, or tune with target: {kind: c}",
        )
    # Ray hands out a share of one GPU, never of two.
    each = int(1 / config.gpus_per_agent)
    columns = ([machine.node_id] * (machine.gpus * each) for machine in fit)
    return [machine for row in zip_longest(*columns) for machine in row if machine is not None]


def _fitting(config: FleetConfig, machines: Sequence[Machine]) -> list[Machine]:
    fit = [m for m in machines if config.labels.items() <= m.labels.items()]
    if not fit:
        raise ConfigError(
            f"none of the {len(machines)} machines of the cluster{_asked(config)}", "see `ray list nodes` for theirs"
        )
    return fit


def _asked(config: FleetConfig) -> str:
    wished = ", ".join(f"{name}={value}" for name, value in sorted(config.labels.items()))
    return f" carries the labels {wished}" if wished else ""
