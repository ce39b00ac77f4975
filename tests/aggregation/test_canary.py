from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import pytest

from aggregation.canary import (
    LEADERS,
    Canary,
    Held,
    Released,
    Report,
    TopicTrial,
    Trials,
    Verdict,
    choose_canaries,
    trials,
)
from aggregation.canary_node import judge, report
from aggregation.rounds import (
    Broadcast,
    DeadlinePassed,
    MessageArrived,
    Opened,
    Refusal,
    Refused,
    from_message,
    to_message,
)
from quasim.errors import DataError
from quasim.policy import Part, Policy, Topic
from quasim.trial import Genome, Problem, Status, Timing, Trial
from tests.aggregation.samples import CATALOGUE, MATMUL, NEAR, SOFTMAX, SPACE, SPACES

NODES = ("node-0", "node-1", "node-2")
MATMUL_TOPIC = Topic.of("c", MATMUL, SPACE)
SOFTMAX_TOPIC = Topic.of("c", SOFTMAX, SPACES["c", SOFTMAX])
SLOWER, NOT_SLOWER = Verdict.SLOWER, Verdict.NOT_SLOWER


def part(topic: Topic, *candidates: int) -> Part:
    ones = np.ones(topic.cells, dtype="<f4")
    mean, known, none = ((share * ones).astype("<f4").tobytes() for share in (-0.5, 1, 0))
    return Part(topic, mean, known, spread=none, feasible=known, candidates=candidates)


def policy(leading: Mapping[Topic, Sequence[int]], previous: Policy | None = None) -> Policy:
    return Policy(
        federation="lab",
        version=previous.version + 1 if previous else 1,
        cycle=previous.cycle + 1 if previous else 0,
        parent=previous.digest if previous else "",
        protocol="plain",
        participants=3,
        catalogue=CATALOGUE.digest,
        parts=tuple(part(topic, *leading[topic]) for topic in sorted(leading)),
    )


CURRENT = policy({MATMUL_TOPIC: (0, 1, 2, 7), SOFTMAX_TOPIC: (0, 1)})
NEW = policy({MATMUL_TOPIC: (3, 4, 5, 6), SOFTMAX_TOPIC: (2, 3)}, CURRENT)


def answer(*verdicts: Verdict | None, policy: Policy = NEW) -> bytes:
    return to_message(Report(policy.digest, verdicts))


def decide(reports: Sequence[bytes], current: Policy | None = CURRENT, new: Policy = NEW) -> Released | Held:
    """What comes of these reports, by node-0, node-1, …, and the deadline."""
    canary = Canary(current, new, NODES)
    instructions = [
        *canary.handle(Opened()),
        *(one for node, data in zip(NODES, reports, strict=False) for one in canary.handle(MessageArrived(node, data))),
        *canary.handle(DeadlinePassed()),
    ]
    ended = [one for one in instructions if isinstance(one, (Released, Held))]
    assert len(ended) == 1
    return ended[0]


def test_leading_candidates_that_changed_are_tried() -> None:
    assert trials(CURRENT, NEW) == (
        TopicTrial(MATMUL_TOPIC, (0, 1, 2), (3, 4, 5)),
        TopicTrial(SOFTMAX_TOPIC, (0, 1), (2, 3)),
    )


def test_the_first_policy_is_released_untried() -> None:
    first = policy({MATMUL_TOPIC: (0,)})
    assert Canary(None, first, NODES).handle(Opened()) == [Released(first, ())]


def test_topics_with_the_same_leaders_or_none_before_need_no_trial() -> None:
    before = policy({MATMUL_TOPIC: (0, 1, 2, 7), SOFTMAX_TOPIC: ()})
    after = policy({MATMUL_TOPIC: (2, 0, 1, 5), SOFTMAX_TOPIC: (1,)}, before)
    assert trials(before, after) == ()
    assert Canary(before, after, NODES).handle(Opened()) == [Released(after, ())]


def test_the_nodes_are_asked_once_for_all_topics() -> None:
    (asked,) = Canary(CURRENT, NEW, NODES).handle(Opened())
    assert isinstance(asked, Broadcast)
    assert asked.nodes == NODES
    assert from_message(asked.data, Trials) == Trials(NEW.digest, trials(CURRENT, NEW))


def test_a_policy_that_is_not_slower_is_released_as_it_is() -> None:
    done = decide([answer(NOT_SLOWER, NOT_SLOWER)] * 3)
    assert isinstance(done, Released)
    assert done.policy == NEW


