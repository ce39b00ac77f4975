from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from quasim.errors import DataError, ShapeError
from quasim.kernels import Arrays, family
from quasim.targets.c.compile import CCompiler
from quasim.targets.c.launch import LaunchError, Loaded, load
from tests.quasim.targets.c_variants import compiled, genomes, rng

KERNEL = family("stencil2d").kernel
SHAPE = {"h": 6, "w": 9}


@pytest.fixture(scope="module")
def variant(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load(compiled("stencil2d", genomes("stencil2d")[0], tmp_path_factory.mktemp("launch")), KERNEL)


def _arrays() -> Arrays:
    return {**family("stencil2d").inputs(SHAPE, rng(0)), "y": np.zeros((6, 9), np.float32)}


@pytest.mark.parametrize("shape", [{"h": 2, "w": 9}, {"h": 6, "w": 70_000}, {"h": 6}, {"h": 6, "w": 9, "d": 1}])
def test_a_shape_outside_the_domain_is_refused(variant: Loaded, shape: dict[str, int]) -> None:
    with pytest.raises(ShapeError):
        variant(shape, _arrays())


def test_an_array_that_is_not_as_its_tensor_says_is_refused(variant: Loaded) -> None:
    frozen = np.zeros((6, 9), np.float32)
    frozen.setflags(write=False)
    wrong: list[tuple[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]] = [
        ("x", np.zeros((6, 8), np.float32)),
        ("x", np.zeros((6, 18), np.float32)[:, ::2]),
        ("y", frozen),
    ]
    for name, array in wrong:
        with pytest.raises((ShapeError, DataError), match=name):
            variant(SHAPE, {**_arrays(), name: array})
    with pytest.raises(DataError, match="float64"):
        variant(SHAPE, {**_arrays(), "x": np.zeros((6, 9))})
    with pytest.raises(DataError, match="'y'"):
        variant(SHAPE, {"x": _arrays()["x"]})


def test_a_prepared_launch_can_be_repeated_and_keeps_its_arrays(variant: Loaded) -> None:
    arrays = _arrays()
    y = arrays["y"]
    launch = variant.prepare(SHAPE, arrays)
    arrays.clear()
    launch()
    first = y.copy()
    y[...] = 0
    launch()
    assert np.array_equal(first, y)
    assert first.any()


def test_a_library_without_the_entry_point_is_refused(tmp_path: Path) -> None:
    other = CCompiler.find().compile("int another(void) { return 0; }\n", tmp_path)
    with pytest.raises(LaunchError, match="quasim_run"):
        load(other.path, KERNEL)
    with pytest.raises(LaunchError):
        load(tmp_path / "nothing.so", KERNEL)


def test_a_launch_that_finds_no_memory_is_an_error(tmp_path: Path) -> None:
    failing = "int quasim_run(const void *dims, const void *tensors) { (void)dims; (void)tensors; return 1; }\n"
    with pytest.raises(LaunchError, match="memory"):
        load(CCompiler.find().compile(failing, tmp_path).path, KERNEL)(SHAPE, _arrays())
