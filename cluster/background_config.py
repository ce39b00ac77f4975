"""Configuration of a machine's idle tuning: YAML into frozen typed structs."""

from __future__ import annotations

from pathlib import Path

import msgspec

from actors.background import Allowance, Terms
from actors.background_search import Aim
from quasim.errors import ConfigError, QuasimError
from quasim.kernels import check_problem
from quasim.search import strategies
from quasim.targets.spec import Recording, ReplaySpec, TargetSpec
from quasim.trial import Problem

HOUR_NS = 3600 * 10**9


class UsedProblem(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A kernel at one shape, and how much depends on it.

    Attributes:
        launches: a day; only their ratios matter.
    """

    kernel: str
    shape: str
    launches: float = 1.0

    def __post_init__(self) -> None:
        if self.launches <= 0:
            raise ConfigError(f"{self.kernel}: {self.launches} launches a day", "give a number above 0")

    @property
    def problem(self) -> Problem:
        """The problem it names."""
        return check_problem(Problem.parse(self.kernel, self.shape))


class BackgroundConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that `quasim node background` needs to know.

    Attributes:
        problems: what is tuned; a replay target brings its own problems, so leave it empty there.
        allowance: what tuning may take of a day.
        genomes: of a turn, after which the device is looked at again.
        busy: share of the device that others may use while it still counts as idle; None: nobody looks.
        look_s: after so long, a device that was in use is looked at again.
        retrain_h: hours between two measurements of the best, when versions are looked at, too.
        folder: of the state, from which a later start goes on.
        cache: folder of tuned results; None: the user's own.
    """

    target: TargetSpec
    problems: tuple[UsedProblem, ...] = ()
    allowance: Allowance = Allowance()
    strategy: str = "portfolio"
    seed: int = 42
    genomes: int = 8
    busy: float | None = 0.2
    look_s: float = 60.0
    retrain_h: float = 24.0
    folder: str = "runs/background"
    cache: str | None = None

    def __post_init__(self) -> None:
        if self.strategy not in strategies():
            raise ConfigError(f"unknown strategy {self.strategy!r}", f"use one of {', '.join(strategies())}")
        if self.genomes < 1 or self.seed < 0 or self.look_s <= 0 or self.retrain_h <= 0:
            given = f"genomes={self.genomes}, seed={self.seed}, look_s={self.look_s}, retrain_h={self.retrain_h}"
            raise ConfigError(given, "give 1 genome or more, a seed of 0 or more, and times above 0")
        if self.busy is not None and not 0 <= self.busy < 1:
            raise ConfigError(f"busy={self.busy} is not a share below 1", "give one such as 0.2, or null")
        if isinstance(self.target, ReplaySpec) == bool(self.problems):
            raise ConfigError(
                "problems do not go with the target", "list them; a replay target brings its own, leave them out there"
            )
        problems = [entry.problem for entry in self.problems]
        if len(set(problems)) != len(problems):
            raise ConfigError("a problem stands twice under problems", "name each kernel and shape once")

    def aims(self) -> tuple[Aim, ...]:
        """What is searched.

        Raises:
            DataError: a recording that a replay target names cannot be read.
        """
        recorded = self.target.problems() if isinstance(self.target, ReplaySpec) else ()
        used = [(entry.problem, entry.launches) for entry in self.problems] or [(problem, 1.0) for problem in recorded]
        return tuple(
            Aim(problem, launches, self.strategy, self.seed + number) for number, (problem, launches) in enumerate(used)
        )

    @property
    def terms(self) -> Terms:
        """How the idle time is used."""
        return Terms(self.allowance, self.genomes, int(self.retrain_h * HOUR_NS), int(self.look_s * 1e9))


def load_background(path: Path) -> BackgroundConfig:
    """Read a configuration; replay paths in it are relative to its folder.

    Raises:
        ConfigError: the file is missing, or a field is unknown or has a bad value.
    """
    try:
        config = msgspec.yaml.decode(path.read_bytes(), type=BackgroundConfig)
    except FileNotFoundError as error:
        raise ConfigError(f"no config file {path}", "give a path such as configs/background.yaml") from error
    except QuasimError as error:
        raise type(error)(f"{path}: {error.what}", error.do) from error
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(f"{path}: {error}", "see the commented configs/background.yaml") from error
    if not isinstance(config.target, ReplaySpec):
        return config
    here = path.parent
    found = tuple(Recording(str((here / r.path).resolve()), r.from_cycle) for r in config.target.recordings)
    return msgspec.structs.replace(config, target=ReplaySpec(found))
