"""`quasim run`: a fleet on this machine, from start to report."""

from __future__ import annotations

import logging
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import typer

from cluster.cli.output import log
from cluster.cli.report import show
from cluster.config import load_config
from cluster.logs import set_up
from cluster.run_folder import RunFolder, fresh_name
from cluster.session import PausedError, check_complete, run_fleet
from quasim.errors import ConfigError
from quasim.machine import usable_cores

DEFAULT_CONFIG = Path(__file__).parents[2] / "configs" / "local.yaml"


def run(
    config: Annotated[Path | None, typer.Argument(help="YAML file; default: configs/local.yaml.")] = None,
    cycles: Annotated[int | None, typer.Option(help="How many cycles, instead of the config's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all strategies, instead of the config's.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of this run; default: a new one under the config's out.")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Continue the run in this folder.")] = None,
    json: Annotated[bool, typer.Option("--json", help="The report as one JSON document on stdout.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens, on stderr.")] = False,
) -> None:
    """Run a fleet on this machine: agents evolve kernels, the aggregator learns, a policy comes back."""
    logging.basicConfig(level=logging.INFO if verbose else logging.ERROR)
    if resume is not None and any(given is not None for given in (config, cycles, seed, out)):
        raise ConfigError(
            "--resume continues a run as it was configured", "leave out CONFIG, --cycles, --seed and --out"
        )
    if resume is not None:
        folder = RunFolder.open(resume)
        settings = folder.load_config()
    else:
        settings = load_config(config or DEFAULT_CONFIG, os.environ, {"cycles": cycles, "seed": seed})
        # A missing compiler or a broken recording shows here, before a folder is made and Ray is started.
        settings.target.open().close()
        folder = RunFolder.create(
            out or Path(settings.out) / fresh_name(settings.seed, datetime.now(timezone.utc)), settings
        )
    set_up(os.environ, run=folder.path.name)
    remarks = log()
    remarks.print(f"run folder: {folder.path}")
    # Imported here: Ray takes a second to load, and `quasim --help` should not wait for it.
    from cluster.ray_session import local_cluster

    try:
        report = run_fleet(settings, folder, local_cluster(len(usable_cores())), remarks.print)
    except PausedError:
        remarks.print(f"paused: resume with: quasim run --resume {folder.path}")
        return
    show(report, json)
    check_complete(report, folder)
