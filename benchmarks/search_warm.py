"""Newcomers that start from what a fleet shared: other GPUs of the kernel, other GPUs of ours, and other shapes.

Donors tune cold with the strategy's own budget; each gives its vector in the fixed point of secure rounds, the ring
elements are added, and the newcomer starts from the policy that the sum makes. Masks, which cancel in the sum to the
bit, are left out. A sum of fewer donors than a fleet's floor would not be released by a fleet: its rows say so.

Run by itself, this measures our own recorded spaces: an H200 warm from H100s and back, and a shape that no node had.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from aggregation.catalogue import Catalogue
from aggregation.distill import local_update, refine
from aggregation.secure import Encoding
from benchmarks.harness import Bar, Row, main, say
from benchmarks.search_spaces import CAP, GOALS, Recorded, Run, geometric_mean, recordings, search
from quasim.errors import DataError
from quasim.policy import Policy
from quasim.prior import VETERAN, outgrown, prior_for
from quasim.search import Prior, Strategy, strategies, strategy
from quasim.search.ledger import Cells
from quasim.space import Floats, Listed, SearchSpace
from quasim.trial import Trial

FLOOR = 2
"""Fewest donors whose sum a fleet with the default settings releases."""

SCALE_BITS = 20
"""Of the default agreement: entries are multiples of 2^-20."""

OWN = Path(__file__).parents[1] / "quasim" / "targets" / "replay" / "spaces"

SEEDS = 10

NEAR = 0.05

GAIN = 2.0
"""Least factor by which a warm start saves evaluations to within 5 % on our own spaces."""


def warm(path: Path, paths: Sequence[Path], name: str, seeds: int) -> list[Run]:
    """Runs of one space, one a seed, each from what the other GPUs of its kernel found and shared with that seed."""
    newcomer = Recorded.read(path)
    donors = donors_of(newcomer, [Recorded.read(path) for path in paths])
    return [started(newcomer, donors, name, seed) for seed in range(seeds)]


def donors_of(newcomer: Recorded, recorded: Sequence[Recorded]) -> list[Recorded]:
    """The other recordings of the newcomer's kernel with the same parameters."""
    others = [one for one in recorded if one.kernel == newcomer.kernel and one.name != newcomer.name]
    return [one for one in others if one.space.parameters == newcomer.space.parameters]


def sums_of(donors: int) -> str:
    """How the donors' sum would be formed: whether a fleet would release it."""
    if not donors:
        return "none"
    return "secure" if donors >= FLOOR else "plain, below floor"


def started(newcomer: Recorded, donors: Sequence[Recorded], name: str, seed: int, count: int = CAP) -> Run:
    """One run of the newcomer, from the policy of the donors; cold where there are none."""
    public = union((newcomer, *donors))
    searcher = strategy(name, newcomer.space, seed)
    if not donors:
        return search(newcomer, searcher, count)
    return led(newcomer, searcher, expected(newcomer, public, learned(public, donors, name, seed, count)), count)


def led(newcomer: Recorded, searcher: Strategy, prior: Prior, count: int) -> Run:
    """A search from a prior, whose scores are dropped when the newcomer is a veteran, as nodes do."""
    searcher.adopt(prior)
    first = search(newcomer, searcher, min(count, VETERAN))
    searcher.adopt(outgrown(prior))
    rest = search(newcomer, searcher, count - len(first.slowdowns))
    return Run(np.append(first.slowdowns, rest.slowdowns), np.append(first.ask_ms, rest.ask_ms))


def union(recorded: Sequence[Recorded]) -> SearchSpace:
    """The public space of a kernel: all that was recorded of it anywhere; a recording may be a part of it."""
    rows = np.unique(np.concatenate([one.space.rows for one in recorded]), axis=0)
    return SearchSpace(recorded[0].space.parameters, (Listed.of(rows),))


def learned(public: SearchSpace, donors: Sequence[Recorded], name: str, seed: int, count: int = CAP) -> Policy:
    """The policy of donors that each tuned cold with ``count`` evaluations."""
    spaces = {(donor.target.name, donor.problem): public for donor in donors}
    catalogue = Catalogue.of(spaces)
    # Far apart, so that a donor does not draw what the newcomer draws.
    searchers = [strategy(name, donor.space, 1_000 * (seed + 1) + at) for at, donor in enumerate(donors)]
    tuned = [trials(donor, searcher, count) for donor, searcher in zip(donors, searchers, strict=True)]
    return refine(
        None,
        catalogue,
        summed([local_update(catalogue, spaces, told) for told in tuned]),
        federation="benchmark",
        cycle=0,
        participants=len(donors),
        protocol=sums_of(len(donors)),
    )


