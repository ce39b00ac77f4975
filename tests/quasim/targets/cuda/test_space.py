"""Spaces of the CUDA target are of a size that can be searched, and every genome of them lowers."""

from __future__ import annotations

import numpy as np
import pytest

from quasim.kernels import families, family
from quasim.kernels.lower import LoweringError
from quasim.kernels.lower.threads import lower_threads
from quasim.targets.cuda.compile import ARCHS
from quasim.targets.cuda.emit import emit
from quasim.targets.cuda.space import space
from quasim.targets.gpu.resources import limits
from tests.quasim.targets.cuda.variants import FAMILIES
from tests.quasim.targets.triton.test_space import EVEN, ODD, TINY, problem


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("name", FAMILIES)
def test_genomes_lower_at_every_kind_of_shape(name: str, arch: str) -> None:
    for sizes in (EVEN, ODD, TINY):
        asked = problem(name, sizes)
        found = space(asked, arch)
        assert found.default is not None
        for chosen in (found.default, *found.sample(np.random.default_rng(0), 4)):
            program = lower_threads(family(name).kernel, chosen, asked.dims)
            assert emit(program)
            assert program.threads <= limits(arch).threads
            assert program.shared_bytes <= limits(arch).shared_bytes


@pytest.mark.parametrize("name", FAMILIES)
def test_spaces_have_tens_to_a_thousand_genomes(name: str) -> None:
    assert 30 <= space(problem(name, EVEN), "sm_90").size <= 1000


@pytest.mark.parametrize("name", [member.name for member in families() if member.name not in FAMILIES])
def test_products_that_threads_have_no_units_for_are_refused(name: str) -> None:
    with pytest.raises(LoweringError, match="float32"):
        space(problem(name, EVEN), "sm_90")


def test_an_architecture_that_nvrtc_makes_no_code_for_is_refused() -> None:
    with pytest.raises(LoweringError, match="gfx90a"):
        space(problem("add", EVEN), "gfx90a")
