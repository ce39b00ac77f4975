"""The report as text for people: rich tables, every figure with its unit, what was not measured says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from cluster.campaign import Payback, why_unmetered
from cluster.report import Efficiency, FleetReport, KernelReport, Report
from cluster.report_energy import regulation_table
from cluster.report_rounds import privacy_text, rounds_table
from quasim.energy.objective import Objective, ranked
from quasim.measure import Ratio
from quasim.standing import Rival, Standing
from quasim.targets.profile import Profile
from quasim.trial import EnergySource, ErrorAgainst, Introspection, Timing, Trial

FRONT_ROWS = 6
"""Trials of a front that a table shows, besides the best by one number."""


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
        yield from front_text(kernel.front)
        if kernel.profile is not None:
            yield "counters", profile_text(kernel.profile)
        yield "energy of tuning", payback_text(kernel.energy)
        if kernel.objective.weight:
            yield "tuned for", f"time^{1 - kernel.objective.weight:g} · joules^{kernel.objective.weight:g}"
        if kernel.efficiency is not None:
            yield "GFLOP/s/W", efficiency_text(kernel.efficiency)
    yield "searched genomes", f"{counts}; {kernel.evaluations} measurements with playoffs"


def best_facts(best: Trial, standing: Standing | None) -> Iterator[tuple[str, str]]:
    """(name, value) of a best genome: time, rivals, errors, energy."""
    yield "best time", time_text(standing.best.timing if standing and standing.best.timing else best.timing)
    yield "best genome", str(best.genome)
    if standing is not None:
        yield from _standing(standing)
    yield "error", error_text(best)
    yield "energy of a launch", energy_text(best)
    if best.introspection is not None:
        yield "introspection", introspection_text(best.introspection)


def front_text(front: Sequence[Trial]) -> Iterator[tuple[str, str]]:
    """(name, value) of trials of a front, fastest first, and what each is best at; none where only times are known."""
    if len(front) < 2 or all(trial.energy_j is None and trial.error_frobenius is None for trial in front):
        return
    metered = [trial for trial in front if trial.energy_j is not None]
    best = {"fastest": front[0]}
    if metered:
        best["fewest joules"] = ranked(metered, Objective("energy"))[0]
        best["least energy-delay product"] = ranked(metered, Objective("weighted", 0.5))[0]
    shown = [trial for at, trial in enumerate(front) if at < FRONT_ROWS or trial in best.values()]
    for trial in shown:
        names = ", ".join(name for name, chosen in best.items() if chosen is trial)
        yield "front" + (f": {names}" if names else ""), _on_front(trial)
    if len(shown) < len(front):
        yield "front", f"and {len(front) - len(shown)} more, see --json"


def _on_front(trial: Trial) -> str:
    joules = "unmetered" if trial.energy_j is None else joules_text(trial.energy_j)
    error = "not computed" if trial.error_frobenius is None else f"{trial.error_frobenius:.2e}"
    return f"{time_text(trial.timing)}, {joules}, error {error}: {trial.genome}"


def _standing(standing: Standing) -> Iterator[tuple[str, str]]:
    yield "default genome", _rival(standing.default)
    yield standing.labels.baseline, _rival(standing.baseline)
    yield standing.labels.library, _rival(standing.library)
    if standing.stream_fraction is not None:
        yield f"bandwidth / {standing.labels.copy}", ratio_text(standing.stream_fraction)
    if standing.peaks is not None and standing.roofline_fraction is not None:
        flops = f"{standing.peaks.flops_per_s / 1e9:.0f} GFLOP/s ({standing.labels.flops})"
        peaks = f"{flops}, {standing.peaks.copy_bytes_per_s / 1e9:.1f} GB/s"
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


def profile_text(profile: Profile) -> str:
    """``measured: L2 hits 42 %, …``, or why there are none."""
    shares = {
        "uniform branches": profile.branch_efficiency,
        "L1 hits": profile.l1_hit_rate,
        "L2 hits": profile.l2_hit_rate,
        "occupancy": profile.occupancy,
        "of DRAM": profile.dram_utilization,
    }
    if profile.reason:
        return f"none: {profile.reason}"
    return "measured: " + ", ".join(f"{name} {_percent(share)}" for name, share in shares.items())


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{100 * share:.3g} %"


def error_text(trial: Trial) -> str:
    """Both norms and what they are against, or that they were not computed."""
    if trial.error_frobenius is None or trial.error_componentwise is None:
        return "not computed (a replayed trial)"
    against = "float64" if trial.error_against is ErrorAgainst.FLOAT64 else "the default's answer"
    return f"{trial.error_frobenius:.2e} Frobenius, {trial.error_componentwise:.2e} componentwise, against {against}"


def energy_text(trial: Trial) -> str:
    """Joules and their source, or that no meter read them."""
    if trial.energy_j is None:
        why = why_unmetered(trial)
        return trial.energy_source.value + (f": {why}" if why else "")
    text = f"{joules_text(trial.energy_j)} ({trial.energy_source.value})"
    if trial.energy_low_j is not None and trial.energy_high_j is not None:
        text += f" [{joules_text(trial.energy_low_j)}, {joules_text(trial.energy_high_j)}]"
    if trial.energy_above_idle_j is not None:
        text += f", {joules_text(trial.energy_above_idle_j)} above idle"
    return text


def joules_text(joules: float) -> str:
    """``0.486 J``, ``1.2 mJ``, ``31.5 kJ``."""
    for unit, size in (("kJ", 1e3), ("J", 1.0), ("mJ", 1e-3)):
        if joules >= size:
            return f"{joules / size:.3g} {unit}"
    return f"{joules * 1e6:.3g} µJ"


def introspection_text(made: Introspection) -> str:
    """What is known of registers, memory, occupancy and rates, each with who says so."""
    parts = []
    for field, write in _INTROSPECTION.items():
        value: float | None = getattr(made, field)
        if value is not None:
            parts.append(f"{write(value)} ({Introspection.origin(field).value})")
    return ", ".join(parts) or "not known"


def rate_text(per_s: float, unit: str) -> str:
    """``650 TFLOP/s``, ``21.5 GB/s``."""
    scale, prefix = (1e12, "T") if per_s >= 1e12 else (1e9, "G")
    return f"{per_s / scale:.4g} {prefix}{unit}/s"


_INTROSPECTION: dict[str, Callable[[float], str]] = {
    "registers": "{} registers".format,
    "local_bytes": "{} B local".format,
    "shared_bytes": "{} B shared".format,
    "occupancy": "{:.0%} occupancy".format,
    "bytes_per_s": lambda value: rate_text(value, "B"),
    "flops_per_s": lambda value: rate_text(value, "FLOP"),
    "roofline_fraction": "{:.0%} of the roofline".format,
}
"""How each field of ``Introspection`` is written."""


def efficiency_text(found: Efficiency) -> str:
    """``56.1; the default 31.2``, gross."""
    winner, default = ("unmetered" if one is None else f"{one:.3g}" for one in (found.winner, found.default))
    return f"{winner}; the default {default}"


def payback_text(energy: Payback) -> str:
    """Joules spent on a problem, those of a launch, and when the winner has saved them, or why that is not known."""
    if energy.spent_j is None:
        return f"unmetered: {energy.detail}"
    spent = f"{joules_text(energy.spent_j)}{_modelled(energy.spent_source)}; "
    if energy.default_j is not None and energy.winner_j is not None:
        spent += f"a launch: {joules_text(energy.winner_j)}, default {joules_text(energy.default_j)}; "
    return spent + (energy.detail if energy.runs is None else f"paid back after {energy.runs:,} launches")


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
    table.add_row("aggregation", _aggregation(fleet))
    table.add_row("participants by cycle", " ".join(map(str, fleet.participants)))
    table.add_row("abandoned rounds", str(fleet.abandoned_rounds))
    table.add_row("differential privacy", privacy_text(fleet.rounds))
    table.add_row("telemetry rows", f"{rows.sent} sent, {rows.acknowledged} acknowledged, {rows.stored} stored")
    if rows.of_lost:
        table.add_row("of lost nodes and disks", f"{rows.of_lost} stored; what else they had sent is not known")
    table.add_row("refused rows", str(rows.refused))
    made = sum(move.made for move in fleet.moves)
    table.add_row("tasks moved from heat", f"{made} of {len(fleet.moves)} advised")
    energy = fleet.energy
    table.add_row("energy of the cycles", _spent(energy.joules, energy.above_idle_j, energy.detail, energy.source))
    for drawn in energy.nodes:
        if drawn.joules is not None:
            spent = _spent(drawn.joules, drawn.above_idle_j, "", drawn.source)
            table.add_row(f"  {drawn.node}", f"{spent} on {drawn.device}")
    for node in fleet.adoption:
        held = f"policy {node.version}; steered by one in {node.cycles_with_policy} of {node.cycles} cycles"
        table.add_row(node.node, held)
    yield table
    yield regulation_table(fleet.regulation)
    if fleet.rounds:
        yield rounds_table(fleet.rounds)
    if fleet.late_joiner:
        yield _late(fleet)


def _aggregation(fleet: FleetReport) -> str:
    alone = any(taken.members == 1 for taken in fleet.rounds)
    reason = " (a roster of one: the sum of one vector is that vector)" if alone else ""
    return (fleet.protocol or "no round finished") + reason


def _modelled(source: EnergySource) -> str:
    return " (model: a simulated device)" if source is EnergySource.MODEL else ""


def _spent(joules: float | None, above_idle_j: float | None, detail: str, source: EnergySource) -> str:
    if joules is None:
        return f"unmetered: {detail}"
    above = "idle power not known" if above_idle_j is None else f"{joules_text(above_idle_j)} above idle"
    return f"{joules_text(joules)}{_modelled(source)}, {above}"


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
