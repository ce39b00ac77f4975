"""What every page of the dashboard shows: plain structs that become JSON, and that a report inlines.

Figures that nobody measured are None, and a neighbouring field says why. ``notes`` of a view say in words what could
not be read. ``until`` of a view is the cycle that a replay stands at; None: everything there is.
"""

from __future__ import annotations

from typing import Literal, NewType

import msgspec

from actors.live import Event
from cluster.campaign import NodeEnergy

Prose = NewType("Prose", str)
"""A text that nodes, meters or errors have written, as the viewer may read it: ``Names.text`` alone makes one."""

Notes = tuple[Prose, ...]

Cell = bool | int | float | str


class RunView(msgspec.Struct, frozen=True):
    """What stands above every page.

    Attributes:
        named: shapes, genomes and nodes are shown by name, since the viewer's server was given the site key.
        state: ``waiting``: no cycle is done and nobody is heard; ``running``; ``silent``: unfinished, nobody is heard.
        cycles_done, cycles: of those configured.
        started_at: unix seconds; None where no event says so.
        policy_version: in force; 0 before the first.
        runs: names of the runs that this server shows, newest first.
        pages: that have something to show, in the order of the menu.
    """

    name: str
    federation: str
    target: str
    strategy: str
    protocol: Prose
    state: Literal["waiting", "running", "silent", "finished"]
    cycles_done: int
    cycles: int
    started_at: float | None
    devices: tuple[str, ...]
    problems: tuple[Prose, ...]
    policy_version: int
    named: bool
    runs: tuple[str, ...]
    pages: tuple[str, ...]
    until: int | None
    notes: Notes


class NodeTile(msgspec.Struct, frozen=True):
    """One node.

    Attributes:
        health: of a live node its ``Health``; of a recorded cycle ``recorded``; ``finished`` where the run is over, but
            for nodes that were lost.
        kernel, problem: that it works on; "" between two. ``problem`` is the kernel alone without the site key.
        power_w, cap_w, temperature_c: now; of a recorded cycle its mean power, last cap and top temperature.
        metered_why: why one of these is None; "" where none is.
        rows_sent, rows_acknowledged: None where only cycles are known.
        last_batch_at, heard_at: unix seconds.
        policy_version: that its last finished cycle worked with; None: it finished none.
    """

    node: str
    machine: str
    device: str
    state: str
    health: str
    cycle: int
    kernel: str
    problem: Prose
    power_w: float | None
    cap_w: float | None
    temperature_c: float | None
    energy_source: str
    metered_why: Prose
    rows_sent: int | None
    rows_acknowledged: int | None
    last_batch_at: float | None
    heard_at: float | None
    policy_version: int | None


class FleetView(msgspec.Struct, frozen=True):
    """The fleet now, or as a recorded cycle left it.

    Attributes:
        live: from pulses; otherwise from the finished cycles.
        finished: the run is over: nodes are as they were last heard.
        at: unix seconds of the newest pulse round; None where not live.
        phase: of the aggregator; "" where not live.
        rows_stored: None where not live.
    """

    live: bool
    finished: bool
    at: float | None
    nodes: tuple[NodeTile, ...]
    phase: str
    round: int
    policy_version: int
    rows_stored: int | None
    until: int | None
    notes: Notes


class BestSoFar(msgspec.Struct, frozen=True):
    """Where the best time of all nodes fell; columns of one length.

    Attributes:
        evaluation: which of its evaluations of the problem it was to the node that made it, from 0.
        cycle: in which it was.
        time_ns: median time of a launch; falls.
    """

    evaluation: tuple[int, ...]
    cycle: tuple[int, ...]
    time_ns: tuple[float, ...]


class Cloud(msgspec.Struct, frozen=True):
    """Measured genomes, columns of one length.

    Attributes:
        energy_j: of a launch, gross; None: unmetered.
        source: of the joules; ``model``: of a simulated device, ``unmetered`` where there are none.
        error: ‖C−R‖_F / ‖R‖_F; None: not computed.
        node, genome: names with the site key, first digits of their ids without.
        front: nothing measured that is known here is better in one of time, energy and error and no worse in the rest.
    """

    time_ns: tuple[float, ...]
    energy_j: tuple[float | None, ...]
    source: tuple[str, ...]
    error: tuple[float | None, ...]
    cycle: tuple[int, ...]
    node: tuple[str, ...]
    genome: tuple[str, ...]
    front: tuple[bool, ...]


class Axis(msgspec.Struct, frozen=True):
    """One parameter of the genomes of a cloud.

    Attributes:
        values: in the order of the cloud; None: a genome without it.
        share: of the variance of log time that this parameter explains alone (ω², 0 to 1), over the cloud's genomes;
            None: it cannot be told, as of one that never varies.
    """

    name: str
    values: tuple[Cell | None, ...]
    share: float | None


class ProblemSearch(msgspec.Struct, frozen=True):
    """How the search for one problem went.

    Attributes:
        id: first digits of its hashed id, for links; stays the same with and without the site key.
        name: ``matmul[m=768,n=768,k=768]``, or ``matmul 3fa9c1d2`` without the site key.
        trials: of the whole table; the cloud is a sample where ``cloud_of`` is more than it holds.
        by_status: trials by how they ended.
        axes: most important first; empty without the site key.
    """

    id: str
    name: Prose
    kernel: str
    trials: int
    by_status: dict[str, int]
    best: BestSoFar
    cloud: Cloud
    cloud_of: int
    axes: tuple[Axis, ...]


