"""`quasim node`: what one machine does on its own, or as a node of a cluster."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from actors.background import Evolve, Progress, Rest
from actors.background_node import BackgroundNode, BackgroundSnapshot, Clocks, Turn
from actors.in_use import in_use
from cluster.background_config import BackgroundConfig, load_background
from cluster.cli import node_run
from cluster.cli.output import console, log, print_json
from quasim.tuned import TunedCache, tuned_folder

app = typer.Typer(help="One machine: on its own, or as a node of a cluster.", no_args_is_help=True)
app.command("run")(node_run.run)


class BackgroundReport(msgspec.Struct, frozen=True):
    """What `quasim node background --json` prints.

    Attributes:
        turns: of this call.
        rest: why it ended; empty where its time was up.
    """

    node: BackgroundSnapshot
    turns: tuple[Turn, ...]
    rest: str


@app.command("background")
def background(
    config: Annotated[Path, typer.Argument(help="YAML file, such as configs/background.yaml.")],
    until_rest: Annotated[
        bool, typer.Option("--until-rest", help="End where there is nothing to do now, as from a timer.")
    ] = False,
    minutes: Annotated[float | None, typer.Option(min=0, help="End after so long, with the turn then running.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout, at the end.")] = False,
) -> None:
    """Tune while this machine is idle, within a day's allowance. Ctrl-C ends it; the next start goes on from there."""
    settings = load_background(config)
    end_s = time.monotonic() + 60 * minutes if minutes is not None else float("inf")
    node = BackgroundNode(
        Path(settings.folder),
        settings.aims(),
        settings.terms,
        settings.target.open,
        TunedCache(Path(settings.cache) if settings.cache else tuned_folder()),
        Clocks(time.time_ns, time.monotonic_ns),
        log().print,
    )
    try:
        turns, rest = _loop(node, settings, until_rest, lambda: end_s - time.monotonic())
        report = BackgroundReport(node.snapshot(), tuple(turns), rest)
    finally:
        node.close()
    _print(report, json)


def _loop(
    node: BackgroundNode, settings: BackgroundConfig, until_rest: bool, left_s: Callable[[], float]
) -> tuple[list[Turn], str]:
    turns: list[Turn] = []
    while left_s() > 0:
        busy = "" if settings.busy is None else in_use(node.target, settings.busy, time.sleep)
        decision = node.decide(busy)
        if isinstance(decision, Rest):
            if until_rest:
                return turns, decision.why
            log().print(f"rests until {_moment(decision.until_ns)}: {decision.why}")
            time.sleep(max(0.0, min(decision.until_ns / 1e9 - time.time(), left_s())))
            continue
        turns.append(node.run(decision))
        log().print(_line(turns[-1], decision.genomes if isinstance(decision, Evolve) else None))
    return turns, ""


def _line(turn: Turn, genomes: int | None) -> str:
    joules = "unmetered" if turn.joules is None else f"{turn.joules:.4g} J"
    cost = f"in {turn.seconds:.1f} s, {joules}"
    if genomes is None:
        return f"retrained {cost}"
    return f"{turn.problem}: {genomes} genomes {cost}; best {_time(turn.before_ns)} -> {_time(turn.after_ns)}"


def _print(report: BackgroundReport, json: bool) -> None:
    if json:
        print_json(report)
        return
    spending = report.node.spending
    joules = f"unmetered: {spending.unmetered}" if spending.unmetered else f"{spending.joules:.4g} J"
    table = Table(
        *("problem", "evaluations", "best", "of which this call"),
        title=f"idle tuning on {report.node.device.name}: today {spending.seconds:.1f} s, {joules}",
        title_justify="left",
    )
    for one in report.node.problems:
        table.add_row(
            str(one.problem), f"{one.evaluations} of {one.size}", _time(one.best_ns), _gain(one, report.turns)
        )
    console().print(table)
    if report.rest:
        log().print(f"nothing to do now: {report.rest}")


def _gain(one: Progress, turns: tuple[Turn, ...]) -> str:
    own = [turn for turn in turns if turn.problem == one.problem]
    return f"{_time(own[0].before_ns)} -> {_time(own[-1].after_ns)}" if own else "nothing"


def _time(time_ns: float | None) -> str:
    return "nothing" if time_ns is None else f"{time_ns / 1e6:.4g} ms"


def _moment(ts_ns: int) -> str:
    return f"{datetime.fromtimestamp(ts_ns // 10**9, timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
