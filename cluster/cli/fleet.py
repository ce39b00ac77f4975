"""`quasim fleet status` and `quasim node drain`: how a fleet is now, and who is to leave it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.live import Live
from rich.table import Table

from actors import drain as wishes
from actors.live import FleetLive, NodeLive
from cluster.cli.output import console, log, print_json
from cluster.run_folder import RunFolder
from cluster.seats import named, read_seats
from quasim.codec import from_json
from quasim.errors import ConfigError, DataError
from quasim.trial import EnergySource
from storage.files import storage_errors

app = typer.Typer(help="A fleet as a whole.", no_args_is_help=True)

Run = Annotated[Path, typer.Argument(help="Folder of the run, as `quasim run` printed it.")]
Name = Annotated[str, typer.Argument(help="A node, such as node-3, or a machine, whose nodes are all meant.")]
Of = Annotated[Path, typer.Option("--run", help="Folder of the run, on the machine of its driver.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]

OLD_S = 5.0
"""The aggregator writes twice a second: what is older than this was left by one that ended."""


class Wish(msgspec.Struct, frozen=True):
    """What `quasim node drain --json` and `undrain --json` print.

    Attributes:
        nodes: that it is about.
        leave: whether they are to leave now.
    """

    nodes: tuple[str, ...]
    leave: bool


@app.command("status")
def status(
    run: Run,
    json: Json = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show it anew every second until Ctrl-C.")] = False,
) -> None:
    """Show a fleet as it is now: health, work and power of each node."""
    folder = RunFolder.open(run)
    if watch and json:
        raise ConfigError("--watch with --json", "ask again and again, or leave one of them out")
    if json:
        print_json(fleet_now(folder))
        return
    if not watch:
        console().print(status_table(fleet_now(folder), time.time()))
        return
    with Live(console=console(), auto_refresh=False) as shown:
        while True:
            shown.update(status_table(fleet_now(folder), time.time()), refresh=True)
            time.sleep(1.0)


def drain(name: Name, run: Of, json: Json = False) -> None:
    """Have a node leave once its cycle and the round are over; it is not started again until `undrain`."""
    _wish(RunFolder.open(run), name, json, leave=True)


def undrain(name: Name, run: Of, json: Json = False) -> None:
    """Take a drain back: the node goes on from where it left."""
    _wish(RunFolder.open(run), name, json, leave=False)


def _wish(folder: RunFolder, name: str, json: bool, *, leave: bool) -> None:
    nodes = named(read_seats(folder), name)
    changed = (wishes.request if leave else wishes.withdraw)(folder.drained, name)
    if json:
        print_json(Wish(nodes, leave))
        return
    does = "leave once their cycle is over" if leave else "may come back"
    log().print(f"{', '.join(nodes)}: {does}" if changed else f"{', '.join(nodes)}: nothing to change")


def fleet_now(folder: RunFolder) -> FleetLive:
    """What the aggregator last wrote.

    Raises:
        DataError: it has not written yet.
        StorageError: it cannot be read.
    """
    if not folder.fleet_now.exists():
        raise DataError(f"the fleet of {folder.path} has not shown itself yet", "wait until its nodes are open")
    with storage_errors("read", folder.fleet_now):
        return from_json(folder.fleet_now.read_bytes(), FleetLive, str(folder.fleet_now))


def status_table(live: FleetLive, now: float) -> Table:
    """A row for each node; figures that nobody measured are words.

    Args:
        now: unix seconds.
    """
    age_s = now - live.at
    stale = f"; not running: as of {age_s:.0f} s ago" if age_s > OLD_S else ""
    title = f"{live.phase}, round {live.round}, policy {live.policy_version}, {live.rows_stored} rows stored{stale}"
    columns = (
        "node",
        "health",
        "does",
        "machine",
        "device",
        "cycle",
        "power / cap",
        "heat",
        "rows acknowledged",
        "heard",
    )
    table = Table(*columns, title=title, title_justify="left")
    for node in live.nodes:
        table.add_row(*_cells(node, live.at))
    return table


def _cells(node: NodeLive, at: float) -> tuple[str, ...]:
    pulse = node.pulse
    does = f"{pulse.state} {pulse.problem}".rstrip()
    model = " (model)" if pulse.energy_source == EnergySource.MODEL.value else ""
    power = "unmetered" if pulse.power_w is None else f"{pulse.power_w:.0f} W{model}"
    cap = "" if pulse.cap_w is None else f" / {pulse.cap_w:.0f} W"
    heat = "unmetered" if pulse.temperature_c is None else f"{pulse.temperature_c:.0f} °C{model}"
    rows = f"{pulse.rows_acknowledged} of {pulse.rows_sent}"
    heard = f"{at - node.heard_at:.1f} s ago"
    cycle = "" if pulse.cycle < 0 else str(pulse.cycle)
    return (pulse.node, node.health, does, pulse.machine, pulse.device, cycle, power + cap, heat, rows, heard)
