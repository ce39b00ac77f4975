"""The report of a run: computed from its folder alone, so that it can be made again at any time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import median

import msgspec

from actors.node_events import CycleRecord
from cluster.campaign import CampaignEnergy, Payback, campaign_energy, payback
from cluster.history import (
    Arrival,
    Selection,
    arrivals,
    evaluations,
    selection_by_cycle,
    status_counts,
    trials_by_stage,
)
from cluster.report_energy import NodeRegulation, regulation
from cluster.run_folder import RunFolder
from cluster.run_log import Final, FleetCycle, FleetEnd, MoveLog, RoundLog
from quasim.codec import from_json
from quasim.energy.objective import LATENCY, Objective, best_of, gflops_per_watt
from quasim.errors import DataError
from quasim.kernels import families, family
from quasim.search.pareto import front
from quasim.standing import Standing
from quasim.targets import DeviceFacts
from quasim.targets.profile import Profile
from quasim.trial import Problem, Trial
from storage.files import storage_errors
from storage.queries import count_by_status, open_dataset


class Efficiency(msgspec.Struct, frozen=True):
    """GFLOP/s/W, gross, by the floating-point operations that the kernel's description counts; None: not metered."""

    winner: float | None
    default: float | None


class KernelReport(msgspec.Struct, frozen=True):
    """What the fleet found for one problem.

    Attributes:
        best: the winner of the final playoff; None where nothing worked.
        front: finalists that no other dominates in time, energy and error, fastest first.
        standing: against default, baseline, library and the machine's peaks; None on a replayed device.
        profile: hardware counters of the winner; None where the target has no profiler.
        objective: what it was tuned for, and what ``best`` is the best of.
        energy: what tuning this problem drew, and when the winner has saved that.
        efficiency: of the winner and of what runs untuned.
        evaluations: measurements made, repeated ones included.
        by_status: searched genomes by how they ended.
    """

    problem: Problem
    best: Trial | None
    front: tuple[Trial, ...]
    standing: Standing | None
    profile: Profile | None
    energy: Payback
    evaluations: int
    by_status: dict[str, int]
    objective: Objective = LATENCY
    efficiency: Efficiency | None = None


class Adoption(msgspec.Struct, frozen=True):
    """Which policy a node held at the end, and how many cycles it worked with one."""

    node: str
    version: int
    cycles_with_policy: int
    cycles: int


class Rows(msgspec.Struct, frozen=True):
    """Telemetry rows: committed to be sent, acknowledged, stored, and refused for good.

    Attributes:
        of_lost: stored rows of nodes and disks that are gone and cannot say what they sent; in ``stored`` alone.
    """

    sent: int
    acknowledged: int
    stored: int
    refused: int
    of_lost: int = 0

    @property
    def complete(self) -> bool:
        """Whether everything that is known to be sent is acknowledged and stored, once."""
        return self.sent == self.acknowledged == self.stored - self.of_lost


class LateJoiner(msgspec.Struct, frozen=True):
    """What joining late gained on one problem: evaluations until a genome within 5 % of the fleet's winner.

    Attributes:
        late: median over the late nodes; first: over those that started the fleet. None: some never came close, so
            that the median is unknown; ``of`` is how many evaluations they made.
    """

    problem: str
    late: float | None
    first: float | None
    late_of: int
    first_of: int


class FleetReport(msgspec.Struct, frozen=True):
    """What the fleet did.

    Attributes:
        rounds: what each round took, in order.
    """

    cycles: int
    policy_versions: int
    abandoned_rounds: int
    protocol: str
    participants: tuple[int, ...]
    rounds: tuple[RoundLog, ...]
    rows: Rows
    stored_by_status: dict[str, int]
    by_stage: dict[str, int]
    adoption: tuple[Adoption, ...]
    selection: tuple[Selection, ...]
    arrivals: tuple[Arrival, ...]
    late_joiner: tuple[LateJoiner, ...]
    energy: CampaignEnergy
    moves: tuple[MoveLog, ...]
    regulation: tuple[NodeRegulation, ...]


class Report(msgspec.Struct, frozen=True):
    """Everything that `quasim report` shows."""

    name: str
    devices: tuple[DeviceFacts, ...]
    kernels: tuple[KernelReport, ...]
    fleet: FleetReport


