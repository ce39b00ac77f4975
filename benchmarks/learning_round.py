"""What a learning round costs besides the masking: opinions and encoding of ten nodes, their sum, the policy.

Run it with one BLAS thread (``OPENBLAS_NUM_THREADS=1``): CPU time of all threads is counted, and the
nodes do their parts one after the other, though each has a machine of its own in a fleet.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import numpy as np

from aggregation.catalogue import Catalogue
from aggregation.distill import local_update, refine
from aggregation.secure import Encoding
from benchmarks.harness import Bar, Row, main
from benchmarks.search_refit import CELLS, FAILED, SPACE, TRIALS
from benchmarks.search_warm import SCALE_BITS
from quasim.policy import Policy
from quasim.space import Floats
from quasim.trial import Problem, Status, Timing, Trial

NODES = 10

ROUNDS = 9
"""Of which the median counts, since other work on the machine slows some."""

ROUND_S = 1.0
"""Most seconds of a median round, all nodes and the aggregator together."""

PARTS = ("opinions", "encoding", "sum", "policy")

PROBLEM, TARGET = Problem.of("made", n=4096), "made"

SPACES = {(TARGET, PROBLEM): SPACE}


class Fleet:
    """Nodes that each measured some cells of one made space, and the policy of a first round, which warms up.

    Args:
        failing: share of each node's trials that failed.
    """

    def __init__(self, failing: float, nodes: int = NODES) -> None:
        self._trials = [_trials(np.random.default_rng(node), failing) for node in range(nodes)]
        self._catalogue = Catalogue.of(SPACES)
        self._encoding = Encoding(32, SCALE_BITS, 1.0, 1.0, nodes)
        self.policy: Policy | None = None
        self.round_s()

    def round_s(self) -> Floats:
        """CPU seconds of each of ``PARTS`` in one more round, shape (len(PARTS),)."""
        ends = [time.process_time()]
        vectors = [local_update(self._catalogue, SPACES, told) for told in self._trials]
        ends.append(time.process_time())
        elements = [self._encoding.encode(vector, 1.0) for vector in vectors]
        ends.append(time.process_time())
        sums = self._encoding.decode(np.sum(elements, axis=0, dtype=elements[0].dtype))[0]
        ends.append(time.process_time())
        self.policy = self._refined(sums)
        ends.append(time.process_time())
        return np.diff(ends)

    def _refined(self, sums: Floats) -> Policy:
        policy = refine(
            self.policy,
            self._catalogue,
            sums,
            federation="benchmark",
            cycle=self.policy.cycle + 1 if self.policy else 0,
            participants=len(self._trials),
            protocol="secure",
        )
        return Policy.from_payload(policy.payload())  # as a node reads it


def _trials(rng: np.random.Generator, failing: float) -> list[Trial]:
    """Times that are alike on all nodes, up to a device's speed and its own taste."""
    cells = rng.choice(CELLS, size=TRIALS, replace=False)
    common = np.random.default_rng(0).normal(size=8)
    logs = SPACE.ordinal(SPACE.rows[cells]) @ (common + 0.2 * rng.normal(size=8)) + 0.1 * rng.normal(size=TRIALS)
    times_ns = 1e5 * np.exp(rng.normal() + logs)
    times_ns[: round(failing * TRIALS)] = np.inf
    return [_trial(int(cell), float(time_ns)) for cell, time_ns in zip(cells, times_ns, strict=True)]


def _trial(cell: int, time_ns: float) -> Trial:
    genome = SPACE.genome_at(cell)
    if np.isinf(time_ns):
        return Trial(problem=PROBLEM, target=TARGET, genome=genome, status=Status.LAUNCH_ERROR)
    timing = Timing(time_ns, time_ns, time_ns, 1)
    return Trial(problem=PROBLEM, target=TARGET, genome=genome, status=Status.OK, timing=timing)


def round_rows(rounds: int = ROUNDS, nodes: int = NODES) -> Iterator[Row]:
    """Figures of each part and of the whole, without and with failed trials."""
    for failing in (0.0, FAILED):
        fleet = Fleet(failing, nodes)
        parts_s = np.array([fleet.round_s() for _ in range(rounds)])
        for name, found_s in zip((*PARTS, "all"), (*parts_s.T, parts_s.sum(axis=1)), strict=True):
            yield {
                "learning round": f"{nodes} nodes, {TRIALS} trials each, {CELLS:,} cells",
                "failed trials": failing,
                "part": name,
                "rounds": rounds,
                "median CPU s": float(np.median(found_s)),
                "fastest CPU s": float(found_s.min()),
                "slowest CPU s": float(found_s.max()),
            }


def round_bar(row: Row) -> Bar:
    """The bar on the median of a row of a whole round."""
    name = f"{row['learning round']}, {float(row['failed trials'] or 0):.0%} failed: median CPU s"
    return Bar.at_most(name, float(row["median CPU s"] or 0), ROUND_S)


def options(parser: argparse.ArgumentParser) -> None:
    """How many."""
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of each kind")


def measure(given: argparse.Namespace) -> tuple[list[Row], list[Bar]]:
    """All parts; the bars are on whole rounds."""
    rows = list(round_rows(given.rounds))
    return rows, [round_bar(row) for row in rows if row["part"] == "all"]


if __name__ == "__main__":
    main("learning_round", __doc__ or "", measure, options)
