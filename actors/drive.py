"""Runs a node's loop on a target: measures and meters whatever it asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from actors.node_events import CycleRecord, CycleStarted, Event, Finish, Measure, Measured, Meter
from actors.node_loop import NodeLoop
from quasim.energy.racing import Metering
from quasim.targets import Target
from quasim.trial import Problem, Trial


def drive(
    loop: NodeLoop,
    target: Target,
    cycle: int,
    on_measured: Callable[[Problem, Sequence[Trial]], None] = lambda _problem, _trials: None,
) -> CycleRecord:
    """Run one cycle of a loop on a target: measure whatever it asks for, until it has finished.

    Args:
        on_measured: told the problem and its trials after each measurement.
    """
    target.start_cycle(cycle)
    events: list[Event] = [CycleStarted(cycle)]
    while True:
        for instruction in loop.handle(events.pop()):
            if isinstance(instruction, Finish):
                return instruction.record
            trials = tuple(_measured(target, instruction))
            events.append(Measured(trials))
            on_measured(instruction.problem, trials)


def _measured(target: Target, instruction: Measure | Meter) -> Sequence[Trial]:
    if isinstance(instruction, Meter):
        if not isinstance(target, Metering):
            return ()
        return target.meter(instruction.problem, instruction.reading.genomes, instruction.reading.window_ns)
    if instruction.playoff:
        # Energy is for those who win in the end: metering each recheck would take half of a node's time.
        return target.playoff(instruction.problem, instruction.genomes, metered=False)
    return target.evaluate(instruction.problem, instruction.genomes)
