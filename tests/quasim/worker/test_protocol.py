from __future__ import annotations

import io

import pytest

from quasim.errors import DataError
from quasim.trial import Problem, Status
from quasim.worker.protocol import (
    MAX_BYTES,
    Failed,
    Library,
    Outcome,
    Peak,
    PeakKind,
    Plan,
    Prepare,
    Prepared,
    Ran,
    Ready,
    Reply,
    Request,
    Run,
    Variant,
    pack,
    read_reply,
    read_request,
)

PROBLEM = Problem.of("matmul", m=1, n=2, k=3)


@pytest.mark.parametrize(
    "request_",
    [
        Prepare(PROBLEM, 7),
        Run(PROBLEM, 7, (Variant("/a.so"), Library(), Peak("/p.so", PeakKind.FMA)), Plan(rounds=3), 5, 1.5),
    ],
)
def test_requests_survive_the_pipe(request_: Request) -> None:
    pipe = io.BytesIO(pack(request_) * 2)
    assert read_request(pipe.read) == request_
    assert read_request(pipe.read) == request_


@pytest.mark.parametrize(
    "reply",
    [
        Ready(),
        Prepared(sets=3, set_bytes=100),
        Failed("out of memory"),
        Ran((Outcome(status=Status.OK, windows=((1, 2), (3,))), Outcome(status=Status.WRONG_RESULT, detail="NaN"))),
    ],
)
def test_replies_survive_the_pipe(reply: Reply) -> None:
    assert read_reply(io.BytesIO(pack(reply)).read) == reply


def test_a_reply_is_no_request() -> None:
    with pytest.raises(DataError, match="request cannot be read"):
        read_request(io.BytesIO(pack(Ready())).read)


def test_a_length_that_cannot_be_is_refused_before_anything_is_read() -> None:
    pipe = io.BytesIO((MAX_BYTES + 1).to_bytes(4, "big") + b"x")
    with pytest.raises(DataError, match="no message"):
        read_reply(pipe.read)
    assert pipe.read() == b"x"


@pytest.mark.parametrize("field", ["rounds", "window_ns", "min_samples", "max_samples", "cap_ns"])
def test_a_plan_without_time_or_samples_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match="not a plan"):
        Plan(**{field: 0})
