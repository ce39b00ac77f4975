"""Secure aggregation: CPU seconds of a client and of the server, against what the machine needs and against Flower.

One round each, all in one process: ten, a hundred and two hundred clients with vectors of a million entries, a thousand
and ten thousand with ten thousand; a tenth drops out after it has dealt its shares. The peer is Flower's SecAgg+ with
the same vectors, neighbours, threshold, dropouts and step of quantization, run by the Python that ``make peers`` sets
up. It differs in what it protects: it has no identities, signatures or agreement on who survived, its masks come from a
Mersenne twister seeded with 32 bits, and nothing of it is serialised here, while all of ours is.
"""

from __future__ import annotations

import argparse
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from aggregation.secure.degrees import COMPLETE_LIMIT, degrees
from benchmarks.harness import Bar, Row, main, say
from benchmarks.secagg_bound import (
    ENTRY_BYTES,
    Operation,
    Prices,
    Size,
    bound_s,
    client_counts,
    measure_prices,
    server_counts,
)
from benchmarks.secagg_round import Case, Cost, run
from benchmarks.secagg_vectors import dropped
from quasim.codec import from_json
from quasim.errors import QuasimError

ROOT = Path(__file__).parents[1]
PEER_PYTHON = ROOT / ".venv-peers" / "bin" / "python"
PEER_TIMEOUT_S = 1800.0

CLIENTS = (10, 100, 200, 1_000, 10_000)
LARGE, SMALL = 1_000_000, 10_000

LIMITS_MS = {10: (30.0, 50.0), 100: (75.0, 550.0), 200: (150.0, 1800.0)}
"""CPU milliseconds of client and server by number of clients, with vectors of a million entries."""

TIMES_FLOWER = (6.0, 40.0)
"""Client and server, at a hundred clients with a million entries."""

TIMES_BOUND = 2.5
"""With a thousand clients or more, and shorter vectors."""

TIMES_VECTOR = 1.1
"""Bytes of a client, sent and received, with a million entries."""

MANY = 1_000
"""Clients from which vectors are short: this one process holds all, and ten thousand long ones are 40 GB, encoded."""


class Peer(msgspec.Struct, frozen=True):
    """What the peer took.

    Attributes:
        client_s: CPU seconds of a client that stayed, median over these.
        server_s: CPU seconds of the server.
        worst_client_s: of the one that took most.
        largest_error: of an entry of the mean that it found.
    """

    version: str
    client_s: float
    worst_client_s: float
    server_s: float
    largest_error: float


@dataclass(frozen=True, slots=True)
class Measured:
    """One case, all figures from one run.

    Attributes:
        peer: None where it was not asked.
    """

    case: Case
    size: Size
    cost: Cost
    prices: Prices
    peer: Peer | None

    @property
    def client_bound_s(self) -> float:
        """CPU seconds that a client needs at least."""
        return bound_s(client_counts(self.size), self.prices)

    @property
    def server_bound_s(self) -> float:
        """CPU seconds that the server needs at least."""
        return bound_s(server_counts(self.size), self.prices)

    @property
    def times_vector(self) -> float:
        """Bytes of a client over those of its vector."""
        return self.cost.client_bytes / (self.case.length * ENTRY_BYTES)


def options(parser: argparse.ArgumentParser) -> None:
    """One round of one's own, instead of all."""
    parser.add_argument("--clients", type=int, help="this one round alone")
    parser.add_argument(
        "--dim", type=int, help=f"entries of each vector (default {LARGE}, from {MANY} clients on {SMALL})"
    )
    parser.add_argument("--dropout", type=float, default=0.1, help="share that drops out (default %(default)s)")
    parser.add_argument(
        "--peer",
        choices=("flower", "none"),
        default="flower",
        help="what to compare with; by itself it runs for vectors of a million entries alone (default %(default)s)",
    )


def measure(given: argparse.Namespace) -> tuple[list[Row], list[Bar]]:
    """All cases, or the one that was asked for; a row each, then the prices that the bounds are made of."""
    peer = given.peer == "flower" and _has_peer()
    done = [_measured(case, peer and (case.length == LARGE or given.clients is not None)) for case in _cases(given)]
    rows = [row for one in done for row in _rows(one)]
    return rows + [_prices_row(one) for one in done], [bar for one in done for bar in _bars(one)]


def _cases(given: argparse.Namespace) -> list[Case]:
    if given.clients is None:
        return [Case(clients, _length(clients), 0.1) for clients in CLIENTS]
    return [Case(given.clients, _length(given.clients) if given.dim is None else given.dim, given.dropout)]


def _length(clients: int) -> int:
    return SMALL if clients >= MANY else LARGE


def _has_peer() -> bool:
    if not PEER_PYTHON.exists():
        say("secagg: Flower is not installed (make peers); its columns stay empty")
    return PEER_PYTHON.exists()


