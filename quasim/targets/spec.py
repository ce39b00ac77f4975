"""Which target to open, as plain data: it travels in configs and to the processes that measure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from quasim.errors import ConfigError
from quasim.meters import MIN_WORK_NS
from quasim.targets.c.device import CTarget
from quasim.targets.gpu.resources import limits
from quasim.targets.replay import ReplayTarget
from quasim.trial import Problem

if TYPE_CHECKING:
    from quasim.targets.gpu.pool import Compiler
    from quasim.targets.gpu.target import GpuTarget


class CSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="c", tag_field="kind"):
    """Compiled C on this host's CPU; ``threads`` None: every core that the process may use.

    Raises:
        ConfigError: threads below 1.
    """

    threads: int | None = None

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"threads={self.threads} is too small", "give 1 or more, or null for every usable core")

    def open(self) -> CTarget:
        """The target, ready to measure.

        Raises:
            MissingToolError: there is no C compiler.
        """
        return CTarget(threads=self.threads)


class TritonSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="triton", tag_field="kind"):
    """Triton on one of this host's NVIDIA GPUs.

    Attributes:
        device: index among the visible GPUs.
        arch: for which is compiled, such as ``sm_80`` for a device of 8.6; None: the device's own.
        metered: whether the finalists' energy is read, which takes three seconds a genome.

    Raises:
        ConfigError: the index is negative, or the architecture is not NVIDIA's.
        UnknownNameError: no such architecture.
    """

    device: int = 0
    arch: str | None = None
    metered: bool = True

    def __post_init__(self) -> None:
        if self.device < 0:
            raise ConfigError(f"device={self.device} is no GPU", "give an index from 0 on")
        if self.arch is None:
            return
        limits(self.arch)
        if not self.arch.startswith("sm_"):
            raise ConfigError(
                f"arch={self.arch} is no NVIDIA architecture", "no worker runs on other vendors' GPUs yet"
            )

    @property
    def energy_window_ns(self) -> int:
        """How long each finalist's energy is read; 0: unmetered."""
        return MIN_WORK_NS if self.metered else 0

    def open(self, compiler: Compiler | None = None) -> GpuTarget:
        """The target, ready to measure; it starts a worker with a context on the GPU.

        Args:
            compiler: of the sources; None: processes of this host.

        Raises:
            MissingToolError: there is no NVIDIA driver, GPU, PyTorch, cuda-bindings or Triton; it says which.
        """
        from quasim.targets.triton.device import TritonTarget  # the compiler's modules: only for who has a GPU

        return TritonTarget(
            index=self.device, arch=self.arch, energy_window_ns=self.energy_window_ns, compiler=compiler
        )


class CudaSpec(TritonSpec, frozen=True, forbid_unknown_fields=True, tag="cuda", tag_field="kind"):
    """CUDA C++ on one of this host's NVIDIA GPUs; attributes as of ``TritonSpec``.

    Raises:
        ConfigError: the index is negative, or the architecture is not NVIDIA's.
        UnknownNameError: no such architecture.
    """

    def open(self, compiler: Compiler | None = None) -> GpuTarget:
        """The target, ready to measure; it starts a worker with a context on the GPU.

        Args:
            compiler: of the sources; None: processes of this host.

        Raises:
            MissingToolError: there is no NVIDIA driver, GPU, PyTorch, cuda-bindings or NVRTC; it says which.
        """
        from quasim.targets.cuda.device import CudaTarget  # the compiler's modules: only for who has a GPU

        return CudaTarget(index=self.device, arch=self.arch, energy_window_ns=self.energy_window_ns, compiler=compiler)


class Recording(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A recorded space, which a replay device serves from ``from_cycle`` on."""

    path: str
    from_cycle: int = 0


class ReplaySpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="replay", tag_field="kind"):
    """A device whose times and joules are read from recordings (T4 results or Kernel Tuner cache files)."""

    recordings: tuple[Recording, ...]

    def problems(self) -> tuple[Problem, ...]:
        """What was recorded.

        Raises:
            DataError: a recording is missing or does not hold what its format says.
        """
        return self.open().problems

    def open(self) -> ReplayTarget:
        """The target, with its recordings read.

        Raises:
            DataError: a recording is missing or does not hold what its format says.
        """
        return ReplayTarget("replay", [(r.from_cycle, Path(r.path)) for r in self.recordings])


TargetSpec = CSpec | TritonSpec | CudaSpec | ReplaySpec
