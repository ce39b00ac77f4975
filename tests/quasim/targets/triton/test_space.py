"""Spaces of the Triton target are of a size that can be searched, and every genome of them lowers."""

from __future__ import annotations

import numpy as np
import pytest

from quasim.kernels import families, family
from quasim.kernels.lower import LoweringError
from quasim.kernels.lower.tiles import lower_tiles
from quasim.targets.gpu.compile import ARCHS
from quasim.targets.gpu.resources import limits
from quasim.targets.triton.emit import emit
from quasim.targets.triton.space import space
from quasim.trial import Problem

EVEN = {"m": 4096, "n": 4096, "k": 4096, "b": 8, "rows": 4096, "cols": 4096, "h": 4096, "w": 4096} | {
    "outer": 1 << 20,
    "middle": 4,
    "inner": 8,
}
ODD = {"m": 1000, "n": 77, "k": 50, "b": 3, "rows": 100, "cols": 35_000, "h": 50, "w": 33} | {
    "outer": 3,
    "middle": 7,
    "inner": 5,
}
TINY = dict.fromkeys(EVEN, 1) | {"h": 3, "w": 3}


def problem(name: str, sizes: dict[str, int]) -> Problem:
    return Problem.of(name, **{dim.name: sizes[dim.name] for dim in family(name).kernel.dims})


def has_products(name: str, arch: str) -> bool:
    return arch != "gfx90a" or "tf32" not in name


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("name", [member.name for member in families()])
def test_genomes_lower_at_every_kind_of_shape(name: str, arch: str) -> None:
    if not has_products(name, arch):
        with pytest.raises(LoweringError, match="tf32"):
            space(problem(name, EVEN), arch)
        return
    for sizes in (EVEN, ODD, TINY):
        asked = problem(name, sizes)
        found = space(asked, arch)
        assert found.default is not None
        for chosen in (found.default, *found.sample(np.random.default_rng(0), 4)):
            program = lower_tiles(family(name).kernel, chosen, asked.dims)
            assert emit(program)
            assert program.warps * limits(arch).warp <= limits(arch).threads


@pytest.mark.parametrize("name", ["matmul", "matmul_bf16", "softmax", "stencil2d", "add", "gate1", "gate2"])
def test_spaces_have_a_hundred_to_a_few_thousand_genomes(name: str) -> None:
    assert 100 <= space(problem(name, EVEN), "sm_90").size <= 4000


def test_descriptors_are_offered_only_where_the_machine_and_the_rows_allow_them() -> None:
    def access(sizes: dict[str, int], arch: str) -> tuple[object, ...]:
        (found,) = (p.values for p in space(problem("matmul_bf16", sizes), arch).parameters if p.name == "access")
        return found

    assert access(EVEN, "sm_90") == ("pointer", "descriptor")
    assert access(EVEN, "sm_80") == access(EVEN, "gfx942") == access(ODD, "sm_90") == ("pointer",)


def test_runs_are_offered_only_where_they_are_powers_of_two() -> None:
    def layout(sizes: dict[str, int]) -> tuple[object, ...]:
        (found,) = (p.values for p in space(problem("gate1", sizes), "sm_90").parameters if p.name == "layout")
        return found

    assert layout(EVEN) == ("flat", "packed")
    assert layout(ODD) == ("flat",)
