from __future__ import annotations

import numpy as np
import pytest

from quasim.search import Prior, surrogate
from quasim.search.surrogate import GROWTH, MEMORY, Surrogate
from quasim.space import AtMost, Floats, Parameter, SearchSpace

SPACE = SearchSpace(
    (Parameter("a", (1, 2, 4, 8, 16, 32)), Parameter("b", tuple(range(10))), Parameter("c", (1, 2, 4, 8))),
    (AtMost(("a", "c"), 128),),
)
ALL = np.arange(SPACE.size)
RNG = np.random.default_rng(3)
TOLD = RNG.permutation(SPACE.size)[:60]


def times() -> Floats:
    """A bowl with its bottom at a = 8, b = 6, c = 2."""
    a, b, c = SPACE.rows.T
    return np.asarray(1000 * np.exp(0.2 * (a - 3) ** 2 + 0.05 * (b - 6) ** 2 + 0.3 * (c - 1) ** 2))


def fitted(cells: np.ndarray, times_ns: Floats) -> Surrogate:
    model = Surrogate(SPACE)
    model.fit(cells, times_ns[cells])
    return model


def test_knows_nothing_at_first() -> None:
    expected = Surrogate(SPACE).predict(ALL)
    assert expected.mean.tolist() == [0.0] * SPACE.size
    assert expected.deviation.tolist() == [1.0] * SPACE.size


def test_ranks_what_it_was_not_told_and_is_surer_near_what_it_was() -> None:
    expected = fitted(TOLD, times()).predict(ALL)
    rest = np.setdiff1d(ALL, TOLD)
    assert np.corrcoef(np.argsort(np.argsort(expected.mean[rest])), np.argsort(np.argsort(times()[rest])))[0, 1] > 0.9
    assert expected.deviation[TOLD].mean() < 0.7 * expected.deviation[rest].mean()
    assert expected.mean[TOLD].min() == pytest.approx(0, abs=0.1)


def test_units_do_not_matter() -> None:
    one, other = fitted(TOLD, times()).predict(ALL), fitted(TOLD, 1e6 * times()).predict(ALL)
    assert one.mean == pytest.approx(other.mean, abs=1e-6)


def test_failures_make_their_neighbourhood_unlikely_and_are_no_times() -> None:
    fails = SPACE.rows[:, 0] >= 4
    with_failures = fitted(TOLD, np.where(fails, np.inf, times())).predict(ALL)
    without = fitted(TOLD[~fails[TOLD]], times()).predict(ALL)
    assert with_failures.feasible[fails].mean() < 0.4 < 0.8 < with_failures.feasible[~fails].mean()
    # Scales are learned from other counts of trials; that apart, times are as if nothing had failed.
    assert with_failures.mean == pytest.approx(without.mean, abs=0.1)


def test_all_failed_still_predicts() -> None:
    expected = fitted(TOLD, np.full(SPACE.size, np.inf)).predict(ALL)
    assert np.isfinite(expected.mean).all()
    assert expected.feasible[TOLD].max() < 0.2


@pytest.mark.parametrize("failing", [False, True])
def test_who_asks_once_is_told_the_same_up_to_rounding(failing: bool) -> None:
    some = ALL[::3]
    model = fitted(TOLD, np.where(SPACE.rows[:, 0] >= 4, np.inf, times()) if failing else times())
    for once, table in zip(model.predict_once(some), model.predict(some), strict=True):
        assert once == pytest.approx(table, abs=0.01)


@pytest.mark.parametrize("failing", [False, True])
def test_figures_do_not_depend_on_how_the_trials_came_in(failing: bool) -> None:
    times_ns = np.where(SPACE.rows[:, 0] >= 4, np.inf, times()) if failing else times()
    singly = Surrogate(SPACE)
    for count in range(1, len(TOLD) + 1):
        singly.fit(TOLD[:count], times_ns[TOLD[:count]])
        if count % 3:
            singly.predict(ALL)
    for one, other in zip(singly.predict(ALL), fitted(TOLD, times_ns).predict(ALL), strict=True):
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("new", [500.0, np.inf])
def test_what_is_told_again_replaces_what_was_known(new: float) -> None:
    model = fitted(TOLD, times())
    model.predict(ALL)
    changed = times()
    changed[TOLD[-1]] = new
    model.fit(TOLD, changed[TOLD])
    for one, other in zip(model.predict(ALL), fitted(TOLD, changed).predict(ALL), strict=True):
        assert one.tobytes() == other.tobytes()


