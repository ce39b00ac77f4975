from __future__ import annotations

import msgspec
import pytest

from quasim.kernels import CostFacts
from quasim.measure import Ratio, timing
from quasim.standing import Contender, Contest, Labels, evaluate_contest
from quasim.trial import Genome, Problem, Status, Trial

PROBLEM = Problem.of("softmax", rows=1, cols=1)
TUNED = ((100,), (200,), (100,))
ABSENT = Contender((), None, detail="no library computes it")


def _contender(*windows: int, work: int = 0) -> Contender:
    each = tuple((window,) for window in windows)
    return Contender(each, timing(each), work)


def _contest(*, ok: bool = True, library: Contender = ABSENT, fma: Contender | None = None) -> Contest:
    best = Trial(
        problem=PROBLEM,
        target="c",
        genome=Genome({"tile": 1}),
        status=Status.OK if ok else Status.CRASHED,
        timing=timing(TUNED) if ok else None,
    )
    return Contest(
        best=best,
        best_windows=TUNED if ok else (),
        default=_contender(200, 400, 200),
        baseline=_contender(1000, 2000, 1000),
        library=library,
        copies=(_contender(50, 100, 50, work=1000), _contender(40, 80, 40, work=1000)),
        fma=fma or _contender(10, 10, 10, work=500),
    )


def test_ratios_are_taken_round_by_round() -> None:
    standing = evaluate_contest(_contest(), CostFacts(flops=500, bytes=1000))
    assert standing.default.ratio == Ratio(2.0, 2.0, 2.0, 3)
    assert standing.baseline.ratio == Ratio(10.0, 10.0, 10.0, 3)


def test_fractions_are_of_the_better_copy_and_of_the_tighter_roof() -> None:
    standing = evaluate_contest(_contest(), CostFacts(flops=500, bytes=1000))
    assert standing.peaks is not None
    assert standing.peaks.copy_bytes_per_s == pytest.approx(1000 / 40e-9)
    assert standing.peaks.flops_per_s == pytest.approx(500 / 10e-9)
    assert standing.stream_fraction is not None
    assert standing.stream_fraction.median == pytest.approx(0.4)
    assert standing.roofline_fraction == pytest.approx(0.4)
    compute_bound = evaluate_contest(_contest(), CostFacts(flops=4000, bytes=1000))
    assert compute_bound.roofline_fraction == pytest.approx(0.8)


def test_unknown_flops_leave_no_roofline() -> None:
    standing = evaluate_contest(_contest(), CostFacts(flops=0, bytes=1000))
    assert standing.roofline_fraction is None
    assert standing.stream_fraction is not None


def test_an_absent_library_has_no_ratio_but_a_reason() -> None:
    standing = evaluate_contest(_contest(), CostFacts(1, 1))
    assert standing.library.timing is None
    assert standing.library.ratio is None
    assert standing.library.detail == "no library computes it"


def test_a_tuned_variant_that_failed_has_no_figures() -> None:
    standing = evaluate_contest(_contest(ok=False), CostFacts(1, 1))
    assert standing.best.status is Status.CRASHED
    assert standing.default.ratio is None
    assert standing.default.timing is not None
    assert standing.stream_fraction is None
    assert standing.roofline_fraction is None


def test_without_peaks_there_are_no_fractions() -> None:
    standing = evaluate_contest(_contest(fma=ABSENT), CostFacts(1, 1))
    assert standing.peaks is None
    assert standing.stream_fraction is None
    assert standing.default.ratio is not None


def test_a_targets_own_names_for_the_rivals_are_kept() -> None:
    labels = Labels(baseline="eager", library="vendor", copy="device copy", flops="vendor product")
    standing = evaluate_contest(msgspec.structs.replace(_contest(), labels=labels), CostFacts(1, 1))
    assert standing.labels == labels
