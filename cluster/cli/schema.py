"""`quasim schema`: the form of what commands print with ``--json``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cluster.cli.output import console, log
from quasim.errors import ConfigError


def schema(
    name: Annotated[str | None, typer.Argument(help="Such as report or kernel-list; default: list the names.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write every schema to this folder, NAME.json.")] = None,
) -> None:
    """Print the JSON schema of what a command prints with --json."""
    # Imported here: it knows every command, and the commands are being imported when this file is.
    from cluster import schemas

    if out is not None:
        if name is not None:
            raise ConfigError("--out writes every schema", "leave out the name")
        log().print(f"{len(schemas.write_all(out))} schemas written to {out}")
    elif name is not None:
        sys.stdout.write(schemas.text(name))
    else:
        for known in schemas.names():
            console().print(known)
