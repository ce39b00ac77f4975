"""One run from start to report, on a cluster of its own or on the one that it was submitted to."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stdout
from queue import SimpleQueue
from types import FrameType

from cluster.config import FleetConfig
from cluster.logs import remarks
from cluster.report import Report, build_report
from cluster.run_folder import RunFolder
from quasim.codec import to_json
from quasim.errors import QuasimError
from storage.files import write_atomic
from storage.keys import site_folder


class PausedError(Exception):
    """The run was asked to end, and has logged the cycle that ran; ``--resume`` goes on with the next."""


def run_fleet(
    config: FleetConfig, folder: RunFolder, cluster: AbstractContextManager[None], say: Callable[[str], None]
) -> Report:
    """Run what is left of a run, and report. A finished run is not measured again.

    Raises:
        PausedError: SIGTERM came before the last cycle was done.
        QuasimError: the run cannot go on.
    """
    if not folder.end.exists():
        # Ray prints what befalls its workers on stdout, which belongs to the report.
        with redirect_stdout(remarks()), cluster:
            _run(config, folder, say)
    report = build_report(folder)
    write_atomic(folder.report, to_json(report))
    return report


def _run(config: FleetConfig, folder: RunFolder, say: Callable[[str], None]) -> None:
    # Imported here: `quasim tune` and `quasim report` do without Ray.
    from cluster.fleet import Fleet

    with _asked_to_end(say) as stop:
        fleet = Fleet(config, folder, site_folder(os.environ), say, stop)
        try:
            fleet.run()
            if fleet.paused:
                raise PausedError
            fleet.finish()
        finally:
            fleet.close()


@contextmanager
def _asked_to_end(say: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """Whether SIGTERM came; a second one is left to whoever listened before: Ray, which ends the process."""
    asked = threading.Event()
    # Python runs `note` wherever the main thread is, which may be in the middle of saying something else. A thread says
    # it; a SimpleQueue may be put to even from there.
    words: SimpleQueue[str | None] = SimpleQueue()
    if threading.current_thread() is not threading.main_thread():  # where Python lets nobody listen to signals
        yield asked.is_set
        return

    def note(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, before)
        asked.set()
        words.put("asked to end: the cycle that runs is finished first")

    def speak() -> None:
        for text in iter(words.get, None):
            say(text)

    speaker = threading.Thread(target=speak, name="asked-to-end", daemon=True)
    speaker.start()
    before = signal.signal(signal.SIGTERM, note)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGTERM, before)
        words.put(None)
        speaker.join()


def check_complete(report: Report, folder: RunFolder) -> None:
    """Raise ``QuasimError`` unless every telemetry row that was sent is acknowledged and stored, once."""
    rows = report.fleet.rows
    if not rows.complete:
        raise QuasimError(
            f"telemetry is incomplete: {rows.sent} rows sent, {rows.acknowledged} acknowledged, {rows.stored} stored, "
            f"{rows.refused} refused",
            f"look into spool/ and spool/refused/ of the nodes in {folder.path}",
        )