def test_a_topic_that_got_slower_keeps_what_it_had() -> None:
    done = decide([answer(SLOWER, NOT_SLOWER)] * 3)
    assert isinstance(done, Released)
    assert done.policy.part(MATMUL_TOPIC) == CURRENT.part(MATMUL_TOPIC)
    assert done.policy.part(SOFTMAX_TOPIC) == NEW.part(SOFTMAX_TOPIC)
    assert (done.policy.version, done.policy.parent) == (NEW.version, CURRENT.digest)
    assert [(tally.slower, tally.not_slower, tally.held) for tally in done.tallies] == [(3, 0, True), (0, 3, False)]


def test_a_policy_that_is_slower_everywhere_is_held() -> None:
    assert isinstance(decide([answer(SLOWER, SLOWER)] * 3), Held)


def test_one_liar_among_three_decides_nothing() -> None:
    honest, liar = answer(NOT_SLOWER, SLOWER), answer(SLOWER, NOT_SLOWER)
    done = decide([honest, liar, honest])
    assert isinstance(done, Released)
    assert [tally.held for tally in done.tallies] == [False, True]


def test_a_tie_and_silence_hold_back() -> None:
    done = decide([answer(SLOWER, NOT_SLOWER), answer(NOT_SLOWER, NOT_SLOWER)])
    assert isinstance(done, Released)
    assert [tally.held for tally in done.tallies] == [True, False]
    assert isinstance(decide([]), Held)
    assert isinstance(decide([answer(None, None)] * 3), Held)


def test_a_policy_without_nodes_to_try_it_is_held() -> None:
    (done,) = Canary(CURRENT, NEW, ()).handle(Opened())
    assert isinstance(done, Held)


def test_a_topic_that_lost_its_candidates_keeps_them() -> None:
    emptied = policy({MATMUL_TOPIC: (), SOFTMAX_TOPIC: (2, 3)}, CURRENT)
    done = decide([answer(NOT_SLOWER, policy=emptied)] * 3, new=emptied)
    assert isinstance(done, Released)
    assert done.policy.part(MATMUL_TOPIC) == CURRENT.part(MATMUL_TOPIC)
    assert done.policy.part(SOFTMAX_TOPIC) == emptied.part(SOFTMAX_TOPIC)


@pytest.mark.parametrize(
    ("node", "data", "reason"),
    [
        ("stranger", answer(SLOWER, SLOWER), Refusal.FOREIGN),
        ("node-1", b"nonsense", Refusal.MALFORMED),
        ("node-1", answer(SLOWER, SLOWER, policy=CURRENT), Refusal.OTHER_POLICY),
        ("node-1", answer(SLOWER), Refusal.WRONG_LENGTH),
        ("node-0", answer(SLOWER, SLOWER), Refusal.DUPLICATE),
    ],
)
def test_a_message_that_does_not_count_changes_nothing(node: str, data: bytes, reason: Refusal) -> None:
    canary = Canary(CURRENT, NEW, NODES)
    canary.handle(Opened())
    canary.handle(MessageArrived("node-0", answer(NOT_SLOWER, NOT_SLOWER)))
    (refused,) = canary.handle(MessageArrived(node, data))
    assert isinstance(refused, Refused)
    assert refused.reason is reason
    (done,) = canary.handle(DeadlinePassed())
    assert isinstance(done, Released)
    assert done.policy == NEW


def test_after_the_decision_every_message_is_late() -> None:
    canary = Canary(CURRENT, NEW, NODES)
    canary.handle(Opened())
    canary.handle(DeadlinePassed())
    (refused,) = canary.handle(MessageArrived("node-0", answer(SLOWER, SLOWER)))
    assert isinstance(refused, Refused)
    assert refused.reason is Refusal.LATE
    assert canary.handle(DeadlinePassed()) == []


def test_canaries_come_from_every_cohort_and_follow_the_seed() -> None:
    cohorts = {"a100": ["a-0", "a-1", "a-2", "a-3"], "h100": ["h-0"]}
    chosen = choose_canaries(cohorts, 2, b"seed")
    assert chosen == choose_canaries({name: nodes[::-1] for name, nodes in cohorts.items()}, 2, b"seed")
    assert len(chosen) == 3
    assert "h-0" in chosen
    assert {choose_canaries(cohorts, 2, bytes([seed])) for seed in range(32)} > {chosen}


def test_a_trial_outside_the_topic_cannot_be_built() -> None:
    for cells in ((9,), (-1,), (), tuple(range(LEADERS + 1))):
        with pytest.raises(DataError):
            TopicTrial(MATMUL_TOPIC, (0,), cells)


