"""What a policy that lies costs a newcomer: evaluations to within 5 % of the optimum, beside a start from nothing.

The lies are told at the weight of a fleet, about every cell of the space, and with candidates to match: random scores;
the learned scores turned around; and the learned scores with the truly best 5 % of configurations called hopeless.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.harness import Bar, Row, main, say
from benchmarks.search_spaces import CAP, Recorded, Run, recordings, search
from benchmarks.search_warm import NEAR, donors_of, expected, learned, led, union
from quasim.policy import Part, Policy, leading
from quasim.search import strategies, strategy
from quasim.space import Floats

Lie = Callable[[Floats, Floats, np.random.Generator], Floats]
"""From the learned scores, the true times in ns (infinity: it fails or is not there) and chance, the scores told."""

LIARS = 4.0
"""Nodes that the lie claims behind each score."""

SUPPRESSED = 0.05

CANDIDATES = 16

COST = 10.0
"""Most evaluations to within 5 % that a lie may cost, mean over spaces of the difference of medians."""

SEEDS = 10


def suppressed(scores: Floats, times_ns: Floats, _: np.random.Generator) -> Floats:
    """The learned scores, but for the truly best configurations."""
    told: Floats = scores.copy()
    told[np.argsort(times_ns, kind="stable")[: int(SUPPRESSED * len(times_ns))]] = -1.0
    return told


LIES: Mapping[str, Lie] = {
    "random scores": lambda scores, _, rng: -rng.random(len(scores)),
    "inverted scores": lambda scores, _, __: -1.0 - scores,
    "best 5 % suppressed": suppressed,
}


def lying(policy: Policy, scores: Floats) -> Policy:
    """The policy with these scores for its only topic."""
    (part,) = policy.parts
    ones = np.ones(len(scores))
    candidates = tuple(int(cell) for cell in leading(scores, LIARS * ones, ones, CANDIDATES))
    told = Part(part.topic, _bytes(scores), _bytes(LIARS * ones), _bytes(0 * ones), _bytes(ones), candidates=candidates)
    return msgspec.structs.replace(policy, parts=(told,))


def _bytes(values: Floats) -> bytes:
    return (values + 0.0).astype("<f4").tobytes()


def times(recorded: Recorded) -> Floats:
    """Time in ns of each cell of the recording's space; infinity where it fails."""
    genomes = [recorded.space.genome_at(cell) for cell in range(recorded.space.size)]
    return np.array([trial.time_ns for trial in recorded.target.evaluate(recorded.problem, genomes)])


def misled(newcomer: Recorded, donors: Sequence[Recorded], name: str, seed: int, count: int = CAP) -> dict[str, Run]:
    """One run from nothing and one from each lie, of one seed."""
    public = union((newcomer, *donors))
    policy = learned(public, donors, name, seed, count)
    true_ns = np.full(public.size, np.inf)
    true_ns[public.cells(newcomer.space.rows)] = times(newcomer)
    runs = {"": search(newcomer, strategy(name, newcomer.space, seed), count)}
    for at, (kind, lie) in enumerate(LIES.items()):
        scores = lie(policy.parts[0].means, true_ns, np.random.default_rng((seed, at)))
        prior = expected(newcomer, public, lying(policy, scores))
        runs[kind] = led(newcomer, strategy(name, newcomer.space, seed), prior, count)
    return runs


def rows_of(newcomer: Recorded, donors: Sequence[Recorded], name: str, seeds: int) -> Iterator[Row]:
    """One row for each lie."""
    runs = [misled(newcomer, donors, name, seed) for seed in range(seeds)]
    cold = float(np.median([run[""].within(NEAR) for run in runs]))
    for kind in LIES:
        told = float(np.median([run[kind].within(NEAR) for run in runs]))
        yield {
            "lie": kind,
            "space": newcomer.name,
            "strategy": name,
            "seeds": seeds,
            "cold, within 5%": cold,
            "misled, within 5%": told,
            "cost": told - cold,
        }


def measure(given: argparse.Namespace) -> tuple[list[Row], list[Bar]]:
    """Every space and lie; the bars are means over the spaces."""
    recorded = [Recorded.read(path) for path in recordings(given.spaces)]
    rows: list[Row] = []
    for newcomer in recorded:
        if donors := donors_of(newcomer, recorded):
            rows += rows_of(newcomer, donors, given.strategy, given.seeds)
            say(f"search_hostile: {newcomer.name}: {[row['cost'] for row in rows[-len(LIES) :]]}")
    means = {kind: float(np.mean([float(str(row["cost"])) for row in rows if row["lie"] == kind])) for kind in LIES}
    return rows, [Bar.at_most(f"{kind}: evaluations lost to 5 %", cost, COST) for kind, cost in means.items()]


def options(parser: argparse.ArgumentParser) -> None:
    """Where the spaces are, and what searches them how often."""
    parser.add_argument("--spaces", type=Path, nargs="+", required=True, help="folders of recordings, or files")
    parser.add_argument("--strategy", choices=strategies(), default="portfolio")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="of each space")


if __name__ == "__main__":
    main("search_hostile", __doc__ or "", measure, options)
