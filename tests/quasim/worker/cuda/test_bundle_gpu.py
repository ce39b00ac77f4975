"""A variant of several launches on a GPU: stages in order, a guard that answers in time, a workspace of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")

import torch

from quasim.errors import MissingToolError
from quasim.kernels import family
from quasim.precision import split
from quasim.precision.check import product_errors
from quasim.precision.classes import CLASSES, draw
from quasim.precision.plan import PLANS
from quasim.precision.probe import refusal
from quasim.targets.gpu.build import compiled
from quasim.targets.gpu.image import Bundle
from quasim.targets.gpu.pool import LocalCompiler
from quasim.targets.triton.plans import planned
from quasim.trial import Genome
from quasim.worker.cuda.device import open_gpu
from quasim.worker.protocol import Gpu

if TYPE_CHECKING:
    from quasim.worker.cuda.launcher import LoadedBundle

pytestmark = pytest.mark.gpu

SIDE = 512
DIMS = {"m": SIDE, "n": SIDE, "k": SIDE}
CHOSEN = Genome(
    {
        "block_m": 128,
        "block_n": 128,
        "block_k": 64,
        "warps": 8,
        "stages": 3,
        "group": 8,
        "access": "descriptor",
        "walk": "tiles",
        "epilogue": 2,
        "plan": "fp16x2",
        "promote": 1,
    }
)


@pytest.fixture(scope="module")
def gpu() -> Gpu:
    try:
        return open_gpu(0)[1]
    except MissingToolError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def bundle(gpu: Gpu, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    with LocalCompiler(folder=tmp_path_factory.mktemp("images")) as compiler:
        (made,) = compiled([planned(family("matmul").kernel, CHOSEN, DIMS)], gpu.arch, compiler)
    assert isinstance(made, Bundle), made
    return made


REFUSED = {"spread": "guard", "opposed": "guard", "cancelling": "verification"}


def refused(kernel: LoadedBundle) -> str:
    return refusal(kernel.workspace(DIMS)["refused"].item())


def arrays(data: str) -> dict[str, torch.Tensor]:
    a, b = (torch.from_numpy(np.ascontiguousarray(x)).cuda() for x in draw(data, 3, SIDE, SIDE, SIDE))
    return {"a": a, "b": b, "c": torch.full((SIDE, SIDE), torch.nan, device="cuda")}


@pytest.mark.parametrize("data", CLASSES)
def test_every_class_is_answered_and_refused_as_it_should_be(data: str, bundle: Bundle, gpu: Gpu) -> None:
    from quasim.worker.cuda.launcher import LoadedBundle

    kernel, given = LoadedBundle(bundle, gpu), arrays(data)
    kernel.prepare(DIMS, given)()
    torch.cuda.synchronize()
    host = {name: array.cpu().numpy() for name, array in given.items()}
    errors = product_errors(host["c"], host["a"], host["b"])
    assert errors.componentwise < 1e-6
    assert errors.frobenius < 1e-6
    assert refused(kernel) == REFUSED.get(data, "")


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_what_is_not_finite_is_answered_as_ieee_does(bad: float, bundle: Bundle, gpu: Gpu) -> None:
    from quasim.worker.cuda.launcher import LoadedBundle

    kernel, given = LoadedBundle(bundle, gpu), arrays("normal")
    given["a"][3, 4], given["b"][4, 5] = bad, 0
    kernel.prepare(DIMS, given)()
    torch.cuda.synchronize()
    assert refused(kernel) == "guard"
    expected = (given["a"].double() @ given["b"].double()).float()
    assert bool(expected[3, 5].isnan())
    assert torch.allclose(given["c"], expected, rtol=1e-6, atol=1e-6, equal_nan=True)


def test_a_product_that_comes_out_wrong_is_replaced(bundle: Bundle, gpu: Gpu) -> None:
    from quasim.worker.cuda.launcher import LoadedBundle

    kernel, given = LoadedBundle(bundle, gpu), arrays("normal")
    stages = dict(zip((stage.kernel for stage in bundle.stages), kernel.prepare_stages(DIMS, given), strict=True))
    for name, launch in stages.items():
        launch()
        if name == "matmul_fp16x2":
            given["c"][17, 23] += 1
    torch.cuda.synchronize()
    host = {name: array.cpu().numpy() for name, array in given.items()}
    assert refused(kernel) == "verification"
    assert product_errors(host["c"], host["a"], host["b"]).frobenius < 1e-7


def test_words_on_the_device_are_those_of_numpy(bundle: Bundle, gpu: Gpu) -> None:
    from quasim.worker.cuda.launcher import LoadedBundle

    kernel, given = LoadedBundle(bundle, gpu), arrays("denormals")
    kernel.prepare(DIMS, given)()
    torch.cuda.synchronize()
    a = given["a"].cpu().numpy()
    scales = split.scale_exponents(a, PLANS["fp16x2"])
    expected = split.words(split.scaled(a, scales), PLANS["fp16x2"])
    for number, word in enumerate(expected):
        np.testing.assert_array_equal(kernel.workspace(DIMS)[f"a_word{number}"].float().cpu().numpy(), word)


def test_a_verdict_holds_for_one_launch_alone(bundle: Bundle, gpu: Gpu) -> None:
    from quasim.worker.cuda.launcher import LoadedBundle

    kernel = LoadedBundle(bundle, gpu)
    for data in ("opposed", "normal", "cancelling", "normal", "opposed"):
        given = arrays(data)
        kernel.prepare(DIMS, given)()
        torch.cuda.synchronize()
        assert refused(kernel) == REFUSED.get(data, "")
        assert not given["c"].isnan().any()
