from __future__ import annotations

import pytest

from quasim.errors import ExitCode, UnknownNameError
from quasim.search import strategies, strategy
from tests.quasim.search.conformance import SPACE


def test_each_registered_name_makes_that_strategy() -> None:
    assert strategies() == ("evolution", "gradient", "improvement", "ising", "pareto", "portfolio", "random")
    assert [strategy(name, SPACE, 0).name for name in strategies()] == list(strategies())


def test_unknown_name_says_which_there_are() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown strategy 'annealing': choose one of evolution, gradient") as e:
        strategy("annealing", SPACE, 0)
    assert e.value.exit_code is ExitCode.CONFIG