def build_report(folder: RunFolder) -> Report:
    """The report of a finished run.

    Raises:
        DataError: the run has not finished.
        StorageError: the folder cannot be read.
    """
    if not folder.end.exists():
        raise DataError(f"the run in {folder.path} has not finished", f"continue it: quasim run --resume {folder.path}")
    config = folder.load_config()
    with storage_errors("read the run", folder.path):
        end = from_json(folder.end.read_bytes(), FleetEnd, str(folder.end))
        cycles = [from_json(path.read_bytes(), FleetCycle, str(path)) for path in folder.cycle_files()]
        rounds = [from_json(path.read_bytes(), RoundLog, str(path)) for path in folder.round_files()]
    records = [record for cycle in cycles for record in cycle.records]
    kernels = tuple(
        _kernel(records, config.objective(found[0]), *found)
        for found in zip(end.problems, end.finals, end.standings, end.profiles, strict=True)
    )
    found = arrivals(records, {k.problem: k.best.genome for k in kernels if k.best}, config.joins_at)
    fleet = FleetReport(
        cycles=len(cycles),
        policy_versions=max((cycle.round.policy_version for cycle in cycles), default=0),
        abandoned_rounds=sum(bool(cycle.round.abandoned) for cycle in cycles),
        protocol=next((cycle.round.protocol for cycle in reversed(cycles) if cycle.round.protocol), ""),
        participants=tuple(cycle.round.participants for cycle in cycles),
        rounds=tuple(rounds),
        rows=_rows(end),
        stored_by_status=count_by_status(open_dataset([folder.telemetry])),
        by_stage=trials_by_stage(records),
        adoption=_adoption(end, cycles),
        selection=tuple(selection_by_cycle(records)),
        arrivals=tuple(found),
        late_joiner=_late_joiner(found),
        energy=campaign_energy(records),
        moves=tuple(move for cycle in cycles for move in cycle.moves),
        regulation=regulation(records),
    )
    return Report(folder.path.name, tuple(dict.fromkeys(node.device for node in end.nodes)), kernels, fleet)


def _kernel(
    records: Sequence[CycleRecord],
    objective: Objective,
    problem: Problem,
    final: Final,
    standing: Standing | None,
    profile: Profile | None,
) -> KernelReport:
    best = best_of(final.trials, objective)
    return KernelReport(
        problem=problem,
        best=best,
        front=front(final.trials),
        standing=standing,
        profile=profile,
        energy=payback(records, problem, best, final.default),
        evaluations=evaluations(records, problem),
        by_status=status_counts(records, problem),
        objective=objective,
        efficiency=_efficiency(problem, best, final.default),
    )


def _efficiency(problem: Problem, best: Trial | None, default: Trial | None) -> Efficiency | None:
    """None for a kernel that was recorded by others: nobody knows its operations."""
    if problem.kernel not in {known.name for known in families()}:
        return None
    flops = family(problem.kernel).cost(problem).flops
    return Efficiency(gflops_per_watt(flops, best), gflops_per_watt(flops, default))


def _rows(end: FleetEnd) -> Rows:
    sent, refused = sum(node.sent for node in end.nodes), sum(node.refused for node in end.nodes)
    waiting = sum(node.waiting_rows for node in end.nodes)
    of_lost = end.forgotten + sum(node.rows_stored for node in end.lost)
    return Rows(sent, sent - refused - waiting, end.aggregator.store.rows, refused, of_lost)


def _adoption(end: FleetEnd, cycles: Sequence[FleetCycle]) -> tuple[Adoption, ...]:
    worked = Counter(record.node for cycle in cycles for record in cycle.records)
    steered = Counter(record.node for cycle in cycles for record in cycle.records if record.policy_version)
    return tuple(Adoption(n.name, n.policy_version, steered[n.name], worked[n.name]) for n in end.nodes)


def _late_joiner(found: Sequence[Arrival]) -> tuple[LateJoiner, ...]:
    gains = []
    for problem in dict.fromkeys(arrival.problem for arrival in found):
        late = [a for a in found if a.problem == problem and a.late]
        first = [a for a in found if a.problem == problem and not a.late]
        if late and first:
            of = max(a.of for a in late), max(a.of for a in first)
            gains.append(LateJoiner(problem, _median(late), _median(first), *of))
    return tuple(gains)


def _median(found: Sequence[Arrival]) -> float | None:
    """Median evaluations to arrive; None where it never did. Those that never arrived count as later than any."""
    never = 1 << 60
    middle = median(never if a.evaluations is None else a.evaluations for a in found)
    return None if middle >= never / 2 else float(middle)