def _measured(case: Case, peer: bool) -> Measured:
    name = f"{case.clients} clients, {case.length} entries, {case.dropout:.0%} dropouts"
    say(f"secagg: {name}")
    # Parameters depend on n alone: a process computes them once and then knows them for all rounds.
    graph, lost = degrees(case.clients), len(dropped(case.clients, case.dropout))
    size = Size(
        case.clients - lost, lost, graph.k, graph.t, own=case.clients <= COMPLETE_LIMIT, entries=case.length + 1
    )
    prices, cost = measure_prices(size), run(case)
    if peer:
        say(f"secagg: {name}, Flower")
    return Measured(case, size, cost, prices, _flower(case, size) if peer else None)


def _flower(case: Case, size: Size) -> Peer:
    """Flower in a process of its own Python.

    Raises:
        QuasimError: it did not finish.
    """
    # Flower counts the share that a client keeps for itself; its levels span [-clip, clip], so that steps are equal.
    values = {
        "clients": case.clients,
        "length": case.length,
        "dropout": case.dropout,
        "shares": size.k + 1,
        "threshold": size.t,
        "levels": 2 ** (case.encoding().scale_bits + 1),
    }
    arguments = [f"--{name}={value}" for name, value in values.items()]
    done = subprocess.run(
        [PEER_PYTHON, "-m", "benchmarks.flower_peer", *arguments],
        cwd=ROOT,
        env={**os.environ, "FLWR_TELEMETRY_ENABLED": "0"},
        capture_output=True,
        text=True,
        timeout=PEER_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise QuasimError(f"Flower failed: {done.stderr.strip().splitlines()[-1:]}", "see make peers")
    return from_json(done.stdout, Peer, "what Flower took")


def _rows(one: Measured) -> list[Row]:
    """The client's row and the server's."""
    cost, peer = one.cost, one.peer
    client = _row(one, "client", cost.client_s, one.client_bound_s, peer.client_s if peer else None)
    server = _row(one, "server", cost.server_s, one.server_bound_s, peer.server_s if peer else None)
    return [
        {**client, "worst ms": cost.worst_client_s * 1e3, "bytes": cost.client_bytes, "exact": cost.exact},
        {**server, "worst ms": None, "bytes": None, "exact": cost.exact},
    ]


def _row(one: Measured, side: str, seconds: float, bound: float, peer_s: float | None) -> Row:
    case, size = one.case, one.size
    return {
        "clients": case.clients,
        "k": size.k,
        "t": size.t,
        "entries": case.length,
        "dropped": size.lost,
        "side": side,
        "CPU ms": seconds * 1e3,
        "bound ms": bound * 1e3,
        "/ bound": seconds / bound,
        "Flower ms": None if peer_s is None else peer_s * 1e3,
        "Flower / ours": None if peer_s is None else peer_s / seconds,
    }


def _prices_row(one: Measured) -> Row:
    """Microseconds of one operation; nanoseconds of one entry."""
    units = {operation: (1e9, "ns") if operation.value.endswith("entry") else (1e6, "us") for operation in Operation}
    return {
        "clients": one.case.clients,
        **{f"{op.value} {unit}": one.prices[op] * factor for op, (factor, unit) in units.items()},
    }


def _bars(one: Measured) -> Sequence[Bar]:
    case, cost = one.case, one.cost
    name = f"{case.clients} clients, {case.length} entries"
    bars = [Bar.at_least(f"{name}: sums bit-exact", float(cost.exact), 1.0)]
    if case.length == LARGE:
        bars.append(Bar.at_most(f"{name}: bytes of a client / vector", one.times_vector, TIMES_VECTOR))
    if case.length == LARGE and case.clients in LIMITS_MS:
        client, server = LIMITS_MS[case.clients]
        bars.append(Bar.at_most(f"{name}: client ms", cost.client_s * 1e3, client))
        bars.append(Bar.at_most(f"{name}: server ms", cost.server_s * 1e3, server))
    if case.clients >= MANY:
        bars.append(Bar.at_most(f"{name}: client / bound", cost.client_s / one.client_bound_s, TIMES_BOUND))
        bars.append(Bar.at_most(f"{name}: server / bound", cost.server_s / one.server_bound_s, TIMES_BOUND))
    if one.peer and (case.clients, case.length) == (100, LARGE):
        client, server = TIMES_FLOWER
        bars.append(Bar.at_least(f"{name}: Flower's client / ours", one.peer.client_s / cost.client_s, client))
        bars.append(Bar.at_least(f"{name}: Flower's server / ours", one.peer.server_s / cost.server_s, server))
    return bars


if __name__ == "__main__":
    main("secagg", __doc__ or "", measure, options)
