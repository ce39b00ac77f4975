"""One run from start to report, on a cluster of its own or on the one that it was submitted to."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, redirect_stdout

from cluster.config import FleetConfig
from cluster.report import Report, build_report
from cluster.run_folder import RunFolder
from quasim.codec import to_json
from quasim.errors import QuasimError
from storage.files import write_atomic
from storage.keys import site_folder


def run_fleet(
    config: FleetConfig, folder: RunFolder, cluster: AbstractContextManager[None], say: Callable[[str], None]
) -> Report:
    """Run what is left of a run, and report. A finished run is not measured again."""
    if not folder.end.exists():
        # Ray prints what befalls its workers on stdout, which belongs to the report.
        with redirect_stdout(sys.stderr), cluster:
            _run(config, folder, say)
    report = build_report(folder)
    write_atomic(folder.report, to_json(report))
    return report


def _run(config: FleetConfig, folder: RunFolder, say: Callable[[str], None]) -> None:
    # Imported here: `quasim tune` and `quasim report` do without Ray.
    from cluster.fleet import Fleet

    fleet = Fleet(config, folder, site_folder(os.environ), say)
    try:
        fleet.run()
        fleet.finish()
    finally:
        fleet.close()


def check_complete(report: Report, folder: RunFolder) -> None:
    """Raise ``QuasimError`` unless every telemetry row that was sent is acknowledged and stored, once."""
    rows = report.fleet.rows
    if not rows.complete:
        raise QuasimError(
            f"telemetry is incomplete: {rows.sent} rows sent, {rows.acknowledged} acknowledged, {rows.stored} stored, "
            f"{rows.refused} refused",
            f"look into spool/ and spool/refused/ of the nodes in {folder.path}",
        )
