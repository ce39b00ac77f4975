"""Which machine each agent goes to. Pure: machines and wishes in, seats and places out.

A seat is an agent's for good: its state lies on that machine. Where the machine is now, if at all, is its place.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from actors.remote import Place
from cluster.config import FleetConfig
from cluster.seats import Seat
from cluster.service.config import LABEL
from quasim.errors import ConfigError
from quasim.targets.spec import TritonSpec


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine of the cluster that is alive.

    Attributes:
        node_id: Ray's, new with each start of Ray there.
        gpus: that Ray may hand out there, in all.
        labels: Ray's own, such as ``ray.io/accelerator-type``, and the operator's.
        address: as Ray knows it; port: on which Ray's own daemon listens there, 0: not known.
    """

    node_id: str
    gpus: int
    labels: Mapping[str, str]
    address: str = ""
    port: int = 0

    @property
    def name(self) -> str:
        """What it is called, also after a restart."""
        return self.labels.get(LABEL) or self.address or self.node_id


def distinct(machines: Iterable[Machine], in_use: Collection[str] = ()) -> list[Machine]:
    """Of several machines of one name the one in use, else the first: after a restart Ray knows a machine twice.

    Args:
        in_use: Ray's ids of those that agents work on.
    """
    found: dict[str, Machine] = {}
    for machine in machines:
        if found.setdefault(machine.name, machine).node_id not in in_use and machine.node_id in in_use:
            found[machine.name] = machine
    return list(found.values())


def first_seats(config: FleetConfig, machines: Sequence[Machine]) -> list[Seat]:
    """A seat for each agent of a new run, late ones last; machines take turns, so that agents are spread.

    Args:
        machines: of distinct names, the driver's own first.

    Raises:
        ConfigError: no machine is as asked for, or there are fewer GPUs than agents.
    """
    shares = _shares(config, machines)
    if config.agents is None:
        wanted = shares
        if len(wanted) <= config.late_agents:
            raise ConfigError(
                f"late_agents={config.late_agents} leave no agent that starts the fleet on {len(machines)} machines",
                "lower late_agents",
            )
    else:
        wanted = _counted(config, machines, shares)
    early = len(wanted) - config.late_agents
    return [
        _seat(number, machine, share, config.joins_at if number >= early else 0)
        for number, (machine, share) in enumerate(wanted)
    ]


def newcomers(config: FleetConfig, machines: Sequence[Machine], seats: Sequence[Seat], cycle: int) -> list[Seat]:
    """A seat for each share of a machine that has none yet, where ``agents: null`` takes whoever comes."""
    if config.agents is not None:
        return []
    taken = {(seat.machine, seat.share) for seat in seats}
    new = [share for share in _on(_fit(config, machines), config) if share not in taken]
    return [_seat(len(seats) + at, machine, share, cycle) for at, (machine, share) in enumerate(new)]


def place(config: FleetConfig, seat: Seat, machines: Iterable[Machine]) -> Place | None:
    """Where a seat is now; None while its machine is away."""
    for machine in _fit(config, machines):
        if machine.name == seat.machine and (not _on_gpus(config) or seat.share < machine.gpus * _each(config)):
            return Place(machine.node_id, config.gpus_per_agent if _on_gpus(config) else 0, machine.name)
    return None


def _seat(number: int, machine: str, share: int, first_cycle: int) -> Seat:
    return Seat(f"node-{number}", machine, share, first_cycle, number)


def _counted(config: FleetConfig, machines: Sequence[Machine], shares: list[tuple[str, int]]) -> list[tuple[str, int]]:
    wanted = (config.agents or 0) + config.late_agents
    if not _on_gpus(config):
        fit = _fit(config, machines)
        return [(fit[number % len(fit)].name, number // len(fit)) for number in range(wanted)]
    if wanted > len(shares):
        raise ConfigError(
            f"{wanted} agents, late ones included, at {config.gpus_per_agent:g} GPU each, and room for {len(shares)}",
            "lower agents, or write agents: null for as many as fit",
        )
    return shares[:wanted]


def _shares(config: FleetConfig, machines: Sequence[Machine]) -> list[tuple[str, int]]:
    """Each place that an agent could have.

    Raises:
        ConfigError: there is none.
    """
    fit = _fit(config, machines)
    if not fit:
        raise ConfigError(
            f"none of the {len(machines)} machines of the cluster{_asked(config)}",
            "see `ray list nodes`; one that drains is none",
        )
    shares = _on(fit, config)
    if not shares:
        raise ConfigError(
            f"no GPU in the {len(machines)} machines of the cluster{_asked(config)}",
            "add a machine that has one, or tune with target: {kind: c}",
        )
    return shares


def _on(machines: Sequence[Machine], config: FleetConfig) -> list[tuple[str, int]]:
    """Shares of GPUs, or one for each machine; machines take turns."""
    each = _each(config)
    counts = (machine.gpus * each if _on_gpus(config) else 1 for machine in machines)
    columns = [[(machine.name, share) for share in range(n)] for machine, n in zip(machines, counts, strict=True)]
    return [share for row in zip_longest(*columns) for share in row if share is not None]


def _each(config: FleetConfig) -> int:
    """Agents on a GPU: Ray hands out a share of one, never of two."""
    return int(1 / config.gpus_per_agent)


def _on_gpus(config: FleetConfig) -> bool:
    return isinstance(config.target, TritonSpec)


def _fit(config: FleetConfig, machines: Iterable[Machine]) -> list[Machine]:
    return [m for m in machines if config.labels.items() <= m.labels.items()]


def _asked(config: FleetConfig) -> str:
    wished = ", ".join(f"{name}={value}" for name, value in sorted(config.labels.items()))
    return f" carries the labels {wished}" if wished else ""
