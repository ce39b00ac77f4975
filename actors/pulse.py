"""A node's pulse: what it says of itself once a second, from a thread that never waits for the node's work."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import msgspec

from actors.live import NodePulse, State
from quasim.energy.loop import Gauges

LOG = logging.getLogger(__name__)

PERIOD_S = 1.0


class Vitals(msgspec.Struct, frozen=True):
    """What an agent can tell of itself at any time, from any thread.

    Attributes:
        cycle: that it works on, or has finished; −1 before the first.
        problem: that it works on; "" between two.
        last_batch_at: unix seconds of the last acknowledged batch; None: none since it was opened.
    """

    device: str
    cycle: int
    problem: str
    gauges: Gauges
    rows_sent: int
    rows_acknowledged: int
    last_batch_at: float | None


def pulse_of(node: str, machine: str, state: State, vitals: Vitals | None, at: float) -> NodePulse:
    """The pulse of a node; one that is not open yet knows its names alone."""
    known = vitals or Vitals("", -1, "", Gauges(why="the node is not open yet"), 0, 0, None)
    gauges = known.gauges
    # The agent knows that it was asked to measure; that it waits meanwhile, only its regulation does.
    state = "resting" if state == "measuring" and gauges.resting else state
    return NodePulse(
        node=node,
        machine=machine,
        device=known.device,
        state=state,
        cycle=known.cycle,
        problem=known.problem if state in ("measuring", "resting") else "",
        power_w=gauges.power_w,
        cap_w=gauges.cap_w,
        temperature_c=gauges.temperature_c,
        energy_source=gauges.source.value,
        metered_why=gauges.why,
        rows_sent=known.rows_sent,
        rows_acknowledged=known.rows_acknowledged,
        last_batch_at=known.last_batch_at,
        at=at,
    )


class Heart:
    """Beats about once a second until closed. A beat that fails is skipped: the next says more.

    Args:
        beat: sends one pulse, without waiting for an answer.
    """

    def __init__(self, beat: Callable[[], None], period_s: float = PERIOD_S) -> None:
        self._beat, self._period_s = beat, period_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread. Idempotent."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                self._beat()
            except Exception as error:  # whatever it is, it must not end the pulse of a node that works
                LOG.debug("a pulse was not sent: %s", error)
            if self._stop.wait(self._period_s):
                return
