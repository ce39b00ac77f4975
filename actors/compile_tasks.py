"""Compiles on whatever CPUs the cluster has: one Ray task for each source, so that a GPU only loads and measures."""

from __future__ import annotations

from collections.abc import Sequence

import ray
from ray.exceptions import RayError, RayTaskError

from quasim.errors import QuasimError
from quasim.targets.c.device import cache_folder
from quasim.targets.triton.compile import AnySource, Result, compile_source
from quasim.targets.triton.image import CompileFailure

LIMIT_S = 120.0
"""For all sources of one call, waiting for a CPU included. A large product takes ten seconds; a compiler that hangs
must not hold up the device for longer than this."""

RETRIES = 1
"""A worker that was lost with its machine is worth a second try, a compiler that crashes is not worth a third."""


def compile_task(source: AnySource, arch: str) -> Result:
    """One source, in a worker of Ray's on any machine; needs Triton there, and no GPU.

    Raises:
        MissingToolError: Triton is not installed there.
        StorageError: its cache cannot be written there.
    """
    return compile_source(source, arch, cache_folder() / "triton")


class RayCompiler:
    """See ``Compiler``. What becomes of one source never touches the others.

    Args:
        limit_s: for all sources of one call; what is not done by then has failed.
    """

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self._limit_s = limit_s
        self._task = ray.remote(compile_task).options(num_cpus=1, max_retries=RETRIES, scheduling_strategy="SPREAD")

    def compile_all(self, sources: Sequence[AnySource], arch: str) -> list[Result]:
        """An image or the reason why there is none for each source, in order.

        Raises:
            QuasimError: a machine cannot compile at all; that is nothing to blame a genome for.
        """
        calls = [self._task.remote(source, arch) for source in sources]
        _, late = ray.wait(calls, num_returns=len(calls), timeout=self._limit_s) if calls else ([], [])
        for call in late:
            ray.cancel(call, force=True)
        return [self._timeout() if call in late else _result(call) for call in calls]

    def _timeout(self) -> CompileFailure:
        return CompileFailure("timeout", f"not compiled within {self._limit_s:g} s")


def _result(call: ray.ObjectRef[Result]) -> Result:
    try:
        return ray.get(call)
    except RayTaskError as error:
        if isinstance(error.cause, QuasimError):
            raise error.cause from error
        return CompileFailure("crashed", repr(error.cause))
    except RayError as error:
        return CompileFailure("crashed", f"the compiler's process died {RETRIES + 1} times: {type(error).__name__}")
