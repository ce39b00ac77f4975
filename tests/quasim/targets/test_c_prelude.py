from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

from quasim.kernels._base import numpy_dtype
from quasim.kernels.ir import Dtype
from quasim.targets.c.compile import CCompiler
from quasim.targets.c.prelude import C_TYPES, prelude

NARROW: tuple[Dtype, ...] = ("bfloat16", "float16")
LANES = (2, 8)
BITS = np.arange(1 << 16, dtype=np.uint16)


def _lines(lanes: int) -> Iterator[str]:
    yield prelude(lanes, exp=True, narrow=NARROW)
    for dtype in NARROW:
        kind, n = C_TYPES[dtype], lanes
        for name, count, load, store in [
            (dtype, n, f"load{n}_{dtype}(from + i)", f"store{n}_{dtype}(to + i, "),
            (f"{dtype}_part", n, f"load_part{n}_{dtype}(from + i, count - i)", f"store_part{n}_{dtype}(to + i, "),
            (f"{dtype}_one", 1, f"load1_{dtype}(from + i)", f"store1_{dtype}(to + i, "),
        ]:
            rest = ", count - i)" if name.endswith("part") else ")"
            vector = "float" if count == 1 else f"v{n}"
            widen = f"*({vector} *)(wide + i) = {load};" if count == 1 else f"store{n}(wide + i, {load});"
            narrow = f"{store}{'wide[i]' if count == 1 else f'load{n}(wide + i)'}{rest};"
            loop = f"for (int64_t i = 0; i < count; i += {count})"
            yield f"void widen_{name}(const {kind} *from, float *wide, int64_t count) {{ {loop} {widen} }}"
            yield f"void narrow_{name}(const float *wide, {kind} *to, int64_t count) {{ {loop} {narrow} }}"
    each = f"for (int64_t i = 0; i < count; i += {lanes})"
    yield f"void roots(float *x, int64_t count) {{ {each} store{lanes}(x + i, sqrt{lanes}(load{lanes}(x + i))); }}"
    yield "void exps(float *x, int64_t count) { for (int64_t i = 0; i < count; ++i) x[i] = exp1(x[i]); }"


@pytest.fixture(scope="module", params=LANES)
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    folder: Path = tmp_path_factory.mktemp("prelude")
    return ctypes.CDLL(str(CCompiler.find().compile("\n".join(_lines(request.param)), folder).path))


def _call(library: ctypes.CDLL, name: str, *arrays: npt.NDArray[np.generic]) -> None:
    library[name](*(ctypes.c_void_p(array.ctypes.data) for array in arrays), ctypes.c_int64(arrays[0].size))


@pytest.mark.parametrize("form", ["", "_part", "_one"])
@pytest.mark.parametrize("dtype", NARROW)
def test_every_16_bit_number_is_widened_exactly(library: ctypes.CDLL, dtype: Dtype, form: str) -> None:
    wide = np.empty(BITS.size, np.float32)
    _call(library, f"widen_{dtype}{form}", BITS, wide)
    np.testing.assert_array_equal(wide, BITS.view(numpy_dtype(dtype)).astype(np.float32))


@pytest.mark.parametrize("form", ["", "_part", "_one"])
@pytest.mark.parametrize("dtype", NARROW)
def test_rounding_to_16_bits_is_to_nearest_with_ties_to_even(library: ctypes.CDLL, dtype: Dtype, form: str) -> None:
    narrow = numpy_dtype(dtype)
    random = np.random.default_rng(1).integers(0, 1 << 32, 1 << 16, dtype=np.uint32).view(np.float32)
    ties = (np.arange(1 << 16, dtype=np.uint32) << 16 | 0x8000).view(np.float32)
    halves = (np.arange(1 << 16, dtype=np.uint32) << 12 | 0x38000000).view(np.float32)
    for wide in (random, ties, halves, np.array([np.inf, -np.inf, np.nan, -0.0, 65519.9, 65520, 3.39e38, 0], "f4")):
        rounded = np.zeros(wide.size, narrow)
        _call(library, f"narrow_{dtype}{form}", wide, rounded)
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(rounded.astype(np.float32), wide.astype(narrow).astype(np.float32))


def test_a_part_of_a_vector_leaves_what_follows_alone(library: ctypes.CDLL) -> None:
    wide, to = np.ones(3, np.float32), np.zeros(8, ml_dtypes.bfloat16)
    _call(library, "narrow_bfloat16_part", wide, to)
    assert to.astype(int).tolist() == [1, 1, 1, 0, 0, 0, 0, 0]


def test_square_roots_are_correctly_rounded_and_nan_below_zero(library: ctypes.CDLL) -> None:
    x = np.abs(np.random.default_rng(2).standard_normal(1 << 12, dtype=np.float32))
    x[:4] = [0, np.inf, -1, np.nan]
    roots = x.copy()
    _call(library, "roots", roots)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(roots, np.sqrt(x))


def test_the_scalar_exponential_is_that_of_a_lane(library: ctypes.CDLL) -> None:
    x = np.linspace(-80, 80, 1001, dtype=np.float32)
    exps = x.copy()
    _call(library, "exps", exps)
    np.testing.assert_allclose(exps, np.exp(x.astype(np.float64)), rtol=5e-7)
