"""Search strategies: they propose genomes (``ask``) and learn from trials (``tell``), found by name."""

from __future__ import annotations

from quasim.errors import UnknownNameError
from quasim.search import drift
from quasim.search._base import Prior, Strategy
from quasim.search.evolution import Evolution
from quasim.search.gradient import Gradient
from quasim.search.improvement import Improvement
from quasim.search.ising import Ising
from quasim.search.pareto_search import Pareto
from quasim.search.portfolio import Portfolio
from quasim.search.random import Random
from quasim.search.recording import RecordingStrategy
from quasim.space import SearchSpace

__all__ = ["Prior", "Strategy", "drift", "strategies", "strategy"]

_STRATEGIES: dict[str, type[RecordingStrategy]] = {
    kind.name: kind for kind in (Evolution, Gradient, Improvement, Ising, Pareto, Portfolio, Random)
}


def strategies() -> tuple[str, ...]:
    """Names of all strategies, sorted."""
    return tuple(sorted(_STRATEGIES))


def strategy(name: str, space: SearchSpace, seed: int) -> Strategy:
    """A new strategy on a space.

    Raises:
        UnknownNameError: there is no such strategy.
    """
    if name not in _STRATEGIES:
        raise UnknownNameError(f"unknown strategy {name!r}", f"choose one of {', '.join(strategies())}")
    return _STRATEGIES[name](space, seed)
