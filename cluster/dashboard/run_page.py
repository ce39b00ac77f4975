"""What stands above every page: which run this is, how far it is, and what cannot be read of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from cluster.dashboard.names import Names
from cluster.dashboard.run_reader import RunReader
from cluster.dashboard.views import RunView

SILENT_S = 10.0
"""The state of the fleet is written twice a second; this long without is no hiccup."""

PAGES = ("fleet", "search", "rounds", "energy", "certificates", "events")
"""In the order of the menu. Programs joins them when a build has some."""


def run_view(
    run: RunReader,
    names: Names,
    now: float,
    runs: Sequence[str],
    until: int | None = None,
    trouble: str = "",
) -> RunView:
    """The run as a whole.

    Args:
        now: unix seconds.
        runs: that the server shows, newest first.
        trouble: why the newest files could not be read; "" where they could.
    """
    cycles, config = run.cycles(until), run.config
    outcome = cycles[-1].round if cycles else None
    return RunView(
        name=run.folder.path.resolve().name,
        federation=config.federation,
        target=str(config.target.__struct_config__.tag),
        strategy=config.strategy,
        protocol=names.text(outcome.protocol if outcome else ""),
        state=_state(run, now),
        cycles_done=len(cycles),
        cycles=config.cycles,
        started_at=run.started_at,
        devices=_devices(run),
        problems=tuple(dict.fromkeys(map(names.problem, run.problems))),
        policy_version=outcome.policy_version if outcome else 0,
        named=names.known,
        runs=tuple(runs),
        pages=PAGES,
        until=until,
        notes=names.texts([trouble] if trouble else []),
    )


def _state(run: RunReader, now: float) -> Literal["waiting", "running", "silent", "finished"]:
    if run.end is not None:
        return "finished"
    if run.live is not None and now - run.live.at < SILENT_S:
        return "running"
    return "silent" if run.live is not None or run.cycles() else "waiting"


def _devices(run: RunReader) -> tuple[str, ...]:
    pulses = [node.pulse.device for node in run.live.nodes] if run.live else []
    ended = [node.device.name for node in run.end.nodes] if run.end else []
    return tuple(dict.fromkeys(device for device in (*ended, *pulses) if device))
