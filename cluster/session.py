"""One run from start to report, on a cluster of its own or on the one that it was submitted to."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager

from cluster.config import FleetConfig
from cluster.report import Report, build_report
from cluster.run_folder import RunFolder
from quasim.codec import to_json
from storage.files import write_atomic
from storage.keys import site_folder


def run_fleet(
    config: FleetConfig, folder: RunFolder, cluster: AbstractContextManager[None], say: Callable[[str], None]
) -> Report:
    """Run what is left of a run, and report."""
    # Imported here: `quasim tune` and `quasim report` do without Ray.
    from cluster.fleet import Fleet

    with cluster:
        fleet = Fleet(config, folder, site_folder(os.environ), say)
        try:
            fleet.run()
            fleet.finish()
        finally:
            fleet.close()
    report = build_report(folder)
    write_atomic(folder.report, to_json(report))
    return report
