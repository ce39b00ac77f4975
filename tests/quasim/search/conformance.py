"""What every search strategy must do. A strategy's test inherits ``StrategyConformance`` and names it."""

from __future__ import annotations

import json
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quasim.errors import DataError, SpaceError
from quasim.search import Prior, Strategy, strategy
from quasim.space import AtMost, Divides, Kind, Parameter, SearchSpace
from quasim.trial import Genome, Problem, Status, Timing, Trial

PROBLEM = Problem.of("bowl", n=1)

SPACE = SearchSpace(
    (
        Parameter("tile", (8, 16, 32, 64, 128)),
        Parameter("micro", (2, 3, 4, 6)),
        Parameter("threads", (1, 2, 4)),
        Parameter("layout", ("row", "column"), Kind.CATEGORICAL),
    ),
    (Divides("micro", ("tile",)), AtMost(("tile", "threads"), 256)),
)
"""Four parameters, 64 of 120 combinations valid."""

ONE = SearchSpace((Parameter("tile", (8,)),))


def slowness(genome: Genome) -> float:
    """A bowl with its bottom at tile=32, micro=4, threads=4, layout=column."""
    return (
        1
        + abs(math.log2(genome.integer("tile") / 32))
        + abs(genome.integer("micro") - 4)
        + abs(math.log2(genome.integer("threads") / 4))
        + (genome["layout"] == "row")
    )


def trial(genome: Genome, time_ns: float | None = None) -> Trial:
    """A trial of a genome, as slow as the bowl says."""
    time_ns = 1000 * slowness(genome) if time_ns is None else time_ns
    timing = Timing(time_ns, 0.99 * time_ns, 1.01 * time_ns, 5)
    return Trial(problem=PROBLEM, target="bowl", genome=genome, status=Status.OK, timing=timing)


def failed(genome: Genome) -> Trial:
    return Trial(problem=PROBLEM, target="bowl", genome=genome, status=Status.COMPILE_ERROR)


def prior(space: SearchSpace, *candidates: Genome, weight: float = 0.0, best: int = 0) -> Prior:
    """A prior that, with a weight, holds one cell for best and all others for hopeless."""
    mean = np.where(np.arange(space.size) == best, 0.0, -1.0) if weight else np.zeros(space.size)
    return Prior(mean, np.full(space.size, weight), candidates)


def run(search: Strategy, rounds: int, batch: int = 5) -> list[Genome]:
    """Ask and tell; what was asked, in order."""
    asked: list[Genome] = []
    for _ in range(rounds):
        genomes = search.ask(batch)
        search.tell([failed(g) if g["tile"] == 128 else trial(g) for g in genomes])
        asked += genomes
    return asked


