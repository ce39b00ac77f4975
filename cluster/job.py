"""Entry point of a cluster job: ``ray job submit --working-dir . -- python -m cluster.job configs/local.yaml``."""

from __future__ import annotations

import argparse
import os
import sys
from datetime import datetime, timezone
from pathlib import Path

from cluster.config import FleetConfig, load_config
from cluster.logs import fail, say, set_up
from cluster.ray_session import joined_cluster
from cluster.run_folder import RunFolder, fresh_name
from cluster.session import PausedError, check_complete, run_fleet
from quasim.codec import to_json
from quasim.errors import ConfigError, QuasimError
from storage.keys import site_folder


def main(arguments: list[str]) -> int:
    """Run a fleet on the cluster that this job was submitted to; the report is the last line on stdout."""
    parser = argparse.ArgumentParser(prog="python -m cluster.job", description=main.__doc__)
    parser.add_argument("config", type=Path, nargs="?", help="YAML file within the working directory")
    parser.add_argument("--cycles", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--out", type=Path, help="absolute folder of the run; default: $QUASIM_HOME/runs/TIME-seedN")
    parser.add_argument("--resume", type=Path, help="continue the run in this absolute folder")
    given = parser.parse_args(arguments)
    try:
        config, folder = _resumed(given.resume) if given.resume else _fresh(given)
        set_up(os.environ, run=folder.path.name)
        say(f"run folder: {folder.path}")
        report = run_fleet(config, folder, joined_cluster(), say)
        sys.stdout.write(to_json(report).decode() + "\n")
        check_complete(report, folder)
    except PausedError:
        say(f"paused: resume with: python -m cluster.job --resume {folder.path}")
    except QuasimError as error:
        fail(str(error))
        return int(error.exit_code)
    return 0


def _fresh(given: argparse.Namespace) -> tuple[FleetConfig, RunFolder]:
    if given.config is None:
        raise ConfigError("neither a config nor --resume was given", "name a YAML file of the working directory")
    config = load_config(given.config, os.environ, {"cycles": given.cycles, "seed": given.seed})
    name = fresh_name(config.seed, datetime.now(timezone.utc))
    # Never the config's `out`: the job's own folder is a copy that Ray deletes.
    path = _absolute(given.out) if given.out else site_folder(os.environ).absolute() / "runs" / name
    return config, RunFolder.create(path, config)


def _resumed(path: Path) -> tuple[FleetConfig, RunFolder]:
    folder = RunFolder.open(_absolute(path))
    return folder.load_config(), folder


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ConfigError(f"{path} is relative to a copy that Ray deletes", "give an absolute path")
    return path


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
