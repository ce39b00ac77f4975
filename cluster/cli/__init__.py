"""The command line: plain verbs for what one does every day, noun–verb for things."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from actors.log_lines import SWITCH
from cluster.cli import (
    cap,
    config,
    dashboard,
    evolve,
    federation,
    fleet,
    kernel,
    meter,
    node,
    policy,
    report,
    run,
    schema,
    telemetry,
    tune,
)
from cluster.logs import fail, set_up
from quasim.errors import ExitCode, QuasimError

app = typer.Typer(
    name="quasim",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run.run)
app.command("tune")(tune.tune)
app.command("report")(report.report)
app.command("dashboard")(dashboard.dashboard)
app.command("meter")(meter.meter)
app.command("cap")(cap.cap)
app.command("schema")(schema.schema)
app.add_typer(kernel.app, name="kernel")
app.add_typer(evolve.app, name="evolve")
app.add_typer(policy.app, name="policy")
app.add_typer(federation.app, name="federation")
app.add_typer(node.app, name="node")
app.add_typer(fleet.app, name="fleet")
node.app.command("drain")(fleet.drain)
node.app.command("undrain")(fleet.undrain)
app.add_typer(telemetry.app, name="telemetry")
app.add_typer(config.app, name="config")


# Typer has brought its own click since 0.2x: this is the usage error of whichever it has.
_UsageError: type[typer.BadParameter] = typer.BadParameter.__mro__[1]


@app.callback()
def log(
    json: Annotated[
        bool, typer.Option("--log-json", help="Log JSON lines on stderr; as QUASIM_LOG=json does.")
    ] = False,
) -> None:
    """Tune kernels once, across a fleet, privately. Every printed number was measured."""
    if json:
        os.environ[SWITCH] = "json"
    set_up(os.environ)


def main() -> None:
    """Run a command; errors become one line on stderr and a numbered exit code. Ctrl-C is typer's: 130."""
    try:
        sys.exit(app(prog_name="quasim", standalone_mode=False))
    except QuasimError as error:
        fail(str(error))
        sys.exit(error.exit_code)
    except _UsageError as error:
        if said := error.format_message():  # empty where the command's help was printed instead
            asked = error.ctx.command_path if error.ctx else "quasim"
            fail(f"{said.rstrip('.')}: see {asked} --help")
        sys.exit(ExitCode.USAGE)
