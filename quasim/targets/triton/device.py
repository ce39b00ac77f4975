"""The Triton target: the space and the sources of its genomes, and users' own kernels beside the families."""

from __future__ import annotations

from quasim.errors import ConfigError
from quasim.kernels import adopt, family
from quasim.space import SearchSpace
from quasim.targets.gpu.build import Planned
from quasim.targets.gpu.image import Image
from quasim.targets.gpu.target import GpuTarget
from quasim.targets.triton.compile import triton_version
from quasim.targets.triton.foreign_family import ForeignFamily, load
from quasim.targets.triton.plans import triton_plan
from quasim.targets.triton.space import space
from quasim.trial import Genome, Problem


class TritonTarget(GpuTarget):
    """One NVIDIA GPU of this host as a target of Triton, which tunes users' own kernels, too; see ``GpuTarget``."""

    name = "triton"

    def _compiler_version(self) -> tuple[str, str]:
        return "triton", triton_version()

    def _space(self, problem: Problem) -> SearchSpace:
        known = family(problem.kernel)
        return known.foreign.space if isinstance(known, ForeignFamily) else space(problem, self._arch)

    def _plan(self, problem: Problem, genome: Genome) -> Planned:
        return triton_plan(problem, genome)

    def _adopt(self, foreign: str) -> str:
        if not foreign:
            return ""
        known = load(foreign)
        adopt(known)
        return known.place

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
