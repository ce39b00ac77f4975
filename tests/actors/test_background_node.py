from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path

import msgspec
import pytest

from actors.background import DAY_NS, Allowance, Evolve, Rest, Retrain, Terms
from actors.background_node import BackgroundNode, Clocks
from actors.background_search import Aim
from quasim.errors import DataError
from quasim.targets.replay import ReplayTarget
from quasim.trial import Genome, Problem, Trial
from quasim.tuned import Conditions, Effort, Miss, Tuned, TunedCache
from storage.ownership import InUseError

NOON = 20_000 * DAY_NS + DAY_NS // 2
STEP_NS = 10**9
"""The stopwatch's, per read: every turn takes a second."""


class Bench:
    """Nodes on one folder and cache, over recordings that the test may change."""

    def __init__(self, tmp_path: Path, *recordings: tuple[int, Path]) -> None:
        self.recordings = recordings
        self.folder, self.cache = tmp_path / "state", TunedCache(tmp_path / "tuned")
        self.now_ns = NOON
        self.said: list[str] = []
        self.opened = 0
        self.strategy = "random"
        self.open_target: Callable[[], ReplayTarget] = self._open

    def _open(self) -> ReplayTarget:
        self.opened += 1
        return ReplayTarget("replay", self.recordings)

    @property
    def problem(self) -> Problem:
        return self._open().problem

    def node(self, seconds: float = 1000.0) -> BackgroundNode:
        ticks = count(0, STEP_NS)
        terms = Terms(Allowance(seconds=seconds), genomes=8, retrain_ns=DAY_NS, look_ns=STEP_NS)
        clocks = Clocks(lambda: self.now_ns, lambda: next(ticks))
        aims = (Aim(self.problem, 1.0, self.strategy, 7),)
        return BackgroundNode(self.folder, aims, terms, self.open_target, self.cache, clocks, self.said.append)

    def kept(self) -> Tuned | Miss:
        return self.cache.look(self.problem, Conditions.of(self._open(), self.problem))


@pytest.fixture
def bench(tmp_path: Path, recorded_space: Path) -> Bench:
    return Bench(tmp_path, (0, recorded_space))


def turns(node: BackgroundNode, most: int) -> Iterator[Evolve | Retrain]:
    for _ in range(most):
        decision = node.decide("")
        if isinstance(decision, Rest):
            return
        node.run(decision)
        yield decision


def finalists(bench: Bench) -> list[Genome]:
    """What playoffs measure from now on, in order."""
    measured: list[Genome] = []

    class Watched(ReplayTarget):
        def playoff(self, problem: Problem, genomes: Sequence[Genome], *, metered: bool = True) -> list[Trial]:
            measured.extend(genomes)
            return super().playoff(problem, genomes, metered=metered)

    bench.open_target = lambda: Watched("replay", bench.recordings)
    return measured


def test_idle_time_evolves_and_the_best_is_in_the_cache(bench: Bench) -> None:
    node = bench.node()
    assert [turn.genomes for turn in turns(node, 4) if isinstance(turn, Evolve)] == [2, 8, 8, 8]
    (progress,) = node.snapshot().problems
    assert (progress.evaluations, progress.paid, progress.seconds) == (26, 26, 4.0)
    kept = bench.kept()
    assert isinstance(kept, Tuned)
    assert kept.best.time_ns == progress.best_ns
    assert kept.effort.tuned_at == "2024-10-04T12:00:00+00:00"
    node.close()


