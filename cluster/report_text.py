"""The report as text for people: rich tables, every figure with its unit, what was not measured says so."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from cluster.report import FleetReport, KernelReport, Report
from quasim.measure import Ratio
from quasim.standing import Rival, Standing
from quasim.trial import Timing, Trial


def render(report: Report) -> Iterator[RenderableType]:
    """The parts of the report, top to bottom."""
    devices = "; ".join(f"{d.name} ({d.family})" for d in report.devices)
    yield Text(f"{report.name} on {devices}", style="bold")
    for kernel in report.kernels:
        yield _kernel(kernel)
    yield _selection(report.fleet)
    yield from _fleet(report.fleet)


def _kernel(kernel: KernelReport) -> Table:
    table = Table(title=str(kernel.problem), title_justify="left", show_header=False)
    for name, value in _facts(kernel):
        table.add_row(name, value)
    return table


def _facts(kernel: KernelReport) -> Iterator[tuple[str, str]]:
    counts = ", ".join(f"{count} {status}" for status, count in kernel.by_status.items())
    if kernel.best is None:
        yield "best", "nothing worked"
    else:
        yield from best_facts(kernel.best, kernel.standing)
    yield "searched genomes", f"{counts}; {kernel.evaluations} measurements with playoffs"


def best_facts(best: Trial, standing: Standing | None) -> Iterator[tuple[str, str]]:
    """(name, value) of a best genome: time, rivals, errors, energy."""
    yield "best time", time_text(standing.best.timing if standing and standing.best.timing else best.timing)
    yield "best genome", str(best.genome)
    if standing is not None:
        yield from _standing(standing)
    yield "error", error_text(best)
    yield "energy", energy_text(best)


def _standing(standing: Standing) -> Iterator[tuple[str, str]]:
    yield "default genome", _rival(standing.default)
    yield "fixed baseline (-O3 loop nest)", _rival(standing.baseline)
    yield "library (numpy)", _rival(standing.library)
    if standing.stream_fraction is not None:
        yield "bandwidth / STREAM copy", ratio_text(standing.stream_fraction)
    if standing.peaks is not None and standing.roofline_fraction is not None:
        peaks = f"{standing.peaks.flops_per_s / 1e9:.0f} GFLOP/s, {standing.peaks.copy_bytes_per_s / 1e9:.1f} GB/s"
        yield "roofline fraction", f"{standing.roofline_fraction:.2f} of measured peaks {peaks}"


def _rival(rival: Rival) -> str:
    if rival.ratio is None:
        return f"not measured: {rival.detail or 'there is none'}"
    return f"{ratio_text(rival.ratio)} as long ({time_text(rival.timing)})"


def ratio_text(ratio: Ratio) -> str:
    """``1.96x [1.90, 2.01]``."""
    return f"{ratio.median:.3g}x [{ratio.low:.3g}, {ratio.high:.3g}]"


def time_text(timing: Timing | None) -> str:
    """``4.71 ms [4.68, 4.80]``."""
    if timing is None:
        return "not timed"
    return f"{timing.median_ns / 1e6:.4g} ms [{timing.low_ns / 1e6:.4g}, {timing.high_ns / 1e6:.4g}]"


def error_text(trial: Trial) -> str:
    """Both norms against float64, or that they were not computed."""
    if trial.error_frobenius is None or trial.error_componentwise is None:
        return "not computed (a replayed trial)"
    return f"{trial.error_frobenius:.2e} Frobenius, {trial.error_componentwise:.2e} componentwise, against float64"


def energy_text(trial: Trial) -> str:
    """Joules and their source, or that no meter read them."""
    if trial.energy_j is None:
        return trial.energy_source.value
    return f"{trial.energy_j:.3g} J ({trial.energy_source.value})"


def _selection(fleet: FleetReport) -> Table:
    problems = sorted({name for selection in fleet.selection for name in selection.best_ns})
    table = Table("cycle", *(f"{name} [ms]" for name in problems), "entropy", "policy", title="How selection adapted")
    table.title_justify = "left"
    for selection in fleet.selection:
        times = [f"{selection.best_ns[name] / 1e6:.4g}" if name in selection.best_ns else "–" for name in problems]
        held = sorted(set(selection.policy_versions.values()))
        versions = "–".join(dict.fromkeys((str(held[0]), str(held[-1]))))
        table.add_row(str(selection.cycle), *times, f"{selection.entropy:.3f}", versions)
    return table


def _fleet(fleet: FleetReport) -> Iterator[RenderableType]:
    table = Table(title="Fleet", title_justify="left", show_header=False)
    rows = fleet.rows
    table.add_row("cycles, policy versions", f"{fleet.cycles}, {fleet.policy_versions}")
    table.add_row("aggregation", fleet.protocol or "no round finished")
    table.add_row("participants by cycle", " ".join(map(str, fleet.participants)))
    table.add_row("abandoned rounds", str(fleet.abandoned_rounds))
    table.add_row("telemetry rows", f"{rows.sent} sent, {rows.acknowledged} acknowledged, {rows.stored} stored")
    table.add_row("refused rows", str(rows.refused))
    for node in fleet.adoption:
        held = f"policy {node.version}; steered by one in {node.cycles_with_policy} of {node.cycles} cycles"
        table.add_row(node.node, held)
    yield table
    if fleet.late_joiner:
        yield _late(fleet)


def _late(fleet: FleetReport) -> Table:
    table = Table(
        "problem",
        "late joiner",
        "first nodes",
        title="Evaluations until a genome within 5 % of the fleet's winner (median over nodes)",
    )
    table.title_justify = "left"
    for gain in fleet.late_joiner:
        table.add_row(gain.problem, _until(gain.late, gain.late_of), _until(gain.first, gain.first_of))
    return table


def _until(evaluations: float | None, of: int) -> str:
    return f"not within {of}" if evaluations is None else f"{evaluations:g}"
