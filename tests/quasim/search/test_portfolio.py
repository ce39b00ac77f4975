from __future__ import annotations

import json

import pytest

from quasim.errors import DataError
from quasim.search import strategy
from quasim.search.portfolio import MEMBERS, Portfolio
from quasim.search.trace import Traced
from quasim.trial import Genome
from tests.quasim.search.conformance import SPACE, StrategyConformance, run, trial
from tests.quasim.search.test_evolution import WIDE, evaluations_to, valley


def own(search: Portfolio) -> dict[str, list[float]]:
    parts: dict[str, list[float]] = json.loads(search.state())["own"]
    return parts


class TestPortfolio(StrategyConformance):
    name = "portfolio"

    def test_finds_the_optimum_in_few_evaluations(self) -> None:
        assert max(evaluations_to(strategy("portfolio", WIDE, seed), valley, 1.0) for seed in range(3)) <= 100

    def test_every_member_is_asked_in_time(self) -> None:
        search = Portfolio(WIDE, 3)
        asked: set[float] = set()
        for _ in range(40):
            genomes = search.ask(4)
            asked.update(own(search)["asked"][1::2])
            search.tell([trial(genome, 1000 * valley(genome)) for genome in genomes])
        # Random, the last of them, has the least odds.
        assert asked >= set(range(len(MEMBERS) - 1))

    def test_who_finds_a_new_best_earns_and_what_was_earned_fades(self) -> None:
        search = Portfolio(SPACE, 1)
        genomes = search.ask(4)
        asker = int(own(search)["asked"][1])
        search.tell([trial(genomes[0], 10.0)])
        earned = own(search)["earned"]
        assert earned[asker] == 1
        search.tell([trial(genome, 20.0) for genome in genomes[1:]])
        assert 0 < own(search)["earned"][asker] < 1

    def test_what_nobody_asked_for_earns_nothing(self) -> None:
        search = Portfolio(SPACE, 1)
        search.tell([trial(SPACE.genome_at(3), 1.0)])
        assert not any(own(search)["earned"])

    def test_traces_are_those_of_the_members(self) -> None:
        search = Portfolio(SPACE, 1)
        run(search, 5)
        assert isinstance(search, Traced)
        assert set(search.traces()) == {"gradient", "ising"}

    @pytest.mark.parametrize(
        "damage",
        [
            {"earned": [0.0]},
            {"earned": [-1.0, 0.0, 0.0, 0.0, 0.0]},
            {"asked": [1.0]},
            {"asked": [1.0, 99.0]},
            {"asked": [0.5, 1.0]},
            {"nobody.logits": [0.0]},
        ],
    )
    def test_state_with_parts_that_do_not_fit_is_refused(self, damage: dict[str, list[float]]) -> None:
        search = self.make()
        run(search, 2)
        before = search.state()
        state = json.loads(before)
        with pytest.raises(DataError, match="do not fit"):
            search.restore(json.dumps({**state, "own": {**state["own"], **damage}}).encode())
        assert search.state() == before

    def test_damaged_part_of_a_member_changes_no_other(self) -> None:
        search = self.make()
        run(search, 2)
        before = search.state()
        state = json.loads(before)
        state["own"]["evolution.logits"] = [0.0]
        with pytest.raises(DataError, match="state of evolution"):
            search.restore(json.dumps(state).encode())
        assert search.state() == before

    def test_one_told_trial_is_known_to_all(self) -> None:
        search = Portfolio(SPACE, 1)
        told: Genome = SPACE.genome_at(7)
        search.tell([trial(told)])
        assert told not in search.ask(SPACE.size)
