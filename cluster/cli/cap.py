"""`quasim cap`: from a few runs of a kernel at several clocks, where to run it next, and caps. It sets nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from cluster.cli.output import console, print_json
from quasim.codec import from_json
from quasim.energy import Caps, ClockRun, fit, next_clock, propose
from quasim.errors import DataError
from quasim.trial import EnergySource


class Runs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the operator measured.

    Attributes:
        caps: of the device.
        clocks_mhz: that it can run at.
        runs: of one kernel, at clocks that an administrator set or that the device chose.
    """

    caps: Caps
    clocks_mhz: tuple[float, ...]
    runs: tuple[ClockRun, ...] = ()


Facts = dict[str, object]


def cap(
    runs: Annotated[Path, typer.Argument(help="JSON: caps, clocks_mhz and runs; see docs/energy-regulation.md.")],
    slowest: Annotated[float, typer.Option(min=0, help="Most that it may take longer, as a share.")] = 0.1,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Propose a clock cap and a power cap for one kernel by a power–frequency model, and set neither."""
    facts = advice(read(runs), slowest)
    if json:
        print_json(facts)
        return
    table = Table(show_header=False)
    for label, value in facts.items():
        table.add_row(label, f"{value:.4g}" if isinstance(value, float) else str(value))
    console().print(table)


def read(path: Path) -> Runs:
    """What was measured.

    Raises:
        DataError: the file is missing, or holds no such runs.
    """
    try:
        return from_json(path.read_bytes(), Runs, str(path))
    except OSError as error:
        raise DataError(
            f"runs {path} cannot be read: {error}", "give a file as in docs/energy-regulation.md"
        ) from error


def advice(told: Runs, slowest: float) -> Facts:
    """Where to measure next; or, once that is enough, caps, whose figures are the model's.

    Raises:
        DataError: the device has too few clocks below its power limit, or power does not rise with them.
    """
    clock_mhz = next_clock(told.runs, told.caps, told.clocks_mhz)
    if clock_mhz is not None:
        return {"runs": len(told.runs), "measure_next_mhz": clock_mhz}
    model = fit(told.runs, told.caps.power_max_w)
    found = propose(model, told.caps, told.clocks_mhz, slowest)
    return {
        "runs": len(told.runs),
        "source": EnergySource.MODEL.value,
        "clock_cap_mhz": found.clock_cap_mhz,
        "power_cap_w": found.power_cap_w,
        "saves": found.saves,
        "slows": found.slows,
        "knee_mhz": model.knee_mhz,
        "fit_error": model.error,
    }
