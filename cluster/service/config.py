"""Configuration of the node service: YAML into a frozen typed struct."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from cluster.service.backoff import Backoff
from quasim.errors import ConfigError, QuasimError

LABEL = "quasim-node"
"""Ray node label by which a fleet knows a machine again after a restart; without it, its address must outlive that."""

OURS = ("address", "block", "head", "labels", "labels-file", "disable-usage-stats", "log-color", "log-style")
"""Flags of ``ray start`` that the service sets itself, or that would make it something else."""

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


class NodeServiceConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that `quasim node run` needs to know besides the head's address.

    Attributes:
        name: of this machine in the fleet; None: its host name.
        labels: Ray node labels besides the name's, which a fleet's ``labels`` may ask for.
        ray: further flags of ``ray start`` without their dashes, such as ``num-gpus: 1`` or ``temp-dir: /tmp/q``.
        health_port: on the loopback interface; 0: any free one.
        drain_s: how long agents may take to finish their cycle once the service is asked to end.
        restart: of a raylet that ended by itself.
        logs: folder of ``node.log``, which rotates; None: ``logs`` in the site folder.
    """

    name: str | None = None
    labels: dict[str, str] = {}
    ray: dict[str, str | int | float] = {}
    health_port: int = 8711
    drain_s: float = 900.0
    restart: Backoff = Backoff()
    logs: str | None = None

    def __post_init__(self) -> None:
        if self.name is not None:
            check_name(self.name)
        if taken := sorted(set(self.ray) & set(OURS)):
            raise ConfigError(f"ray: {', '.join(taken)} is the service's own to set", "leave it out")
        if LABEL in self.labels:
            raise ConfigError(f"labels: {LABEL} is the machine's name", "give it as name")
        if not 0 <= self.health_port < 65536 or self.drain_s <= 0:
            raise ConfigError(
                f"health_port={self.health_port}, drain_s={self.drain_s}", "give a port, and seconds above 0"
            )


def check_name(name: str) -> str:
    """The name, if Ray takes it as the value of a label.

    Raises:
        ConfigError: it does not.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is no name of a node", "use up to 63 letters, digits, dots, dashes, underscores")
    return name


def load_service(path: Path) -> NodeServiceConfig:
    """Read a configuration.

    Raises:
        ConfigError: the file is missing, or a field is unknown or has a bad value.
    """
    try:
        return msgspec.yaml.decode(path.read_bytes(), type=NodeServiceConfig)
    except FileNotFoundError as error:
        raise ConfigError(f"no config file {path}", "give a path such as configs/cluster/node.yaml") from error
    except QuasimError as error:
        raise type(error)(f"{path}: {error.what}", error.do) from error
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(f"{path}: {error}", "see the commented configs/cluster/node.yaml") from error
