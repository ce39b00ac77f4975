from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")

import torch

from quasim.errors import QuasimError
from quasim.kernels import Arrays, families, family
from quasim.kernels.accuracy import untouched
from quasim.trial import Problem
from quasim.worker.cuda.arena import ALIGN, DTYPES, MARGIN_BYTES, MAX_SETS, Arena
from quasim.worker.cuda.bench import Bench
from quasim.worker.cuda.launcher import Launch, Tensors
from quasim.worker.cuda.peers import Compute, checked_launch, compute
from quasim.worker.protocol import PeerKind

CPU = torch.device("cpu")
PROBLEM = Problem.of("stencil2d", h=20, w=37)


def _small(name: str) -> Problem:
    sizes = {"b": 3}
    return Problem(name, tuple((dim.name, max(dim.lo, sizes.get(dim.name, 16))) for dim in family(name).kernel.dims))


def _bench(problem: Problem = PROBLEM, total_bytes: int = 1 << 16) -> Bench:
    return Bench(problem, 1, total_bytes, CPU)


def _checked(bench: Bench, function: Compute, arrays: Tensors) -> Launch:
    return checked_launch(bench.family.kernel, arrays, function)


def _stencil(after: Callable[[Tensors], object]) -> Callable[[Tensors], Launch]:
    """A right stencil that does something more."""

    def prepare(arrays: Tensors) -> Launch:
        right = checked_launch(family("stencil2d").kernel, arrays, compute("stencil2d", PeerKind.EAGER))

        def launch() -> None:
            right()
            after(arrays)

        return launch

    return prepare


@pytest.mark.parametrize("name", [f.name for f in families()])
def test_every_familys_peers_are_right(name: str) -> None:
    bench = _bench(_small(name))
    for kind in (PeerKind.EAGER, PeerKind.LIBRARY):
        try:
            function = compute(name, kind)
        except QuasimError:
            assert kind is PeerKind.LIBRARY
            continue
        verdict = bench.check(partial(_checked, bench, function))
        assert verdict.wrong == ""
        assert verdict.errors is not None
        assert verdict.errors.frobenius < bench.family.tolerance


@pytest.mark.parametrize(
    ("after", "detail"),
    [
        (lambda a: a["y"][3, 3].fill_(torch.nan), "the answer holds NaN"),
        (lambda a: a["y"][3, 3].fill_(torch.inf), "the answer holds infinities"),
        (lambda a: a["y"][3, 3].add_(1), "is above the tolerance"),
        (lambda a: a["y"][0, 0].fill_(1), "wrote outside the elements that the kernel covers"),
        (lambda a: a["x"][0, 5].fill_(1), "wrote into its input x"),
        (lambda a: torch.as_strided(a["y"], (1,), (1,), a["y"].storage_offset() + 20 * 37).fill_(1), "past the end"),
        (lambda a: a["y"][3:5].fill_(untouched("float32")), "above the tolerance"),
    ],
)
def test_a_wrong_answer_is_told_and_the_next_check_is_clean(after: Callable[[Tensors], object], detail: str) -> None:
    bench = _bench()
    assert detail in bench.check(_stencil(after)).wrong
    assert bench.check(_stencil(lambda arrays: None)).wrong == ""


@pytest.mark.parametrize("name", ["softmax", "matmul_bf16", "matmul_fp16", "gate2"])
def test_inputs_have_the_bytes_that_the_cpu_has(name: str) -> None:
    problem = _small(name)
    bench = _bench(problem)
    inputs = bench.family.inputs(problem.dims, np.random.default_rng(1))
    for arrays in (bench.arena.sets[0], bench.arena.sets[-1]):
        for tensor, source in inputs.items():
            assert arrays[tensor].reshape(-1).view(torch.uint8).numpy().tobytes() == source.tobytes()


def test_sets_lie_apart_on_aligned_addresses_and_exceed_what_is_asked() -> None:
    kernel = family("softmax").kernel
    inputs: Arrays = {"x": np.ones((16, 100), np.float32)}
    arena = Arena(kernel, {"rows": 16, "cols": 100}, inputs, 100_000, CPU)
    starts = sorted((a.data_ptr(), a.numel() * 4) for arrays in arena.sets for a in arrays.values())
    assert len(arena.sets) * arena.set_bytes > 100_000
    assert all((start - starts[0][0]) % ALIGN == 0 for start, _ in starts)
    assert all(a + size + MARGIN_BYTES <= b for (a, size), (b, _) in pairwise(starts))


def test_tiny_problems_have_a_bounded_number_of_sets() -> None:
    assert _bench(Problem.of("stencil2d", h=3, w=3), 1 << 30).set_count == MAX_SETS


def test_every_format_has_its_torch_name() -> None:
    assert {t.dtype for f in families() for t in f.kernel.tensors} <= set(DTYPES)