def test_space_beyond_the_table_gives_the_same_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    times_ns = np.where(SPACE.rows[:, 0] >= 4, np.inf, times())
    tabled = fitted(TOLD, times_ns).predict(ALL)
    monkeypatch.setattr(surrogate, "TABLE", 10)
    direct = fitted(TOLD, times_ns).predict(ALL)
    assert direct.mean == pytest.approx(tabled.mean, abs=2e-3)
    assert direct.deviation == pytest.approx(tabled.deviation, abs=2e-3)
    assert direct.feasible == pytest.approx(tabled.feasible, abs=1e-3)


def test_of_very_many_trials_the_fastest_and_the_latest_are_kept() -> None:
    space = SearchSpace((Parameter("a", tuple(range(3 * MEMORY))),))
    cells = np.arange(space.size)
    times_ns = 1000.0 + 900 * np.cos(cells / 40)
    model = Surrogate(space)
    model.fit(cells, times_ns)
    expected = model.predict(cells)
    assert expected.mean[-1] == pytest.approx(np.log(times_ns[-1] / times_ns.min()), abs=0.3)
    assert expected.deviation[cells[-1]] < 0.5 * expected.deviation.max()


def test_believes_a_prior_until_it_was_wrong() -> None:
    model = Surrogate(SPACE)
    scores = -np.minimum(np.log(times() / times().min()), 1.0)
    model.expect(Prior(scores, np.ones(SPACE.size), ()))
    assert np.corrcoef(model.predict(ALL).mean, -scores)[0, 1] == pytest.approx(1.0)
    upside_down = times().min() * times().max() / times()
    model.fit(TOLD, upside_down[TOLD])
    assert np.corrcoef(model.predict(ALL).mean, np.log(upside_down))[0, 1] > 0.8
    model.expect(None)
    model.fit(TOLD, upside_down[TOLD])
    assert model.predict(ALL).mean.tobytes() == fitted(TOLD, upside_down).predict(ALL).mean.tobytes()


def test_cells_nobody_knows_count_as_average() -> None:
    weight = (ALL < 2).astype(float)
    model = Surrogate(SPACE)
    model.expect(Prior(np.where(ALL == 0, 0.0, -1.0) * weight, weight, ()))
    mean = model.predict(ALL).mean
    assert mean[0] < mean[5] == 0.0 < mean[1]


def test_fleet_says_where_configurations_fail() -> None:
    share = np.where(SPACE.rows[:, 0] >= 4, 0.1, 1.0)
    model = Surrogate(SPACE)
    model.expect(Prior(np.zeros(SPACE.size), np.ones(SPACE.size), (), feasible=share))
    assert model.predict(ALL).feasible == pytest.approx(share)


def test_relaxed_genomes_agree_with_configurations_and_with_finite_differences() -> None:
    model = fitted(TOLD, times())
    hot = SPACE.one_hot(SPACE.rows)
    mean, _ = model.relaxed(hot)
    assert mean == pytest.approx(model.predict(ALL).mean, abs=5e-3)
    between = 0.7 * hot[TOLD[:3]] + 0.3 * hot[TOLD[3:6]]
    mean, slope = model.relaxed(between)
    for gene in range(hot.shape[1]):
        moved = between.copy()
        moved[:, gene] += 1e-6
        assert (model.relaxed(moved)[0] - mean) / 1e-6 == pytest.approx(slope[:, gene], abs=1e-4)


def test_scales_are_learned_at_a_geometric_series_of_counts() -> None:
    at = [surrogate._learned_at(count) for count in range(400)]
    assert all(now <= count for count, now in enumerate(at))
    assert all(count <= GROWTH * now + 1 for count, now in enumerate(at) if count)
    assert len(set(at)) < 50
