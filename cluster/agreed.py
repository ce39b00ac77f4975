"""What a run's configuration comes to for its rounds, and what their noise has told in the end."""

from __future__ import annotations

from aggregation.agreement import SMALLEST, Agreement, Noise
from aggregation.groups import groups_of
from aggregation.privacy import calibrated, epsilon
from aggregation.secure import smallest_floor
from cluster.config import AggregationConfig, FleetConfig
from cluster.run_log import PrivacySpent
from quasim.errors import ConfigError


def agreement(config: FleetConfig, members: range, length: int) -> Agreement:
    """What the aggregator and all nodes agree on.

    Args:
        config: with its agents counted.
        members: of the rosters that the run may come to have.
        length: entries of a node's vector.

    Raises:
        ConfigError: noise for sums that nobody survives to add it to.
        MissingToolError: dp-accounting is not installed.
        DataError: no noise within reach keeps the promise.
    """
    asked = config.aggregation
    return Agreement(
        secure=asked.protocol == "secure",
        ring_bits=asked.ring_bits,
        scale_bits=asked.scale_bits,
        groups=asked.groups,
        noise=_noise(asked, config.cycles, members, length),
    )


def _noise(asked: AggregationConfig, rounds: int, members: range, length: int) -> Noise | None:
    wanted = asked.privacy
    if wanted is None:
        return None
    honest = min(_survivors(asked, n) for n in members) - wanted.colluding
    if min(members) < SMALLEST or honest < 1:
        raise ConfigError(
            f"privacy for {min(members)} members of whom {wanted.colluding} collude", "add agents, or lower colluding"
        )
    privacy = calibrated(
        wanted.epsilon,
        delta=wanted.delta,
        rounds=rounds,
        length=length,
        clip=wanted.clip,
        scale_bits=asked.scale_bits,
        honest=honest,
    )
    return Noise(privacy, wanted.epsilon, wanted.delta, rounds)


def _survivors(asked: AggregationConfig, n: int) -> int:
    """Fewest vectors in a sum that a roster of n comes to, in each of its groups."""
    groups = groups_of(n) if asked.groups else 1
    sizes = {n // groups, -(-n // groups)}
    return max(asked.floor, min(map(smallest_floor, sizes)))


def spent(agreed: Agreement, rounds: int) -> PrivacySpent | None:
    """What the noise promises of all rounds that were opened; fewer may have come to a sum."""
    noise = agreed.noise
    if noise is None or not rounds:
        return None
    return PrivacySpent(epsilon(noise.privacy, rounds, noise.delta), noise.delta, rounds)
