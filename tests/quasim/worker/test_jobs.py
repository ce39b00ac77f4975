from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from quasim.kernels import Array, family
from quasim.machine import this_machine
from quasim.trial import Problem, Status
from quasim.worker.jobs import CACHES_TO_FILL, Desk
from quasim.worker.prepared import Bench
from quasim.worker.protocol import Entry, Failed, Library, Outcome, Plan, Prepare, Prepared, Ran, Run, Variant
from tests.quasim.worker.variants import PROBLEM, variant

QUICK = Plan(window_ns=10**12, min_samples=3, max_samples=5)
"""Ends by the number of samples alone, however busy the machine is."""


@pytest.fixture(scope="module")
def desk() -> Desk:
    desk = Desk(1 << 30)
    assert isinstance(desk.serve(Prepare(PROBLEM, 3)), Prepared)
    return desk


def _run(
    desk: Desk, *entries: Entry, plan: Plan = QUICK, order_seed: int = 0, best_ns: float | None = None
) -> list[Outcome]:
    ran = desk.serve(Run(PROBLEM, 3, entries, plan, order_seed, best_ns))
    assert isinstance(ran, Ran)
    return list(ran.outcomes)


def test_prepared_sets_exceed_the_last_level_cache() -> None:
    prepared = Desk(4 << 30).serve(Prepare(Problem.of("stencil2d", h=300, w=300), 1))
    assert isinstance(prepared, Prepared)
    assert prepared.sets * prepared.set_bytes > CACHES_TO_FILL * this_machine().llc_bytes


def test_inputs_are_the_same_for_the_same_seed_and_differ_for_another() -> None:
    def inputs(seed: int) -> Array:
        return Bench(PROBLEM, seed, 1).arena.sets[0]["x"]

    np.testing.assert_array_equal(inputs(1), inputs(1))
    assert (inputs(1) != inputs(2)).any()


def test_consecutive_launches_use_consecutive_sets() -> None:
    bench = Bench(PROBLEM, 1, 6 * 2 * 4 * 20 * 37)
    count = len(bench.arena.sets)
    assert [bench.next_set() for _ in range(count)] == [*range(1, count), 0]


def test_a_right_variant_is_timed_with_both_errors(desk: Desk, tmp_path: Path) -> None:
    (outcome,) = _run(desk, variant(tmp_path))
    assert outcome.status is Status.OK
    assert outcome.error_frobenius is not None
    assert 0 < outcome.error_frobenius < 1e-6
    assert outcome.error_componentwise is not None
    assert [len(window) for window in outcome.windows] == [QUICK.max_samples]
    assert outcome.measure_ns is not None
    assert sum(outcome.windows[0]) <= outcome.measure_ns
    assert outcome.check_ns


@pytest.mark.parametrize(
    ("after", "detail"),
    [
        ("y[w + 1] = NAN;", "the answer holds NaN"),
        ("y[w + 1] = INFINITY;", "the answer holds infinities"),
        ("y[w + 1] += 1.0f;", "error .* is above the tolerance"),
        ("y[0] = 1.0f;", "wrote outside the elements that the kernel covers"),
        ("y[h * w] = 1.0f;", "wrote past the end of an array"),
        ("x[5] = 1.0f;", "wrote into its input x"),
    ],
)
def test_a_wrong_answer_is_told_and_not_timed(desk: Desk, tmp_path: Path, after: str, detail: str) -> None:
    wrong, right = _run(desk, variant(tmp_path, after=after), variant(tmp_path))
    assert wrong.status is Status.WRONG_RESULT
    assert re.search(detail, wrong.detail)
    assert wrong.windows == ()
    assert right.status is Status.OK


def test_an_element_that_is_never_written_is_a_wrong_answer(desk: Desk, tmp_path: Path) -> None:
    (outcome,) = _run(desk, variant(tmp_path, before="return 0;"))
    assert outcome.status is Status.WRONG_RESULT


def test_a_refused_launch_is_a_launch_error(desk: Desk, tmp_path: Path) -> None:
    (outcome,) = _run(desk, variant(tmp_path, before="return 1;"))
    assert outcome.status is Status.LAUNCH_ERROR
    assert "memory" in outcome.detail


def test_a_launch_that_fails_while_timed_is_a_launch_error(desk: Desk, tmp_path: Path) -> None:
    (outcome,) = _run(desk, variant(tmp_path, before="if (calls > 3) return 1;"))
    assert outcome.status is Status.LAUNCH_ERROR
    assert outcome.detail.startswith("while timed: ")


def test_a_library_that_cannot_be_loaded_is_a_launch_error(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "broken.so"
    path.write_bytes(b"not a library")
    (outcome,) = _run(desk, Variant(str(path)))
    assert outcome.status is Status.LAUNCH_ERROR


def test_interleaved_entries_have_one_window_each_round(desk: Desk, tmp_path: Path) -> None:
    plan = Plan(rounds=3, window_ns=10**12, min_samples=1, max_samples=4)
    outcomes = _run(desk, variant(tmp_path), Library(), plan=plan)
    assert [[len(window) for window in outcome.windows] for outcome in outcomes] == [[4, 4, 4]] * 2


def test_a_hopeless_variant_gives_up_after_three_samples(desk: Desk, tmp_path: Path) -> None:
    slow = variant(tmp_path, before="usleep(200);")
    plan = Plan(window_ns=10**12, min_samples=20, max_samples=20)
    (raced,) = _run(desk, slow, plan=plan, best_ns=10_000.0)
    (hopeful,) = _run(desk, slow, plan=plan, best_ns=10.0**12)
    (unraced,) = _run(desk, slow, plan=plan)
    assert [len(outcome.windows[0]) for outcome in (raced, hopeful, unraced)] == [3, 20, 20]


def test_a_launch_as_long_as_a_window_needs_no_warming_up(desk: Desk, tmp_path: Path) -> None:
    (outcome,) = _run(desk, variant(tmp_path, before="usleep(3000);"), plan=Plan(window_ns=1_000_000))
    assert len(outcome.windows[0]) == 1


@pytest.mark.parametrize("name", ["matmul", "softmax", "stencil2d"])
def test_every_familys_library_is_right(desk: Desk, name: str) -> None:
    problem = Problem(name, tuple((dim.name, 40) for dim in family(name).kernel.dims))
    desk.serve(Prepare(problem, 3))
    ran = desk.serve(Run(problem, 3, (Library(),), QUICK))
    assert isinstance(ran, Ran)
    assert ran.outcomes[0].status is Status.OK, ran.outcomes[0].detail


def test_a_problem_that_does_not_fit_is_a_failure_and_the_desk_lives_on(tmp_path: Path) -> None:
    desk = Desk(1 << 30)
    failed = desk.serve(Prepare(Problem.of("nonsense", h=3), 3))
    assert isinstance(failed, Failed)
    assert "nonsense" in failed.detail
    assert isinstance(desk.serve(Prepare(PROBLEM, 3)), Prepared)


def test_problems_asked_for_longest_ago_make_room() -> None:
    problems = [Problem.of("stencil2d", h=60, w=60 + i) for i in range(3)]
    one = Bench(problems[0], 0, CACHES_TO_FILL * this_machine().llc_bytes).bytes
    desk = Desk(int(2.5 * one / 0.4))
    for problem in (problems[0], problems[1], problems[0], problems[2]):
        desk.serve(Prepare(problem, 0))
    assert isinstance(desk.serve(Run(problems[0], 0, (Library(),), QUICK)), Ran)
    assert isinstance(desk.serve(Run(problems[1], 0, (Library(),), QUICK)), Failed)
