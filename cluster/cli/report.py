"""`quasim report`: what a run found."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from cluster.cli.output import console, log, print_json
from cluster.report import Report, build_report
from cluster.report_text import render
from cluster.run_folder import RunFolder
from quasim.errors import ConfigError
from storage.files import write_atomic


def report(
    run: Annotated[Path, typer.Argument(help="Folder of the run, as `quasim run` printed it.")],
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
    html: Annotated[
        Path | None,
        typer.Option(
            help="Write the dashboard's pages into this one file, which needs no server, instead of printing."
        ),
    ] = None,
    site_key: Annotated[
        Path | None,
        typer.Option(
            help="The site.key with which --html names shapes, genomes and nodes; without, it shows their ids."
        ),
    ] = None,
) -> None:
    """Show what a run found: kernels, ratios, fleet, adaptation, and what joining late gained."""
    if site_key is not None and html is None:
        raise ConfigError("--site-key names what --html writes", "give --html FILE, too")
    folder = RunFolder.open(run)
    if html is not None:
        write_html(folder, html, site_key)
    if html is None or json:
        show(build_report(folder), json)


def write_html(folder: RunFolder, path: Path, site_key: Path | None) -> None:
    """Write the pages of a run, finished or not, as one file."""
    # Imported here: the table's reader takes a second to load.
    from cluster.dashboard.desk import NEEDS, Desk
    from cluster.dashboard.html_report import html_report
    from cluster.dashboard.names import Names

    names = Names() if site_key is None else Names.of_site(site_key)
    desk = Desk(folder.path, names, lambda: (), time.time)
    desk.look_at_table()
    write_atomic(path, html_report(desk.view, tuple(NEEDS), [int(file.stem) for file in folder.cycle_files()]).encode())
    log().print(f"wrote {path}")


def show(report: Report, json: bool) -> None:
    """Print a report."""
    if json:
        print_json(report)
        return
    out = console()
    for part in render(report):
        out.print(part)