def trials(donor: Recorded, searcher: Strategy, count: int) -> list[Trial]:
    """What a donor measures in so many evaluations."""
    told: list[Trial] = []
    while len(told) < count and (genomes := searcher.ask(1)):
        told += donor.target.evaluate(donor.problem, genomes)
        searcher.tell(told[-1:])
    return told


def summed(vectors: Sequence[Floats]) -> Floats:
    """The sum as a secure round gives it: in the ring, of entries rounded to its unit."""
    encoding = Encoding(32, SCALE_BITS, 1.0, 1.0, len(vectors))
    total = encoding.encode(vectors[0], 1.0)
    for vector in vectors[1:]:
        total = total + encoding.encode(vector, 1.0)
    return encoding.decode(total)[0]


def expected(newcomer: Recorded, public: SearchSpace, policy: Policy) -> Prior:
    """What the policy says in the newcomer's own space, which may be a part of the public one."""
    prior = prior_for(policy, newcomer.target.name, newcomer.problem, public)
    if prior is None:
        raise DataError("the donors' policy says nothing", "give donors of the newcomer's kernel")
    return within(prior, public.cells(newcomer.space.rows))


def within(prior: Prior, cells: Cells) -> Prior:
    """The part of a prior that speaks of some cells of its space, in their order."""
    parts = {
        field: None if values is None else values[cells]
        for field, values in (("spread", prior.spread), ("feasible", prior.feasible))
    }
    energy = None if prior.energy is None else within(prior.energy, cells)
    return msgspec.structs.replace(prior, mean=prior.mean[cells], weight=prior.weight[cells], energy=energy, **parts)


def own_rows(name: str, seeds: int) -> tuple[list[Row], list[Bar]]:
    """Our own spaces: the other GPU's recordings of the problem, and the same GPU's of other shapes."""
    recorded = [Recorded.read(path) for path in recordings([OWN])]
    rows: list[Row] = []
    bars: list[Bar] = []
    for kind, donors_of in (("another GPU", _other_gpu), ("another shape", _other_shapes)):
        pairs = [(one, donors) for one in recorded if (donors := donors_of(one, recorded))]
        made = [_row(kind, one, donors, name, seeds) for one, donors in pairs]
        rows += made
        gain = geometric_mean([float(str(row["cold / warm"])) for row in made])
        bars.append(Bar.at_least(f"warm from {kind}: fewer evaluations to 5 %, times", gain, GAIN))
    return rows, bars


def _other_gpu(newcomer: Recorded, recorded: Sequence[Recorded]) -> list[Recorded]:
    return [one for one in recorded if one.problem == newcomer.problem and one.name != newcomer.name]


def _other_shapes(newcomer: Recorded, recorded: Sequence[Recorded]) -> list[Recorded]:
    problem, device = newcomer.problem, newcomer.target.device
    alike = [one for one in recorded if one.problem.kernel == problem.kernel and one.target.device.name == device.name]
    return [one for one in alike if one.problem != problem]


def _row(kind: str, newcomer: Recorded, donors: Sequence[Recorded], name: str, seeds: int) -> Row:
    say(f"search_warm: {newcomer.name} from {kind}")
    runs = [started(newcomer, donors, name, seed) for seed in range(seeds)]
    cold = [search(newcomer, strategy(name, newcomer.space, seed)) for seed in range(seeds)]
    median = [float(np.median([run.within(goal) for run in runs])) for goal in GOALS]
    before = float(np.median([run.within(NEAR) for run in cold]))
    return {
        "warm from": kind,
        "space": newcomer.name,
        "donors": len(donors),
        "sums": sums_of(len(donors)),
        "seeds": seeds,
        **{f"within {goal:.0%}": figure for goal, figure in zip(GOALS, median, strict=True)},
        f"cold, within {NEAR:.0%}": before,
        "cold / warm": before / median[GOALS.index(NEAR)],
    }


def measure(given: argparse.Namespace) -> tuple[list[Row], list[Bar]]:
    """Rows and bars of our own spaces."""
    return own_rows(given.strategy, given.seeds)


def options(parser: argparse.ArgumentParser) -> None:
    """What searches, and how often."""
    parser.add_argument("--strategy", choices=strategies(), default="portfolio")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="of each space")


if __name__ == "__main__":
    main("search_warm", __doc__ or "", measure, options)
