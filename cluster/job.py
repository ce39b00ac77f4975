"""Entry point of a cluster job: ``ray job submit --working-dir . -- python -m cluster.job configs/local.yaml``."""

from __future__ import annotations

import argparse
import os
import sys
from datetime import datetime, timezone
from pathlib import Path

from cluster.config import load_config
from cluster.ray_session import joined_cluster
from cluster.run_folder import RunFolder, fresh_name
from cluster.session import run_fleet
from quasim.codec import to_json
from quasim.errors import QuasimError
from storage.keys import site_folder


def main(arguments: list[str]) -> int:
    """Run a fleet on the cluster that this job was submitted to; the report is the last line on stdout."""
    parser = argparse.ArgumentParser(prog="python -m cluster.job", description=main.__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--cycles", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--out", type=Path, help="folder of the run; default: $QUASIM_HOME/runs/TIME-seedN")
    given = parser.parse_args(arguments)
    try:
        config = load_config(given.config, os.environ, {"cycles": given.cycles, "seed": given.seed})
        # The job's own folder is a copy that Ray deletes, so results go to the site.
        name = fresh_name(config.seed, datetime.now(timezone.utc))
        folder = RunFolder.create(given.out or site_folder(os.environ) / "runs" / name, config)
        sys.stderr.write(f"run folder: {folder.path}\n")
        report = run_fleet(config, folder, joined_cluster(), lambda line: print(line, file=sys.stderr, flush=True))
    except QuasimError as error:
        sys.stderr.write(f"error: {error}\n")
        return int(error.exit_code)
    sys.stdout.write(to_json(report).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