class SearchView(msgspec.Struct, frozen=True):
    """How the search went.

    Attributes:
        rows: telemetry rows in the table, up to ``until``; None where it cannot be read.
        why_unnamed: why there are no names; "" where there are.
    """

    problems: tuple[ProblemSearch, ...]
    rows: int | None
    why_unnamed: Prose
    until: int | None
    notes: Notes


class Canary(msgspec.Struct, frozen=True):
    """What canaries found of one topic."""

    topic: str
    slower: int
    not_slower: int
    held: bool


class RoundRow(msgspec.Struct, frozen=True):
    """One round of aggregation.

    Attributes:
        participants: nodes in the sum, of ``asked`` nodes; 0 where it was abandoned, ``abandoned`` says why.
        dropouts: (step, nodes).
        masked: vectors were masked, so that the aggregator saw their sum alone.
        masks_each: pairwise masks in a node's vector, derived from the size of the roster; None where not masked.
        policy_version: in force after it; released: the round made it.
        adopted, worked: nodes that worked the next cycle with this version or a newer one, and all that worked it; None
            where no cycle followed.
        node_cpu_s, server_cpu_s, wall_s: measured; None where nobody answered.
        epsilon, delta: spent by this round and all before it; None: sums are exact.
    """

    cycle: int
    number: int
    asked: int
    members: int
    participants: int
    dropouts: tuple[tuple[str, tuple[str, ...]], ...]
    abandoned: Prose
    refused: tuple[tuple[str, Prose], ...]
    protocol: Prose
    masked: bool
    masks_each: int | None
    policy_version: int
    released: bool
    adopted: int | None
    worked: int | None
    to_nodes_bytes: int
    from_nodes_bytes: int
    node_cpu_s: float | None
    server_cpu_s: float
    wall_s: float
    canaries: tuple[Canary, ...]
    epsilon: float | None
    delta: float | None


class Adopted(msgspec.Struct, frozen=True):
    """Which policy a node worked with, cycle by cycle; columns of one length."""

    node: str
    cycle: tuple[int, ...]
    version: tuple[int, ...]


class RoundsView(msgspec.Struct, frozen=True):
    """The rounds of a run, in order, and what nodes made of their policies."""

    rounds: tuple[RoundRow, ...]
    adoption: tuple[Adopted, ...]
    until: int | None
    notes: Notes


class KernelEnergy(msgspec.Struct, frozen=True):
    """What tuning one kernel drew, and what its launches draw.

    Attributes:
        spent_j: gross joules of all nodes while they tuned it; None: unmetered, ``why`` says so.
        trials, metered: rows of the table that were ok, and of these with joules by ``launch_source``; None where it
            cannot be read.
        least_j, mean_j: joules of a launch, of its metered trials; None where none is.
        source: of the joules spent; launch_source: of those of launches.
    """

    kernel: str
    spent_j: float | None
    metered: int | None
    trials: int | None
    least_j: float | None
    mean_j: float | None
    source: str
    launch_source: str
    why: Prose


class Saving(msgspec.Struct, frozen=True):
    """Spent against saved for one problem; known when the run has ended.

    Attributes:
        spent_j: on tuning it; default_j, winner_j: of one launch. None: unmetered.
        runs: launches of the winner that save what was spent; None: ``why`` says why.
        source: of ``spent_j``; launch_source: of ``default_j`` and ``winner_j``, the weaker of the two.
    """

    problem: Prose
    spent_j: float | None
    default_j: float | None
    winner_j: float | None
    runs: int | None
    source: str
    launch_source: str
    why: Prose


class NodePower(msgspec.Struct, frozen=True):
    """What a node's regulation saw and wanted, cycle by cycle; columns of one length, None: unmetered.

    Attributes:
        mode: ``advise`` or ``enforce``.
        source: ``model``: a simulated device, nothing was measured.
        writes: caps that were set; 0 in ``advise``.
        reasons: (reason, turns) of the whole run, most frequent first.
        why: why there are no figures; "" where there are.
    """

    node: str
    device: str
    mode: str
    source: str
    cycle: tuple[int, ...]
    mean_power_w: tuple[float | None, ...]
    top_temperature_c: tuple[float | None, ...]
    cap_w: tuple[float | None, ...]
    throttled: tuple[int, ...]
    writes: int
    reasons: tuple[tuple[Prose, int], ...]
    why: Prose


class Moved(msgspec.Struct, frozen=True):
    """An advice to move a task; ``why`` it did not move, "" where it did."""

    cycle: int
    task: str
    source: str
    target: str
    gain_s: float
    made: bool
    why: Prose


class EnergyView(msgspec.Struct, frozen=True):
    """Joules spent and saved, and what regulation did.

    Attributes:
        joules, above_idle_j: of all nodes' cycles; None: ``why`` says why.
        source: of the sum, the weakest of the nodes'.
    """

    joules: float | None
    above_idle_j: float | None
    source: str
    why: Prose
    nodes: tuple[NodeEnergy, ...]
    kernels: tuple[KernelEnergy, ...]
    savings: tuple[Saving, ...]
    regulation: tuple[NodePower, ...]
    moves: tuple[Moved, ...]
    events: tuple[Event, ...]
    until: int | None
    notes: Notes


class Absent(msgspec.Struct, frozen=True):
    """A page that has nothing to show, and why; its place is kept."""

    why: Prose
    until: int | None
    notes: Notes = ()


class EventsView(msgspec.Struct, frozen=True):
    """What happened, newest first.

    Attributes:
        total: of all events; the view holds the newest of them.
    """

    events: tuple[Event, ...]
    total: int
    until: int | None
    notes: Notes


View = RunView | FleetView | SearchView | RoundsView | EnergyView | EventsView | Absent
