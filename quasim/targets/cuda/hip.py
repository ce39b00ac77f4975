"""The same sources through hipcc: every family for an AMD GPU, compiled and never run.

``python -m quasim.targets.cuda.hip`` (``make hip-check``) compiles the default genome of every family for gfx90a and
prints what the compiler allotted. Debian's package hipcc is enough; no device and no driver are needed. That a source
compiles says nothing about its speed there, nor that it is right: no AMD GPU has run one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from quasim.errors import MissingToolError, QuasimError
from quasim.kernels import families
from quasim.kernels.lower import LoweringError
from quasim.targets.cuda.source import CudaSource, cuda_source
from quasim.targets.cuda.space import space
from quasim.targets.gpu.resources import Resources, amdgcn_resources
from quasim.trial import Problem

ARCH = "gfx90a"

SIZES = {"b": 8, "m": 4096, "n": 4096, "k": 4096, "rows": 4096, "cols": 4096, "h": 4096, "w": 4096} | {
    "outer": 1 << 20,
    "middle": 4,
    "inner": 8,
}
"""Extents by the names of the families' dimensions."""

_LIMIT_S = 120.0


def hip_resources(source: CudaSource, arch: str) -> Resources:
    """Compile to a code object, and read the compiler's facts from the assembly on the way.

    Raises:
        MissingToolError: there is no hipcc.
        QuasimError: it refuses the source.
    """
    hipcc = shutil.which("hipcc")
    if hipcc is None:
        raise MissingToolError("hipcc is not installed", "apt-get install hipcc")
    # Beside a CUDA toolkit hipcc would hand everything on to nvcc.
    environment = {**os.environ, "HIP_PLATFORM": "amd"}
    options = ["-x", "hip", f"--offload-arch={arch}", "--cuda-device-only", "--std=c++17", "-O3", "--save-temps=obj"]
    with tempfile.TemporaryDirectory(prefix="quasim-hip-") as folder:
        text = Path(folder, f"{source.entry}.hip")
        text.write_text(source.text)
        command = [hipcc, *options, "-c", str(text), "-o", str(text.with_suffix(".hsaco"))]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
        if done.returncode:
            reason = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr[-300:])
            raise QuasimError(f"hipcc refuses {source.entry}: {reason}", "see the line that it names")
        (assembly,) = Path(folder).glob("*.s")
        return amdgcn_resources(assembly.read_text(), source.shared_bytes)


def main() -> None:
    """Compile every family that the target has a schedule for; exit code 1 where one fails."""
    failed = 0
    for member in families():
        problem = Problem.of(member.name, **{dim.name: SIZES[dim.name] for dim in member.kernel.dims})
        try:
            genome = space(problem, "sm_90").default
            assert genome is not None  # as of every space of this target
            facts = hip_resources(cuda_source(member.kernel, genome, problem.dims), ARCH)
            print(f"{member.name}: {facts.registers} registers, {facts.local_bytes} bytes of local memory (compiler)")
        except LoweringError:
            continue
        except MissingToolError as error:
            sys.exit(str(error))
        except QuasimError as error:
            print(error)
            failed += 1
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
