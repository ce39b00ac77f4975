"""Configuration of a fleet: YAML into frozen typed structs, with overrides from the environment and flags.

Precedence: flags, then ``QUASIM_*`` variables, then the file, then the defaults below.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from quasim.energy.objective import LATENCY, Objective
from quasim.energy.spec import RegulationSpec
from quasim.errors import ConfigError, QuasimError
from quasim.kernels import check_problem
from quasim.search import strategies
from quasim.targets.spec import Recording, ReplaySpec, TargetSpec, TritonSpec
from quasim.trial import Problem

ENVIRONMENT = {"QUASIM_SEED": "seed", "QUASIM_CYCLES": "cycles", "QUASIM_OUT": "out", "QUASIM_AGENTS": "agents"}
"""Variables that override the file, and the field that each sets."""


LEAST = {"seed": 0, "agents": 1, "late_agents": 0, "cycles": 1, "evaluations": 1, "recheck": 0}
"""Least value of each whole-number field."""


class ProblemConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A kernel family at one shape, such as ``m=768,n=768,k=768``, and what it is tuned for: see ``Objective``."""

    kernel: str
    shape: str
    objective: Literal["latency", "energy", "weighted"] = "latency"
    energy_weight: float | None = None

    def __post_init__(self) -> None:
        self.aim  # noqa: B018  it must be an objective

    @property
    def aim(self) -> Objective:
        """What it is tuned for."""
        return Objective(self.objective, self.energy_weight)

    @property
    def problem(self) -> Problem:
        """The problem it names."""
        return Problem.parse(self.kernel, self.shape)


class PrivacyConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Differential privacy of a run's rounds.

    Attributes:
        epsilon, delta: what all rounds of the run together may reveal of what a node gave.
        clip: L2 norm that a node's vector is scaled down to.
        colluding: survivors that may tell the aggregator their noise; the others' must do.
    """

    epsilon: float
    delta: float = 1e-6
    clip: float = 4.0
    colluding: int = 0

    def __post_init__(self) -> None:
        if min(self.epsilon, self.clip) <= 0 or not 0 < self.delta < 1 or self.colluding < 0:
            raise ConfigError(
                f"privacy of epsilon={self.epsilon}, delta={self.delta}, clip={self.clip}, colluding={self.colluding}",
                "use positive numbers, a delta below 1, and 0 or more that collude",
            )


class AggregationConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the fleet learns from its nodes.

    Attributes:
        protocol: secure: the aggregator sees sums alone; plain: each node's vector.
        roster: local: the run enrols its own nodes; site: those that the site's accepted roster names take part.
        floor: fewest participants of a round; the secure protocol wants two thirds of the roster and one more anyway.
        ring_bits, scale_bits: fixed point of the sums; the fleet's entries lie within [−1, 1].
        groups: sum rosters of 96 and more in groups of 32 and more, and take the median of their means.
        canary: nodes of each cohort that try a policy before the others get it; 0: none.
        step_timeout_s: a node that takes longer for one step of a round has dropped out of it.
        privacy: None: sums are exact.
    """

    protocol: Literal["secure", "plain"] = "secure"
    roster: Literal["local", "site"] = "local"
    floor: int = 2
    ring_bits: Literal[32, 64] = 32
    scale_bits: int = 20
    groups: bool = True
    canary: int = 3
    step_timeout_s: float = 60.0
    privacy: PrivacyConfig | None = None

    def __post_init__(self) -> None:
        if self.floor < 1 or self.canary < 0:
            raise ConfigError(
                f"floor={self.floor}, canary={self.canary}", "give a floor of 1 or more and 0 or more canaries"
            )
        if not 0 <= self.scale_bits < self.ring_bits - 2:
            raise ConfigError(
                f"scale_bits={self.scale_bits} of ring_bits={self.ring_bits}", "leave room for sums: use 20 of 32"
            )
        if self.step_timeout_s <= 0:
            raise ConfigError(f"step_timeout_s={self.step_timeout_s} is not a time", "give seconds above 0")
        if self.privacy and self.protocol == "plain":
            raise ConfigError("privacy with protocol: plain", "noise is sized for sums that nobody can look into")


class FleetConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that `quasim run` needs to know.

    Attributes:
        federation: name under which policies are signed; nodes refuse policies of another.
        agents: node agents that start at cycle 0; None: one for each share of a GPU, for other targets one for each
            machine, also of those that join while the run goes on.
        late_agents, late_cycle: agents that join at the start of that cycle; None: half time.
        cycles: how often each node runs a generation and the fleet learns from it.
        evaluations: new genomes that a node measures per problem and cycle.
        recheck: elites that a node measures again, interleaved, at the start of a cycle.
        aggregation: how the fleet learns from its nodes.
        cycle_timeout_s: a node that takes longer misses the round of that cycle.
        gpus_per_agent: of a GPU target, 1; less: a share, so that several agents take turns on a GPU.
        labels: Ray node labels that the agents' machines must carry, such as ``ray.io/accelerator-type: H100``.
        problems: what is tuned; a replay target brings its own problems, so leave it empty there.
        energy: how each node's device is regulated.
        migration: of tasks from hot nodes to cool ones: off; advise: say what should move; move: do it, where both
            nodes agree.
        out: folder in which the folder of the run is made.
    """

    target: TargetSpec
    problems: tuple[ProblemConfig, ...] = ()
    federation: str = "local"
    seed: int = 42
    agents: int | None = 4
    late_agents: int = 0
    late_cycle: int | None = None
    cycles: int = 10
    evaluations: int = 3
    recheck: int = 3
    aggregation: AggregationConfig = AggregationConfig()
    gpus_per_agent: float = 1.0
    labels: dict[str, str] = {}
    strategy: str = "portfolio"
    cycle_timeout_s: float = 600.0
    energy: RegulationSpec = RegulationSpec()
    migration: Literal["off", "advise", "move"] = "advise"
    out: str = "runs"

    def __post_init__(self) -> None:
        for name, low in LEAST.items():
            value: int | None = getattr(self, name)
            if value is not None and value < low:
                raise ConfigError(f"{name}={value} is too small", f"give {low} or more")
        if self.cycle_timeout_s <= 0:
            raise ConfigError(f"cycle_timeout_s={self.cycle_timeout_s} is not a time", "give seconds above 0")
        if self.late_cycle is not None and not 0 < self.late_cycle < self.cycles:
            raise ConfigError(
                f"late_cycle={self.late_cycle} is not within the {self.cycles} cycles", "choose one inside"
            )
        if self.strategy not in strategies():
            raise ConfigError(f"unknown strategy {self.strategy!r}", f"use one of {', '.join(strategies())}")
        self._check_agents()
        self._check_problems()

    def _check_agents(self) -> None:
        if self.agents is None and self.aggregation.privacy is not None:
            raise ConfigError(
                "agents: null with privacy",
                "noise is sized for a number of nodes that is known: give a number of agents",
            )
        if isinstance(self.target, TritonSpec) and self.target.device:
            raise ConfigError(
                f"device={self.target.device} in a fleet", "leave it out: Ray shows each agent its GPU as 0"
            )
        if not 0 < self.gpus_per_agent <= 1:
            raise ConfigError(
                f"gpus_per_agent={self.gpus_per_agent} is not a share of a GPU", "give 1, or less above 0"
            )
        floor = self.aggregation.floor
        if self.agents is not None and floor > self.agents:
            raise ConfigError(f"floor={floor} is above agents={self.agents}", "no round could ever finish")

        if self.energy.simulated is not None and not isinstance(self.target, ReplaySpec):
            raise ConfigError("a simulated device under energy", "it lives through recorded work: use kind: replay")

    def _check_problems(self) -> None:
        if isinstance(self.target, ReplaySpec):
            if self.problems:
                raise ConfigError("a replay target brings its own problems", "leave out problems")
            if not self.target.recordings:
                raise ConfigError("a replay target needs recordings", "list at least one path")
            return
        if not self.problems:
            raise ConfigError("no problems to tune", "list at least one kernel and shape under problems")
        for entry in self.problems:
            check_problem(entry.problem)
        if len({entry.problem for entry in self.problems}) != len(self.problems):
            raise ConfigError("a problem stands twice under problems", "name each kernel and shape once")

    def tuned_problems(self) -> tuple[Problem, ...]:
        """What is tuned, each shape in the order of its kernel's dimensions.

        Raises:
            DataError: a recording that a replay target names cannot be read.
        """
        if isinstance(self.target, ReplaySpec):
            return self.target.problems()
        return tuple(check_problem(entry.problem) for entry in self.problems)

    def objective(self, problem: Problem) -> Objective:
        """What a problem is tuned for; a replayed one for time."""
        aims = {check_problem(entry.problem): entry.aim for entry in self.problems}
        return aims.get(problem, LATENCY)

    @property
    def joins_at(self) -> int:
        """The cycle at whose start late agents join."""
        return self.cycles // 2 if self.late_cycle is None else self.late_cycle


def load_config(path: Path, environment: Mapping[str, str], flags: Mapping[str, object]) -> FleetConfig:
    """Read a fleet's configuration.

    Args:
        path: a YAML file; replay paths in it are relative to its folder.
        environment: as ``os.environ``.
        flags: fields given on the command line; None means not given.

    Raises:
        ConfigError: the file is missing, or a field is unknown or has a bad value.
    """
    raw = read_file(path)
    raw.update({field: environment[name] for name, field in ENVIRONMENT.items() if environment.get(name)})
    raw.update({field: value for field, value in flags.items() if value is not None})
    return _relative_to(path.parent, _build(raw, str(path)))


def read_file(path: Path) -> dict[str, Any]:
    """What a configuration file says, fields unchecked.

    Raises:
        ConfigError: it is missing, or not a YAML mapping.
    """
    try:
        return msgspec.yaml.decode(path.read_bytes(), type=dict[str, Any])
    except FileNotFoundError as error:
        raise ConfigError(f"no config file {path}", "give a path such as configs/local.yaml") from error
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(f"config file {path} cannot be read: {error}", "it must be a YAML mapping") from error


def _build(raw: Mapping[str, object], origin: str) -> FleetConfig:
    # Not strict: the environment gives numbers as text.
    try:
        return msgspec.convert(raw, FleetConfig, strict=False)
    except QuasimError as error:
        raise type(error)(f"{origin}: {error.what}", error.do) from error
    except msgspec.ValidationError as error:
        raise ConfigError(f"{origin}: {error}", "see the commented configs/local.yaml") from error


def _relative_to(folder: Path, config: FleetConfig) -> FleetConfig:
    if not isinstance(config.target, ReplaySpec):
        return config
    found = tuple(
        Recording(path=str((folder / r.path).resolve()), from_cycle=r.from_cycle) for r in config.target.recordings
    )
    return msgspec.structs.replace(config, target=ReplaySpec(recordings=found))
