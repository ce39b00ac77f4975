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
        config = None if given.resume else _configured(given)
        path = _absolute(given.resume) if config is None else _fresh(given.out, config.seed)
        set_up(os.environ, run=path.name)  # before a folder is made: what it refuses leaves nothing behind
        folder = RunFolder.open(path) if config is None else RunFolder.create(path, config)
        say(f"run folder: {folder.path}")
        report = run_fleet(config or folder.load_config(), folder, joined_cluster(), say)
        sys.stdout.write(to_json(report).decode() + "\n")
        check_complete(report, folder)
    except PausedError:
        say(f"paused: resume with: python -m cluster.job --resume {folder.path}")
    except QuasimError as error:
        fail(str(error))
        return int(error.exit_code)
    return 0


def _configured(given: argparse.Namespace) -> FleetConfig:
    if given.config is None:
        raise ConfigError("neither a config nor --resume was given", "name a YAML file of the working directory")
    return load_config(given.config, os.environ, {"cycles": given.cycles, "seed": given.seed})


def _fresh(out: Path | None, seed: int) -> Path:
    # Never the config's `out`: the job's own folder is a copy that Ray deletes.
    home = site_folder(os.environ).absolute() / "runs"
    return _absolute(out) if out else home / fresh_name(seed, datetime.now(timezone.utc))


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ConfigError(f"{path} is relative to a copy that Ray deletes", "give an absolute path")
    return path


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