def test_the_allowance_of_a_day_is_kept_and_the_next_day_goes_on(bench: Bench) -> None:
    node = bench.node(seconds=3.0)
    assert len(list(turns(node, 9))) == 3
    assert node.decide("") == Rest((NOON // DAY_NS + 1) * DAY_NS, "today's 3 s are used up")
    bench.now_ns += DAY_NS // 2
    assert isinstance(node.decide(""), Evolve)
    assert node.snapshot().spending.seconds == 0
    node.close()


def test_unmetered_turns_count_time_alone_and_say_so(bench: Bench) -> None:
    node = bench.node()
    turn = node.run(Evolve(bench.problem, 2))
    assert (turn.seconds, turn.joules) == (1.0, None)
    assert "no meter" in turn.unmetered
    assert "no meter" in node.snapshot().spending.unmetered
    node.close()


def test_a_stopped_node_goes_on_as_if_it_had_never_stopped(tmp_path: Path, recorded_space: Path) -> None:
    whole, parts = (Bench(tmp_path / name, (0, recorded_space)) for name in "ab")
    node = whole.node()
    list(turns(node, 6))
    for _ in range(3):
        part = parts.node()
        list(turns(part, 2))
        part.close()
    again = parts.node()
    assert again.snapshot() == node.snapshot()
    assert parts.said == []
    node.close()
    again.close()


def test_a_turn_that_is_cut_short_is_paid_for_and_counts_for_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = bench.node()
    list(turns(node, 2))
    before = node.snapshot()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ReplayTarget, "evaluate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            node.run(Evolve(bench.problem, 8))
    node.close()
    node = bench.node()
    assert node.snapshot().problems == before.problems
    assert node.snapshot().spending.seconds == before.spending.seconds + 1
    assert isinstance(node.run(Evolve(bench.problem, 8)).after_ns, float)
    node.close()


def test_other_versions_begin_anew_and_say_what_changed(bench: Bench, slower_space: Path) -> None:
    node = bench.node()
    list(turns(node, 3))
    node.close()
    bench.recordings = ((0, slower_space),)
    assert isinstance(bench.kept(), Miss)
    node = bench.node()
    assert node.snapshot().problems[0].evaluations == 0
    assert len(bench.said) == 1
    assert "begins anew: recording-0" in bench.said[0]
    node.close()


def test_versions_that_change_while_a_node_runs_are_noticed_when_it_retrains(bench: Bench, slower_space: Path) -> None:
    node = bench.node()
    list(turns(node, 3))
    bench.recordings = ((0, slower_space),)
    bench.now_ns += DAY_NS
    assert node.decide("") == Retrain()
    node.run(Retrain())
    assert "begins anew: recording-0" in bench.said[0]
    assert isinstance(node.decide(""), Evolve)
    node.close()


def test_retraining_a_device_that_did_not_change_keeps_what_is_known(bench: Bench) -> None:
    node = bench.node()
    list(turns(node, 5))
    before, kept = node.snapshot().problems, bench.kept()
    bench.now_ns += DAY_NS
    assert list(turns(node, 1)) == [Retrain()]
    assert node.snapshot().problems == before
    assert bench.kept() == kept
    assert isinstance(node.decide(""), Evolve)
    node.close()


def test_a_device_that_changed_without_a_name_for_it_is_noticed_and_its_cached_result_replaced(
    tmp_path: Path, recorded_space: Path, slower_space: Path
) -> None:
    # The recording changes with the sixth turn, and the device keeps all its names.
    bench = Bench(tmp_path, (0, slower_space), (5, recorded_space))
    node = bench.node()
    list(turns(node, 5))
    kept = bench.kept()
    bench.now_ns += DAY_NS
    assert list(turns(node, 1)) == [Retrain()]
    assert "what was known of it is dropped" in bench.said[0]
    (progress,) = node.snapshot().problems
    assert progress.curve == ((5, progress.best_ns),)
    now = bench.kept()
    assert isinstance(kept, Tuned)
    assert isinstance(now, Tuned)
    assert now.best.time_ns == progress.best_ns != kept.best.time_ns
    node.close()


def test_a_better_result_of_somebody_else_stays_in_the_cache(bench: Bench) -> None:
    target = ReplayTarget("replay", bench.recordings)
    space = target.space(bench.problem)
    trials = target.evaluate(bench.problem, [space.genome_at(cell) for cell in range(space.size)])
    best = min(trials, key=lambda trial: trial.time_ns)
    theirs = Tuned(bench.problem, Conditions.of(target, bench.problem), best, Effort(240, "evolution", "2026-11-22"))
    bench.cache.keep(theirs)
    node = bench.node()
    list(turns(node, 4))
    kept = bench.kept()
    assert isinstance(kept, Tuned)
    assert kept.best.genome == best.genome
    assert kept.effort.evaluations == 240
    node.close()


def test_the_best_under_other_versions_is_tried_again(bench: Bench, slower_space: Path) -> None:
    node = bench.node()
    list(turns(node, 12))
    node.close()
    old = bench.kept()
    assert isinstance(old, Tuned)
    bench.recordings = ((0, slower_space),)
    measured = finalists(bench)
    node = bench.node()
    list(turns(node, 1))
    assert old.best.genome in measured
    node.close()


def test_the_best_under_other_conditions_is_left_alone_where_this_space_does_not_hold_it(bench: Bench) -> None:
    target = ReplayTarget("replay", bench.recordings)
    (trial,) = target.evaluate(bench.problem, [target.space(bench.problem).genome_at(0)])
    foreign = msgspec.structs.replace(trial, genome=Genome({"of_another_space": 1}))
    conditions = msgspec.structs.replace(Conditions.of(target, bench.problem), space="b" * 64)
    bench.cache.keep(Tuned(bench.problem, conditions, foreign, Effort(240, "evolution", "2026-11-22")))
    measured = finalists(bench)
    node = bench.node()
    assert len(list(turns(node, 2))) == 2
    assert measured
    assert foreign.genome not in measured
    node.close()


def test_a_whole_space_is_searched_once(bench: Bench) -> None:
    node = bench.node()
    searched = sum(turn.genomes for turn in turns(node, 100) if isinstance(turn, Evolve))
    assert searched == 240
    assert node.decide("") == Rest(NOON + DAY_NS, "every search space was searched whole")
    node.close()


def test_another_strategy_begins_anew(bench: Bench) -> None:
    node = bench.node()
    list(turns(node, 2))
    node.close()
    bench.strategy = "evolution"
    node = bench.node()
    assert bench.said == [f"{bench.problem} begins anew: strategy evolution (was random)"]
    node.close()


def test_a_state_of_another_strategys_version_begins_anew(bench: Bench) -> None:
    node = bench.node()
    list(turns(node, 2))
    node.close()
    state = msgspec.json.decode((bench.folder / "state.json").read_bytes())
    state["searches"][0]["loop"] = "{}"
    (bench.folder / "state.json").write_bytes(msgspec.json.encode(state))
    node = bench.node()
    assert "begins anew: node state cannot be read" in bench.said[0]
    node.close()


def test_a_damaged_state_is_bad_data_and_two_nodes_share_no_folder(bench: Bench) -> None:
    node = bench.node()
    with pytest.raises(InUseError):
        bench.node()
    node.close()
    (bench.folder / "state.json").write_text("{")
    with pytest.raises(DataError, match="state"):
        bench.node()
