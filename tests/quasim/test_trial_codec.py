from __future__ import annotations

import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasim.codec import from_json, from_msgpack, to_json, to_msgpack
from quasim.errors import DataError, ExitCode, QuasimError, ShapeError, SpaceError
from quasim.trial import EnergySource, Genome, Problem, Status, Timing, Trial, Value

MATMUL = Problem.of("matmul", m=768, n=333, k=0)
OK = Trial(
    problem=MATMUL,
    target="c",
    genome=Genome({"tile": 8, "fast": True, "share": 1.0, "layout": "row"}),
    status=Status.OK,
    timing=Timing(1000.0, 990.5, 1010.25, 40),
    error_frobenius=2e-7,
    energy_j=0.5,
    energy_source=EnergySource.COUNTER,
    compile_ns=5,
    measure_ns=7,
)

texts = st.text(max_size=8)
values = st.one_of(st.booleans(), st.integers(-(2**62), 2**62), st.floats(allow_nan=False, allow_infinity=False), texts)
genomes = st.dictionaries(texts, values, max_size=5).map(Genome)


def typed(genome: Genome) -> list[tuple[str, type, Value]]:
    return [(name, type(value), value) for name, value in genome.items()]


@given(genomes)
def test_genome_survives_json_and_msgpack_with_types_and_order(genome: Genome) -> None:
    assert typed(from_json(to_json(genome), Genome)) == typed(genome)
    assert typed(from_msgpack(to_msgpack(genome), Genome)) == typed(genome)


@given(genomes)
def test_equal_genomes_hash_equal_whatever_their_order(genome: Genome) -> None:
    turned = Genome(dict(reversed(list(genome.items()))))
    assert turned == genome
    assert hash(turned) == hash(genome)


def test_trial_survives_json_and_msgpack() -> None:
    assert from_json(to_json(OK), Trial) == OK
    assert from_msgpack(to_msgpack(OK), Trial) == OK
    assert to_json(from_json(to_json(OK), Trial)) == to_json(OK)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe",
        b"{",
        b"[" * 100_000,
        b'{"problem":{"kernel":"matmul","shape":[["m",-1]]}}',
        to_json(OK).replace(b'"ok"', b'"timeout"'),
        to_json(OK).replace(b'"tile":8', b'"tile":[8]'),
        b'{"problem":{"kernel":"matmul","shape":[]},"target":"c","genome":7,"status":"timeout"}',
        to_json(OK).replace(b"990.5", b"9905"),
    ],
)
def test_what_is_no_trial_is_a_data_error_that_names_its_source(text: bytes) -> None:
    with pytest.raises(DataError, match=r"^trial 7 cannot be read") as caught:
        from_json(text, Trial, "trial 7")
    assert caught.value.exit_code is ExitCode.BAD_DATA


def test_msgpack_that_is_cut_off_is_a_data_error() -> None:
    with pytest.raises(DataError, match="MessagePack cannot be read"):
        from_msgpack(to_msgpack(OK)[:-1], Trial)


def test_what_has_no_written_form_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="object has no written form"):
        to_json(object())


def test_problem_reads_the_text_it_writes() -> None:
    assert Problem.parse("matmul", MATMUL.shape_text) == MATMUL
    assert str(MATMUL) == "matmul[m=768,n=333,k=0]"
    assert MATMUL.dims == {"m": 768, "n": 333, "k": 0}


def test_shape_class_rounds_to_the_nearest_power_of_two() -> None:
    assert MATMUL.shape_class == "m~2^10,n~2^8,k~0"


@pytest.mark.parametrize("text", ["", "m", "m=", "m=x", "m=1,m=2", "m=-1", "1m=3", "m=1,,n=2"])
def test_text_that_is_no_shape_is_refused(text: str) -> None:
    with pytest.raises(ShapeError):
        Problem.parse("matmul", text)


def test_negative_extent_is_refused() -> None:
    with pytest.raises(ShapeError, match="m=-1 is negative"):
        Problem.of("matmul", m=-1)


def test_genome_cannot_be_changed_and_survives_pickling() -> None:
    genome = OK.genome
    with pytest.raises(TypeError):
        genome["tile"] = 9  # type: ignore[index]
    assert pickle.loads(pickle.dumps(genome)) == genome  # noqa: S301
    assert str(genome) == "tile=8,fast=True,share=1.0,layout=row"


def test_integer_refuses_what_is_none() -> None:
    assert OK.genome.integer("tile") == 8
    for name in ("fast", "share", "layout", "missing"):
        with pytest.raises(SpaceError, match=f"{name}="):
            OK.genome.integer(name)


@pytest.mark.parametrize(
    ("median", "low", "high", "samples"), [(1, 2, 3, 1), (0, 0, 1, 1), (1, 1, math.inf, 1), (3, 1, 2, 1), (1, 1, 1, 0)]
)
def test_timing_that_is_no_interval_cannot_be_built(median: float, low: float, high: float, samples: int) -> None:
    with pytest.raises(ValueError, match=r"interval|samples"):
        Timing(median, low, high, samples)


def test_trial_has_a_timing_exactly_when_ok() -> None:
    genome = Genome({})
    with pytest.raises(ValueError, match="exactly when its status is ok"):
        Trial(problem=MATMUL, target="c", genome=genome, status=Status.OK)
    with pytest.raises(ValueError, match="exactly when its status is ok"):
        Trial(problem=MATMUL, target="c", genome=genome, status=Status.CRASHED, timing=OK.timing)


def test_energy_needs_a_source() -> None:
    with pytest.raises(ValueError, match="does not go with source"):
        Trial(problem=MATMUL, target="c", genome=Genome({}), status=Status.CRASHED, energy_j=1.0)


def test_failed_trial_takes_forever() -> None:
    assert Trial(problem=MATMUL, target="c", genome=Genome({}), status=Status.TIMEOUT).time_ns == math.inf


def test_errors_carry_their_parts_through_pickling() -> None:
    error: QuasimError = pickle.loads(pickle.dumps(ShapeError("m=3 is odd", "pad it")))  # noqa: S301
    assert isinstance(error, ShapeError)
    assert (error.what, error.do, str(error)) == ("m=3 is odd", "pad it", "m=3 is odd: pad it")
