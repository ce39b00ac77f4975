from __future__ import annotations

import pytest

from aggregation.privacy import epsilon
from aggregation.secure import smallest_floor
from cluster.agreed import agreement, spent
from cluster.config import AggregationConfig, FleetConfig, PrivacyConfig
from quasim.errors import ConfigError
from quasim.targets.spec import Recording, ReplaySpec

LENGTH = 64


def config(aggregation: AggregationConfig, cycles: int = 4) -> FleetConfig:
    return FleetConfig(target=ReplaySpec((Recording("recorded"),)), cycles=cycles, aggregation=aggregation)


def noisy(floor: int = 2, colluding: int = 0, cycles: int = 4) -> FleetConfig:
    privacy = PrivacyConfig(epsilon=8.0, clip=2.0, colluding=colluding)
    return config(AggregationConfig(scale_bits=12, floor=floor, privacy=privacy), cycles)


def test_without_privacy_sums_are_exact() -> None:
    agreed = agreement(config(AggregationConfig(ring_bits=64, scale_bits=30, groups=False)), range(4, 6), LENGTH)
    assert (agreed.secure, agreed.ring_bits, agreed.scale_bits, agreed.groups, agreed.noise) == (
        True, 64, 30, False, None,
    )  # fmt: skip
    assert spent(agreed, 4) is None


def test_the_plain_protocol_is_agreed_on_where_it_is_asked_for() -> None:
    assert not agreement(config(AggregationConfig(protocol="plain")), range(1, 2), LENGTH).secure


def test_noise_keeps_the_promise_for_all_cycles_and_the_report_says_what_was_spent() -> None:
    agreed = agreement(noisy(), range(4, 6), LENGTH)
    assert agreed.noise is not None
    assert epsilon(agreed.noise.privacy, 4, 1e-6) <= 8.0
    told, more = spent(agreed, 2), spent(agreed, 5)
    assert told is not None
    assert more is not None
    assert told.epsilon < 8.0 < more.epsilon
    assert (told.delta, told.rounds) == (1e-6, 2)
    assert spent(agreed, 0) is None


@pytest.mark.parametrize(
    ("members", "floor", "colluding", "honest"),
    [(range(4, 6), 2, 0, 3), (range(4, 6), 4, 1, 3), (range(32, 34), 2, 0, smallest_floor(33))],
    ids=["the protocol's own floor", "less those that collude", "the lowest of all rosters to come"],
)
def test_noise_is_sized_for_the_fewest_honest_survivors(
    members: range, floor: int, colluding: int, honest: int
) -> None:
    noise = agreement(noisy(floor, colluding), members, LENGTH).noise
    assert noise is not None
    assert noise.privacy.honest == honest


def test_large_rosters_count_survivors_group_by_group() -> None:
    noise = agreement(noisy(), range(100, 101), LENGTH).noise
    assert noise is not None
    assert noise.privacy.honest == min(smallest_floor(33), smallest_floor(34))


@pytest.mark.parametrize(("members", "colluding"), [(range(1, 2), 0), (range(4, 5), 3)])
def test_noise_that_nobody_adds_is_refused(members: range, colluding: int) -> None:
    with pytest.raises(ConfigError, match="collude"):
        agreement(noisy(floor=1, colluding=colluding), members, LENGTH)
