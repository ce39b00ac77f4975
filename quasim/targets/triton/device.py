"""The Triton target: the space and the sources of its genomes, and users' own kernels beside the families."""

from __future__ import annotations

from quasim.errors import ConfigError
from quasim.kernels import adopt, family
from quasim.lease import Lease
from quasim.space import SearchSpace
from quasim.targets.gpu.build import Planned
from quasim.targets.gpu.image import Image
from quasim.targets.gpu.pool import Compiler
from quasim.targets.gpu.target import GpuTarget
from quasim.targets.triton.compile import triton_version
from quasim.targets.triton.foreign_family import ForeignFamily, load
from quasim.targets.triton.plans import triton_plan
from quasim.targets.triton.space import space
from quasim.trial import Genome, Problem
from quasim.worker.process import Limits


class TritonTarget(GpuTarget):
    """One NVIDIA GPU of this host as a target of Triton.

    Args:
        foreign: a kernel of the user's own that it tunes, too, as ``FILE.py:NAME``: this process and its workers
            execute that file. For the others see ``GpuTarget``.

    Raises:
        ConfigError: there is no such kernel in the file, or the device runs no binaries of ``arch``.
        MissingToolError: see ``GpuTarget``.
    """

    name = "triton"

    def __init__(
        self,
        *,
        index: int = 0,
        arch: str | None = None,
        metered: bool = True,
        seed: int = 0,
        limits: Limits | None = None,
        compiler: Compiler | None = None,
        lease: Lease | None = None,
        spares: int = 1,
        foreign: str = "",
    ) -> None:
        super().__init__(
            index=index,
            arch=arch,
            metered=metered,
            seed=seed,
            limits=limits,
            compiler=compiler,
            lease=lease,
            spares=spares,
            place=_adopted(foreign),
        )

    def _compiler_version(self) -> tuple[str, str]:
        return "triton", triton_version()

    def _space(self, problem: Problem) -> SearchSpace:
        known = family(problem.kernel)
        return known.foreign.space if isinstance(known, ForeignFamily) else space(problem, self._arch)

    def _plan(self, problem: Problem, genome: Genome) -> Planned:
        return triton_plan(problem, genome)

    def _can_prepare(self, problem: Problem) -> bool:
        known = family(problem.kernel)
        return not isinstance(known, ForeignFamily) or known.foreign.reference is not None

    def _before(self, problem: Problem) -> None:
        """Let the default configuration's answer be the reference, where the user of a foreign kernel gives none."""
        known = family(problem.kernel)
        if not isinstance(known, ForeignFamily) or known.foreign.reference or problem in self._station.standards:
            return
        default = self.space(problem).default
        assert default is not None  # as of every foreign space
        (one,) = self._build(problem, [default])
        if not isinstance(one.image, Image):
            raise ConfigError(f"the default of {known.foreign.name} does not compile: {one.detail}", "mend it first")
        self._station.standards[problem] = one.image


def _adopted(foreign: str) -> str:
    """The place of a foreign kernel, by which every process finds it; empty for none."""
    if not foreign:
        return ""
    known = load(foreign)
    adopt(known)
    return known.place
