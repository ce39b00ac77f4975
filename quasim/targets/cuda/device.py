"""The CUDA C++ target: thread programs instead of tile programs, on the same workers as Triton's."""

from __future__ import annotations

from quasim.kernels import family
from quasim.space import SearchSpace
from quasim.targets.cuda.compile import nvrtc_version
from quasim.targets.cuda.source import cuda_source
from quasim.targets.cuda.space import space
from quasim.targets.gpu.build import Planned
from quasim.targets.gpu.target import GpuTarget
from quasim.trial import Genome, Problem


def cuda_plan(problem: Problem, genome: Genome) -> Planned:
    """The one source of a genome.

    Raises:
        LoweringError, SpaceError: it has none.
    """
    return Planned((cuda_source(family(problem.kernel).kernel, genome, problem.dims),))


class CudaTarget(GpuTarget):
    """One NVIDIA GPU of this host as a target of CUDA C++; arguments as of ``GpuTarget``.

    Raises:
        MissingToolError: there is no NVIDIA driver, GPU, PyTorch, cuda-bindings or NVRTC here; it says which.
        UnknownNameError: the facts of this architecture are not known to us.
    """

    name = "cuda"

    def _compiler_version(self) -> tuple[str, str]:
        return "nvrtc", nvrtc_version()

    def _space(self, problem: Problem) -> SearchSpace:
        return space(problem, self._arch)

    def _plan(self, problem: Problem, genome: Genome) -> Planned:
        return cuda_plan(problem, genome)
