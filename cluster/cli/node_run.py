"""`quasim node run`: this machine as a node of a cluster, as a service."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path
from typing import Annotated

import typer

from actors.log_lines import as_json
from cluster.cli.output import log, print_json
from cluster.logs import log_to
from cluster.service.config import NodeServiceConfig, check_name, load_service
from cluster.service.service import NodeService
from storage.keys import site_folder

LOG = logging.getLogger(__name__)


def run(
    address: Annotated[str, typer.Option(metavar="HEAD:PORT", help="The head's address, as `ray start --head` says.")],
    config: Annotated[
        Path | None,
        typer.Option("--config", help="YAML file, such as configs/cluster/node.yaml; default: all defaults."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Of this machine in the fleet; default: the file's, or host name.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout, at the end.")] = False,
) -> None:
    """Keep this machine in a Ray cluster, through restarts, until SIGTERM; agents then finish their cycle first."""
    settings = load_service(config) if config else NodeServiceConfig()
    node = check_name(name or settings.name or socket.gethostname())
    folder = Path(settings.logs) if settings.logs else site_folder(os.environ) / "logs"
    log_to(folder / "node.log", os.environ, node=node)
    service = NodeService(address, node, settings, dict(os.environ), _say)
    code = service.run()
    if json:
        print_json(service.health())
    raise typer.Exit(int(code))


def _say(line: str) -> None:
    LOG.info(line)
    if not as_json(os.environ):
        log().print(line)
