"""What the rounds of a run took, as text for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from cluster.run_log import RoundLog


def rounds_table(rounds: Sequence[RoundLog]) -> Table:
    """One row a round."""
    table = Table(
        "cycle",
        "in the sum",
        "dropouts",
        "bytes",
        "of a node, at most",
        "CPU of a node, at most",
        "CPU of the server",
        "canaries",
        title="Rounds of aggregation",
        title_justify="left",
    )
    for taken in rounds:
        table.add_row(
            str(taken.cycle),
            f"{taken.participants} of {taken.asked}",
            dropouts_text(taken),
            bytes_text(taken.to_nodes_bytes + taken.from_nodes_bytes),
            bytes_text(taken.node_bytes),
            "nobody answered" if taken.node_cpu_s is None else f"{1e3 * taken.node_cpu_s:.3g} ms",
            f"{1e3 * taken.server_cpu_s:.3g} ms",
            canaries_text(taken),
        )
    return table


def dropouts_text(taken: RoundLog) -> str:
    """``vectors: node-1``, by step; ``none``."""
    return "; ".join(f"{step}: {', '.join(nodes)}" for step, nodes in taken.dropouts) or "none"


def canaries_text(taken: RoundLog) -> str:
    """``matmul m~2^8 held back: slower on 2 of 3``, or how many topics passed."""
    held = [
        f"{found.kernel} {found.shape_class} held back: slower on {found.slower} of {found.slower + found.not_slower}"
        for found in taken.canaries
        if found.held
    ]
    passed = sum(not found.held for found in taken.canaries)
    return "; ".join([*held, *([f"{passed} not slower"] if passed else [])]) or "nothing to try"


def privacy_text(rounds: Sequence[RoundLog]) -> str:
    """What all rounds together may have told of a node, or that sums were exact."""
    spent = next((taken.privacy for taken in reversed(rounds) if taken.privacy), None)
    if spent is None:
        return "none: sums are exact"
    return f"epsilon {spent.epsilon:.3g} at delta {spent.delta:g}, of {spent.rounds} rounds"


def bytes_text(count: int) -> str:
    """``987 B``, ``12.3 kB``, ``4.56 MB``."""
    for unit, size in (("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} B"
