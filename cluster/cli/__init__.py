"""The command line: plain verbs for what one does every day, noun–verb for things."""

from __future__ import annotations

import sys

import typer

from cluster.cli import cap, evolve, federation, kernel, meter, node, policy, report, run, tune
from quasim.errors import QuasimError

app = typer.Typer(
    name="quasim",
    help="Tune kernels once, across a fleet, privately. Every printed number was measured.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run.run)
app.command("tune")(tune.tune)
app.command("report")(report.report)
app.command("meter")(meter.meter)
app.command("cap")(cap.cap)
app.add_typer(kernel.app, name="kernel")
app.add_typer(evolve.app, name="evolve")
app.add_typer(policy.app, name="policy")
app.add_typer(federation.app, name="federation")
app.add_typer(node.app, name="node")


def main() -> None:
    """Run a command; our own errors become one line on stderr and a numbered exit code. Ctrl-C is typer's: 130."""
    try:
        app()
    except QuasimError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
