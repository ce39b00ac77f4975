"""`quasim config`: what a run would be configured with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from cluster.cli.output import console, print_json
from cluster.cli.run import DEFAULT_CONFIG
from cluster.config_origin import Setting, settings

app = typer.Typer(help="Configuration of a fleet.", no_args_is_help=True)


class Settings(msgspec.Struct, frozen=True):
    """What `quasim config show --json` prints."""

    file: str
    settings: tuple[Setting, ...]


@app.callback()
def config() -> None:
    """Configuration of a fleet."""


@app.command("show")
def show(
    file: Annotated[Path | None, typer.Argument(help="YAML file; default: configs/local.yaml.")] = None,
    cycles: Annotated[int | None, typer.Option(help="As given to `quasim run`.")] = None,
    seed: Annotated[int | None, typer.Option(help="As given to `quasim run`.")] = None,
    origin: Annotated[bool, typer.Option("--origin", help="Also where each value comes from.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout, origins included.")] = False,
) -> None:
    """Show every setting that `quasim run` would have: flags win over QUASIM_* variables, the file and the defaults."""
    path = file or DEFAULT_CONFIG
    found = settings(path, os.environ, {"cycles": cycles, "seed": seed})
    if json:
        print_json(Settings(str(path), found))
        return
    table = Table("setting", "value", *(("origin", "source") if origin else ()))
    for one in found:
        table.add_row(one.name, _text(one), *((one.origin, one.source) if origin else ()))
    console().print(table)


def _text(setting: Setting) -> str:
    """As YAML has it."""
    return setting.value if isinstance(setting.value, str) else msgspec.json.encode(setting.value).decode()
