"""A new policy is tried on a few nodes before all get it: a node's side, which measures and says slower or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aggregation.canary import Report, TopicTrial, Trials, Verdict
from aggregation.catalogue import Spaces
from aggregation.rounds import from_message, to_message
from quasim.policy import Topic, topic_cells
from quasim.space import SearchSpace
from quasim.trial import Genome, Problem, Timing, Trial

TOLERATED = 1.02
"""Slower by less is no reason to hold a policy back: a device's clocks alone move times by a percent or two."""

Playoff = Callable[[Problem, Sequence[Genome]], list[Trial]]
"""Measures genomes in interleaved windows, such as ``Target.playoff``."""


def report(data: bytes, spaces: Spaces, playoff: Playoff, cohort: str = "") -> bytes:
    """The answer to a server's ``Trials``. Only configurations of the node's own spaces are ever run.

    Args:
        spaces: the node's own search spaces.
        cohort: device family of the node.

    Raises:
        DataError: not such a message.
    """
    asked = from_message(data, Trials)
    return to_message(Report(asked.policy, tuple(_on_topic(trial, spaces, playoff, cohort) for trial in asked.trials)))


def _on_topic(trial: TopicTrial, spaces: Spaces, playoff: Playoff, cohort: str) -> Verdict | None:
    """Slower if it is so for any of the topic's problems that this node tunes."""
    mine = trial.topic.cohort in ("", cohort)
    alike = {key[1]: space for key, space in sorted(spaces.items()) if Topic.of(*key, space) == trial.topic.of_all}
    problems = alike.items() if mine else ()
    verdicts = {_on_problem(trial, problem, space, playoff) for problem, space in problems}
    return next((verdict for verdict in (Verdict.SLOWER, Verdict.NOT_SLOWER) if verdict in verdicts), None)


def _on_problem(trial: TopicTrial, problem: Problem, space: SearchSpace, playoff: Playoff) -> Verdict | None:
    cells = topic_cells(space)
    current = [space.genome_at(int(cells[at])) for at in trial.current]
    new = [space.genome_at(int(cells[at])) for at in trial.new]
    together = list(dict.fromkeys(current + new))
    return judge(playoff(problem, together), current, new)


def judge(trials: Sequence[Trial], current: Sequence[Genome], new: Sequence[Genome]) -> Verdict | None:
    """The fastest of the new genomes beside the fastest of the current ones.

    Args:
        trials: of one playoff, so that what disturbed one genome disturbed all.

    Returns:
        Slower if the 95 % intervals of their times are apart by more than ``TOLERATED``, or if no new genome worked
        while a current one did. None if no current one did: there is nothing to compare with.
    """
    before, after = _fastest(trials, current), _fastest(trials, new)
    if before is None:
        return None
    if after is None or after.low_ns > TOLERATED * before.high_ns:
        return Verdict.SLOWER
    return Verdict.NOT_SLOWER


def _fastest(trials: Sequence[Trial], genomes: Sequence[Genome]) -> Timing | None:
    """The timing with the least median; None if none of these genomes worked."""
    worked = [trial.timing for trial in trials if trial.genome in genomes and trial.timing is not None]
    return min(worked, key=lambda timing: timing.median_ns, default=None)
