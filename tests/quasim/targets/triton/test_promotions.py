"""Sums that leave the tensor core every few blocks: in Triton's interpreter, and in what is compiled."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from quasim.errors import ConfigError
from quasim.kernels import family
from quasim.kernels._base import Arrays
from quasim.precision.check import product_errors
from quasim.precision.emulate import K_BLOCK, emulate
from quasim.precision.formats import Floats
from quasim.precision.plan import PLANS
from quasim.targets.triton.compile import _run_triton
from quasim.targets.triton.plans import planned
from quasim.targets.triton.source import Source
from quasim.targets.triton.space import space
from quasim.trial import Genome, Problem
from tests.quasim.targets.triton.interpreted import Case, interpreted
from tests.quasim.targets.triton.variants import PRODUCT, genome

MATMUL = family("matmul").kernel
RAGGED = {"m": 37, "n": 45, "k": 330}
EIGHTS = {"m": 40, "n": 48, "k": 328}
WHOLE = {"m": 32, "n": 32, "k": 384}
POINTERS = genome(PRODUCT, plan="fp16x2", promote=2, epilogue=2, block_k=K_BLOCK)
BOXES = Genome({**POINTERS, "access": "descriptor", "walk": "flat"})

CASES = {
    "two": Case(Problem.of("matmul", **RAGGED), POINTERS),
    "four": Case(Problem.of("matmul", **RAGGED), Genome({**POINTERS, "promote": 4})),
    "two, descriptors": Case(Problem.of("matmul", **EIGHTS), BOXES),
    "four, descriptors": Case(Problem.of("matmul", **EIGHTS), Genome({**BOXES, "promote": 4})),
    "four of six blocks": Case(Problem.of("matmul", **WHOLE), Genome({**POINTERS, "promote": 4})),
    "one accumulator": Case(Problem.of("matmul", **RAGGED), Genome({**POINTERS, "plan": "fp16x2f", "promote": 4})),
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Arrays]:
    folder: Path = tmp_path_factory.mktemp("promotions")
    return dict(zip(CASES, interpreted(list(CASES.values()), folder), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_every_element_counts_however_many_blocks_are_promoted_together(name: str, answers: dict[str, Arrays]) -> None:
    case = CASES[name]
    inputs = case.inputs()
    a, b = np.asarray(inputs["a"], np.float32), np.asarray(inputs["b"], np.float32)
    plan = replace(PLANS[str(case.genome["plan"])], promote=case.genome.integer("promote"))
    found: Floats = np.asarray(answers[name]["c"], np.float32)
    assert product_errors(found, a, b).componentwise < 4e-7
    assert (np.abs(found - emulate(a, b, plan)) / (np.abs(a) @ np.abs(b))).max() < 1e-6


FAST = Genome(
    {**BOXES, "block_m": 128, "block_n": 128, "block_k": 32, "warps": 8, "stages": 2, "walk": "tiles", "group": 8}
)
HELD = 128 * 128 // (8 * 32)
"""Elements of a sum for each thread."""


def product(every: int) -> Source:
    staged = planned(MATMUL, Genome({**FAST, "promote": every}), {"m": 4096, "n": 4096, "k": 4096})
    (source,) = (each for each in staged.sources if isinstance(each, Source) and each.entry == "matmul_fp16x2")
    return source


@pytest.mark.parametrize("every", [1, 2, 4])
def test_the_sum_of_a_few_blocks_leaves_the_tensor_core_once(every: int) -> None:
    source = product(every)
    loop = source.text.split("for step in ")[1].split("\n    total = ")[0]
    assert loop.startswith(f"tl.range(0, ((n_k + {32 * every - 1}) // {32 * every}), 1)")
    assert loop.count("part = tl.dot(") == every
    assert loop.count("apart(part)") == loop.count("part = tl.full(") == 1
    ptx = str(_run_triton(source, "sm_90").asm["ptx"])
    # The compiler keeps the copies, one for each number that a thread holds, and multiplies 16 elements at a time.
    assert len(re.findall(r"// begin inline asm\s+mov\.b32 %r\d+, %r\d+;", ptx)) == HELD
    assert ptx.count("wgmma.mma_async.sync") == every * 3 * 32 // 16


def test_the_space_offers_promotions_to_plans_that_promote() -> None:
    found = space(Problem.of("matmul", m=4096, n=4096, k=4096), "sm_90")
    chosen = found.sample(np.random.default_rng(1), 256)
    assert {each["promote"] for each in chosen if each["plan"] == "fp16x2"} == {0, 1, 2}
    assert {each["promote"] for each in chosen if each["plan"] != "fp16x2"} == {0}


def test_other_numbers_of_blocks_are_refused() -> None:
    with pytest.raises(ConfigError, match="promotions"):
        planned(MATMUL, Genome({**POINTERS, "promote": 3}), RAGGED)
