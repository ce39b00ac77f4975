from __future__ import annotations

import msgspec
import pytest

from quasim.codec import from_json, from_msgpack, to_json, to_msgpack
from quasim.kernels import CostFacts
from quasim.kernels.sizes import Grid
from quasim.standing import Peaks
from quasim.targets.gpu.image import Image
from quasim.targets.gpu.introspect import introspection
from quasim.targets.gpu.resources import Resources
from quasim.trial import Genome, Introspection, Origin, Problem, Status, Timing, Trial

IMAGE = Image("k", b"", "k", "sm_90", 4, 1, 1024, Resources(64, 8, 1024), (), Grid(()))
MILLISECOND = Timing(1e6, 9e5, 1.1e6, 7)
COST = CostFacts(flops=4_000_000, bytes=2_000_000)


def test_rates_are_compulsory_work_over_the_median_time() -> None:
    found = introspection(IMAGE, MILLISECOND, COST, Peaks(copy_bytes_per_s=4e9, flops_per_s=16e9))
    assert found is not None
    assert (found.registers, found.local_bytes, found.shared_bytes) == (64, 8, 1024)
    assert found.occupancy == IMAGE.occupancy
    assert found.bytes_per_s == pytest.approx(2e9)
    assert found.flops_per_s == pytest.approx(4e9)
    assert found.roofline_fraction == pytest.approx(0.5)


def test_what_was_not_measured_stays_unknown() -> None:
    untimed = introspection(IMAGE, None, COST, None)
    assert untimed is not None
    assert (untimed.registers, untimed.bytes_per_s, untimed.roofline_fraction) == (64, None, None)
    no_peaks = introspection(IMAGE, MILLISECOND, COST, None)
    assert no_peaks is not None
    assert no_peaks.roofline_fraction is None
    assert introspection(None, MILLISECOND, COST, None) is None


def test_where_nobody_counted_flops_there_is_neither_rate_nor_roofline() -> None:
    found = introspection(IMAGE, MILLISECOND, CostFacts(flops=0, bytes=2_000_000), Peaks(4e9, 16e9))
    assert found is not None
    assert (found.flops_per_s, found.roofline_fraction) == (None, None)
    assert found.bytes_per_s == pytest.approx(2e9)


def test_every_field_says_where_it_comes_from() -> None:
    origins = {field.name: Introspection.origin(field.name) for field in msgspec.structs.fields(Introspection)}
    compiler = {name for name, origin in origins.items() if origin is Origin.COMPILER}
    assert compiler == {"registers", "local_bytes", "shared_bytes"}
    assert set(origins.values()) == {Origin.COMPILER, Origin.DERIVED}


def test_a_trial_with_its_introspection_survives_writing() -> None:
    trial = Trial(
        problem=Problem.of("add", rows=1, cols=1),
        target="triton",
        genome=Genome({"warps": 4}),
        status=Status.OK,
        timing=MILLISECOND,
        introspection=introspection(IMAGE, MILLISECOND, COST, None),
    )
    assert from_json(to_json(trial), Trial) == trial
    assert from_msgpack(to_msgpack(trial), Trial) == trial