class Device:
    """Genomes take the time of their cell, disturbed alike in every playoff, or fail; counts what was run."""

    def __init__(self, times_ns: Mapping[Problem, Mapping[int, float]]) -> None:
        self._times, self._rng = times_ns, np.random.default_rng(3)
        self.playoffs: list[tuple[Problem, tuple[Genome, ...]]] = []

    def playoff(self, problem: Problem, genomes: Sequence[Genome]) -> list[Trial]:
        self.playoffs.append((problem, tuple(genomes)))
        clock = float(self._rng.uniform(0.8, 1.2))
        return [self._trial(problem, genome, clock) for genome in genomes]

    def _trial(self, problem: Problem, genome: Genome, clock: float) -> Trial:
        ns = self._times[problem].get(SPACES["c", problem].cell(genome))
        if ns is None:
            return Trial(problem=problem, target="c", genome=genome, status=Status.CRASHED)
        timing = Timing(clock * ns, clock * ns, clock * ns, 5)
        return Trial(problem=problem, target="c", genome=genome, status=Status.OK, timing=timing)


def ask(times_ns: Mapping[Problem, Mapping[int, float]], *asked: TopicTrial) -> tuple[Verdict | None, ...]:
    message = to_message(Trials(NEW.digest, asked))
    own = {key: space for key, space in SPACES.items() if key[1] in times_ns}
    back = from_message(report(message, own, Device(times_ns).playoff), Report)
    assert back.policy == NEW.digest
    return back.verdicts


TRIAL = TopicTrial(MATMUL_TOPIC, (0, 1), (2, 3))


def test_a_node_compares_the_fastest_leaders() -> None:
    assert ask({MATMUL: {0: 1000, 1: 500, 2: 900, 3: 490}}, TRIAL) == (NOT_SLOWER,)
    assert ask({MATMUL: {0: 1000, 1: 500, 2: 900, 3: 600}}, TRIAL) == (SLOWER,)
    assert ask({MATMUL: {0: 1000, 1: 500, 2: 900, 3: 505}}, TRIAL) == (NOT_SLOWER,)


def test_failing_leaders_count_as_slower_than_working_ones_and_compare_with_nothing() -> None:
    assert ask({MATMUL: {0: 1000, 1: 500}}, TRIAL) == (SLOWER,)
    assert ask({MATMUL: {1: 500, 3: 490}}, TRIAL) == (NOT_SLOWER,)
    assert ask({MATMUL: {2: 500, 3: 490}}, TRIAL) == (None,)


def test_one_slower_problem_of_a_topic_makes_it_slower() -> None:
    fast, slow = {0: 1000.0, 1: 500.0, 2: 400.0, 3: 400.0}, {0: 500.0, 1: 500.0, 2: 900.0, 3: 900.0}
    assert ask({MATMUL: fast, NEAR: slow}, TRIAL) == (SLOWER,)
    assert ask({MATMUL: fast, NEAR: fast}, TRIAL) == (NOT_SLOWER,)


def test_a_topic_that_the_node_does_not_tune_gets_no_verdict_and_costs_nothing() -> None:
    device = Device({})
    message = to_message(Trials(NEW.digest, (TRIAL,)))
    back = from_message(report(message, {("c", SOFTMAX): SPACES["c", SOFTMAX]}, device.playoff), Report)
    assert back.verdicts == (None,)
    assert device.playoffs == []


def test_all_leaders_run_together_in_one_playoff() -> None:
    device = Device({MATMUL: {0: 1.0}})
    report(
        to_message(Trials(NEW.digest, (TopicTrial(MATMUL_TOPIC, (0, 1), (1, 2)),))),
        {("c", MATMUL): SPACE},
        device.playoff,
    )
    together = tuple(SPACE.genome_at(cell) for cell in (0, 1, 2))
    assert device.playoffs == [(MATMUL, together)]


def test_an_interval_that_reaches_down_to_equal_is_not_slower() -> None:
    old, new = SPACE.genome_at(0), SPACE.genome_at(1)
    (before, after) = Device({MATMUL: {0: 1000, 1: 1500}}).playoff(MATMUL, [old, new])
    assert judge([before, after], [old], [new]) is SLOWER
    wide = msgspec.structs.replace(after, timing=Timing(1500.0, 1.0, 1600.0, 9))
    assert judge([before, wide], [old], [new]) is NOT_SLOWER


def test_a_message_that_is_no_trial_is_refused() -> None:
    with pytest.raises(DataError):
        report(answer(SLOWER), SPACES, Device({}).playoff)