class StrategyConformance:
    """Inherit, and set ``name``."""

    name = ""

    def make(self, seed: int = 1, space: SearchSpace = SPACE) -> Strategy:
        return strategy(self.name, space, seed)

    def test_asks_are_distinct_valid_and_new(self) -> None:
        # Within the test: hypothesis wants one executor a function, and each strategy inherits this one.
        @settings(max_examples=25, deadline=None)
        @given(seed=st.integers(0, 2**63), batches=st.lists(st.integers(0, 30), max_size=6), fails=st.booleans())
        def check(seed: int, batches: list[int], fails: bool) -> None:
            search, told = self.make(seed), set[Genome]()
            for count in batches:
                genomes = search.ask(count)
                assert len(genomes) == len(set(genomes)) == min(count, SPACE.size - len(told))
                assert all(SPACE.contains(genome) for genome in genomes)
                assert told.isdisjoint(genomes)
                search.tell([failed(g) if fails else trial(g) for g in genomes])
                told.update(genomes)

        check()

    def test_same_seed_and_trials_give_same_asks(self) -> None:
        assert run(self.make(7), 9) == run(self.make(7), 9)
        assert self.make(7).state() == self.make(7).state()

    def test_other_seeds_ask_otherwise(self) -> None:
        assert run(self.make(7), 3) != run(self.make(8), 3)

    def test_small_space_is_exhausted_and_then_nothing_comes(self) -> None:
        search = self.make()
        assert len(set(run(search, 20))) == SPACE.size
        assert search.ask(5) == []
        only = self.make(space=ONE)
        assert only.ask(3) == [Genome({"tile": 8})]

    def test_what_was_handed_out_comes_again_only_when_nothing_else_is_left(self) -> None:
        search = self.make()
        first = search.ask(SPACE.size - 1)
        [last, again] = search.ask(2)
        assert last not in first
        assert again == first[0]
        assert set(search.ask(SPACE.size)) == {*first, last}

    def test_all_failed_trials_leave_no_best_and_do_not_end_the_search(self) -> None:
        search = self.make()
        for _ in range(4):
            search.tell([failed(genome) for genome in search.ask(10)])
        assert search.best(3) == []
        assert len(search.ask(10)) == 10

    def test_best_is_sorted_and_holds_ok_trials_only(self) -> None:
        search = self.make()
        genomes = search.ask(6)
        search.tell([failed(genomes[0]), *(trial(g, 100.0 * (6 - i)) for i, g in enumerate(genomes[1:]))])
        assert [t.genome for t in search.best(3)] == genomes[:2:-1]
        assert len(search.best(100)) == 5

    def test_genome_told_again_replaces_what_was_known(self) -> None:
        search = self.make()
        one, two = search.ask(2)
        search.tell([trial(one, 100.0), trial(two, 200.0)])
        search.tell([trial(one, 300.0)])
        assert [t.time_ns for t in search.best(2)] == [200.0, 300.0]
        search.tell([failed(two)])
        assert [t.genome for t in search.best(2)] == [one]

    def test_told_without_being_asked_is_learned_too(self) -> None:
        search, genome = self.make(), SPACE.genome_at(3)
        search.tell([trial(genome)])
        assert search.best() == [trial(genome)]
        assert genome not in search.ask(SPACE.size)

    def test_trial_of_another_space_is_refused_and_nothing_is_learned(self) -> None:
        search = self.make()
        before = search.state()
        with pytest.raises(SpaceError, match="tile=9"):
            search.tell([trial(SPACE.genome_at(0)), failed(Genome({**SPACE.genome_at(0), "tile": 9}))])
        assert search.state() == before

    def test_restored_strategy_goes_on_as_if_never_stopped(self) -> None:
        search = self.make()
        told = prior(SPACE, *(SPACE.genome_at(cell) for cell in range(7)), weight=1.0, best=3)
        share = np.linspace(0.1, 1.0, SPACE.size)
        told = msgspec.structs.replace(
            told, spread=share, feasible=share[::-1], energy=prior(SPACE, weight=2.0, best=5)
        )
        search.adopt(told)
        run(search, 3)
        search.ask(2)
        again = self.make(seed=99)
        again.restore(search.state())
        assert again.state() == search.state()
        assert run(again, 6) == run(search, 6)
        assert again.best(9) == search.best(9)
        assert again.state() == search.state()

    def test_restored_strategy_still_forgets_alike(self) -> None:
        search = self.make()
        run(search, 6)
        search.forget()
        again = self.make(seed=99)
        again.restore(search.state())
        assert run(again, 6) == run(search, 6)

    @pytest.mark.parametrize(
        "damage",
        [
            {"strategy": "other"},
            {"space": "0" * 64},
            {"pending": [SPACE.size]},
            {"queue": [-1]},
            {"rng": {"state": "x", "inc": "1", "has_uint32": 0, "uinteger": 0}},
            {"rng": {"state": "-1", "inc": "1", "has_uint32": 0, "uinteger": 0}},
            {"own": {"unheard": [1.0]}},
            {"more": 1},
        ],
    )
    def test_damaged_state_is_refused_and_nothing_changes(self, damage: dict[str, object]) -> None:
        search = self.make()
        run(search, 2)
        before = search.state()
        state = json.loads(before)
        with pytest.raises(DataError, match="state of"):
            search.restore(json.dumps({**state, **damage}).encode())
        state["trials"][0]["genome"]["tile"] = 9
        with pytest.raises(DataError, match="tile=9"):
            search.restore(json.dumps(state).encode())
        assert search.state() == before

    def test_candidates_of_a_prior_are_asked_first_best_first(self) -> None:
        search = self.make()
        tried = SPACE.genome_at(20)
        search.tell([trial(tried)])
        foreign = Genome({**SPACE.genome_at(0), "tile": 9})
        candidates = [SPACE.genome_at(cell) for cell in (30, 5, 12)]
        search.adopt(prior(SPACE, candidates[0], foreign, tried, *candidates[1:]))
        assert search.ask(2) == candidates[:2]
        later = search.ask(4)
        assert later[0] == candidates[2]
        assert set(later).isdisjoint(candidates[:2])

    def test_prior_of_another_size_is_refused(self) -> None:
        with pytest.raises(SpaceError, match="does not fit"):
            self.make().adopt(prior(ONE))

    def test_forget_drops_times_and_asks_the_elites_again_first(self) -> None:
        search = self.make()
        run(search, 8)
        best = search.best()[0].genome
        search.forget()
        assert search.best() == []
        again = search.ask(10)
        assert again[0] == best
        search.tell([trial(g, 5000.0 + i) for i, g in enumerate(again)])
        assert search.best()[0].time_ns == 5000.0
        assert len(set(run(search, 20))) == SPACE.size - 10

    def test_forget_before_any_trial_changes_no_promise(self) -> None:
        search = self.make()
        search.forget()
        assert len(search.ask(4)) == 4

    def test_entropy_starts_at_1_and_stays_within_0_and_1(self) -> None:
        search = self.make()
        assert search.entropy() == pytest.approx(1.0)
        run(search, 10)
        assert 0 <= search.entropy() <= 1 + 1e-12

    def test_nothing_asked_or_told_changes_nothing(self) -> None:
        search = self.make()
        before = search.state()
        assert search.ask(0) == []
        search.tell([])
        assert search.state() == before
