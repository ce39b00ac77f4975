"""Words that are balanced along the sum: their launches in Triton's interpreter, and compiled."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from quasim.kernels import family
from quasim.kernels._base import Arrays
from quasim.kernels.accuracy import Errors, kernel_errors
from quasim.precision import split
from quasim.precision.classes import CLASSES
from quasim.precision.emulate import answered
from quasim.precision.formats import Floats
from quasim.precision.plan import PLANS
from quasim.precision.probe import refusal
from quasim.targets.gpu.compile import compile_source
from quasim.targets.gpu.image import Bundle
from quasim.targets.triton.plans import planned
from quasim.trial import Genome, Problem
from tests.quasim.targets.triton.interpreted import Case, interpreted
from tests.quasim.targets.triton.variants import PRODUCT, genome

MATMUL = family("matmul").kernel
PLAN = PLANS["fp16x2k"]
RAGGED = {"m": 37, "n": 45, "k": 70}
EIGHTS = {"m": 40, "n": 48, "k": 72}
POINTERS = genome(PRODUCT, plan=PLAN.name, promote=1, epilogue=2)
BOXES = genome(PRODUCT, plan=PLAN.name, promote=1, epilogue=2, access="descriptor", walk="flat", block_k=32)

CASES = {
    **{name: Case(Problem.of("matmul", **RAGGED), POINTERS, data=name) for name in CLASSES},
    "opposed, descriptors": Case(Problem.of("matmul", **EIGHTS), BOXES, data="opposed"),
    "NaN": Case(Problem.of("matmul", **RAGGED), POINTERS, nan_at=5),
    "infinity": Case(Problem.of("matmul", **RAGGED), POINTERS, nan_at=0, bad=math.inf),
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Arrays]:
    folder: Path = tmp_path_factory.mktemp("balanced")
    return dict(zip(CASES, interpreted(list(CASES.values()), folder), strict=True))


def operands(name: str) -> tuple[Floats, Floats]:
    """A, and B with its columns as rows."""
    inputs = CASES[name].inputs()
    return np.asarray(inputs["a"], np.float32), np.ascontiguousarray(np.asarray(inputs["b"], np.float32).T)


def errors(name: str, outputs: Arrays) -> Errors:
    member, case = family("matmul"), CASES[name]
    return kernel_errors(member.kernel, outputs, member.reference(case.problem.dims, case.inputs()))


@pytest.mark.parametrize("name", CASES)
def test_balance_scales_and_words_are_those_of_numpy_bit_for_bit(name: str, answers: dict[str, Arrays]) -> None:
    a, b = operands(name)
    balance = split.balance(a, b)
    np.testing.assert_array_equal(answers[name]["balance"], balance)
    for operand, rows, along in (("a", a, balance), ("b", b, -balance)):
        scales = split.scale_exponents(rows, PLAN, along)
        np.testing.assert_array_equal(answers[name][f"{operand}_scale"], scales[:, 0])
        for number, word in enumerate(split.words(split.scaled(rows, scales + along), PLAN)):
            np.testing.assert_array_equal(answers[name][f"{operand}_word{number}"].astype(np.float32), word)


@pytest.mark.parametrize("name", CASES)
def test_who_refuses_on_the_device_is_who_does_in_numpy(name: str, answers: dict[str, Arrays]) -> None:
    a, b = operands(name)
    assert refusal(answers[name]["refused"][0]) == answered(a, b.T, PLAN)[1]


@pytest.mark.parametrize("name", CASES)
def test_every_class_of_data_is_answered_to_float32_s_accuracy(name: str, answers: dict[str, Arrays]) -> None:
    assert errors(name, answers[name]).componentwise < 4e-7


def test_opposed_scalings_run_on_words(answers: dict[str, Arrays]) -> None:
    for name in ("opposed", "opposed, descriptors"):
        assert refusal(answers[name]["refused"][0]) == ""
        assert errors(name, answers[name]).frobenius < 1e-6


def test_passes_hold_their_rows_in_registers(images: Path) -> None:
    shape = {"m": 4096, "n": 4096, "k": 4096}
    chosen = Genome({**BOXES, "block_m": 128, "block_n": 128, "warps": 8, "stages": 3, "walk": "tiles"})
    plans = planned(MATMUL, chosen, shape)
    made = plans.joined([compile_source(source, "sm_90", images) for source in plans.sources])
    assert isinstance(made, Bundle), made
    assert [stage.kernel for stage in made.stages[:4]] == ["tops_b", "balance_ab", "split_a", "split_b"]
    assert max(stage.resources.local_bytes for stage in made.stages[:4]) == 0
