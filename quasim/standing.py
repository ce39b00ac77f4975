"""Where a tuned variant stands: against its default, the fixed baseline, the library, and what the machine can do.

Everything is measured in the same rounds of interleaved windows, so that what disturbs one disturbs all, and ratios
are taken round by round.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import msgspec

from quasim.kernels import CostFacts, family
from quasim.measure import Ratio, Windows, paired_ratio
from quasim.trial import Genome, Problem, Timing, Trial


class Labels(msgspec.Struct, frozen=True):
    """What a target calls those with whom a genome is compared."""

    baseline: str = "fixed baseline (-O3 loop nest)"
    library: str = "library (numpy)"
    copy: str = "STREAM copy"
    flops: str = "float32 multiply-adds"


class Rival(msgspec.Struct, frozen=True):
    """Something that the tuned variant is compared with.

    Attributes:
        timing: None where it does not exist or failed; ``detail`` says why.
        ratio: its time in units of the tuned variant's: above 1, the tuned variant is faster.
    """

    timing: Timing | None
    ratio: Ratio | None
    detail: str = ""


class Peaks(msgspec.Struct, frozen=True):
    """What the machine reached in the same rounds.

    Attributes:
        copy_bytes_per_s: a copy, read plus written: on a CPU STREAM's, the better of plain and non-temporal stores.
        flops_per_s: fused multiply-adds in float32 on a CPU; on a GPU the vendor's matrix product in the format of the
            problem's operands.
    """

    copy_bytes_per_s: float
    flops_per_s: float


class Standing(msgspec.Struct, frozen=True):
    """The standing of one tuned genome on one problem.

    Attributes:
        best: the tuned genome, measured in these rounds; every figure below is None where it failed.
        default, baseline, library: the rivals; the default is that of the search space, the others ``labels`` names.
        stream_fraction: compulsory bytes per second in units of the copy's, with its interval.
        roofline_fraction: least time that the two peaks allow, in units of the measured time.
    """

    problem: Problem
    best: Trial
    default: Rival
    baseline: Rival
    library: Rival
    peaks: Peaks | None
    stream_fraction: Ratio | None
    roofline_fraction: float | None
    labels: Labels = Labels()


class Contender(msgspec.Struct, frozen=True):
    """What one contender showed in the contest.

    Attributes:
        windows: samples in ns, one window per round; empty when it failed.
        timing: of these windows; None when it failed.
        work: bytes or flops of a launch of a peak; 0 for everything else.
    """

    windows: tuple[tuple[int, ...], ...]
    timing: Timing | None
    work: int = 0
    detail: str = ""


class Contest(msgspec.Struct, frozen=True):
    """One set of interleaved windows, as a target measured it."""

    best: Trial
    best_windows: tuple[tuple[int, ...], ...]
    default: Contender
    baseline: Contender
    library: Contender
    copies: tuple[Contender, ...]
    fma: Contender
    labels: Labels = Labels()


@runtime_checkable
class Contestable(Protocol):
    """A target that can let a genome compete; a replayed device cannot."""

    def contest(self, problem: Problem, genome: Genome) -> Contest:
        """Measure the genome, all its rivals and the machine's peaks in one set of interleaved windows."""
        ...


def standing(target: Contestable, problem: Problem, genome: Genome) -> Standing:
    """Where a genome stands on a target."""
    return evaluate_contest(target.contest(problem, genome), family(problem.kernel).cost(problem))


def evaluate_contest(contest: Contest, cost: CostFacts) -> Standing:
    """Ratios and fractions of a contest."""
    tuned = contest.best_windows
    copy = max(contest.copies, key=_rate)
    peaks = Peaks(_rate(copy), _rate(contest.fma)) if _rate(copy) and _rate(contest.fma) else None
    roofline = None
    if peaks and contest.best.timing:
        least_ns = cost.roofline_ns(peaks.flops_per_s, peaks.copy_bytes_per_s)
        roofline = least_ns / contest.best.timing.median_ns if least_ns is not None else None
    return Standing(
        problem=contest.best.problem,
        best=contest.best,
        default=_rival(contest.default, tuned),
        baseline=_rival(contest.baseline, tuned),
        library=_rival(contest.library, tuned),
        peaks=peaks,
        stream_fraction=_scaled(paired_ratio(copy.windows, tuned), cost.bytes / copy.work) if peaks and tuned else None,
        roofline_fraction=roofline,
        labels=contest.labels,
    )


def _rival(contender: Contender, tuned: Windows) -> Rival:
    ratio = paired_ratio(contender.windows, tuned) if contender.windows and tuned else None
    return Rival(contender.timing, ratio, contender.detail)


def _rate(peak: Contender) -> float:
    """Work per second; 0 for a peak that failed."""
    return 1e9 * peak.work / peak.timing.median_ns if peak.timing else 0.0


def _scaled(ratio: Ratio, factor: float) -> Ratio:
    return Ratio(ratio.median * factor, ratio.low * factor, ratio.high * factor, ratio.rounds)
