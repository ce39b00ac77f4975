"""`quasim report`: what a run found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cluster.cli.output import console, print_json
from cluster.report import Report, build_report
from cluster.report_text import render
from cluster.run_folder import RunFolder


def report(
    run: Annotated[Path, typer.Argument(help="Folder of the run, as `quasim run` printed it.")],
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Show what a run found: kernels, ratios, fleet, adaptation, and what joining late gained."""
    show(build_report(RunFolder.open(run)), json)


def show(report: Report, json: bool) -> None:
    """Print a report."""
    if json:
        print_json(report)
        return
    out = console()
    for part in render(report):
        out.print(part)
