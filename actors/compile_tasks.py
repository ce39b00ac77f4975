"""Compiles on whatever CPUs the cluster has: one Ray task for each source, so that a GPU only loads and measures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import ray
from ray.exceptions import RayError, RayTaskError

from quasim.errors import QuasimError
from quasim.targets.gpu.compile import AnySource, Result
from quasim.targets.gpu.image import CompileFailure
from quasim.targets.gpu.pool import LIMIT_S, LocalCompiler

RETRIES = 1
"""A worker that was lost with its machine is worth a second try, a second loss is not worth a third."""


def compile_task(source: AnySource, arch: str, limit_s: float) -> Result:
    """One source, in a process behind a worker of Ray's on any machine; needs Triton there, and no GPU.

    Args:
        limit_s: from here on: no task is to blame for how long it waited for a CPU.

    Raises:
        MissingToolError: its compiler is not installed there.
        StorageError: its cache cannot be written there.
    """
    [result] = _compiler(limit_s).compile_all([source], arch)
    return result


@lru_cache
def _compiler(limit_s: float) -> LocalCompiler:
    """One process for each worker of Ray's, which outlives a task, since Triton takes seconds to import."""
    return LocalCompiler(processes=1, limit_s=limit_s)


class RayCompiler:
    """See ``Compiler``. What becomes of one source never touches the others.

    Args:
        limit_s: for one source, once it has a CPU.
    """

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self._limit_s = limit_s
        self._task = ray.remote(compile_task).options(num_cpus=1, max_retries=RETRIES, scheduling_strategy="SPREAD")

    def compile_all(self, sources: Sequence[AnySource], arch: str) -> list[Result]:
        """An image or the reason why there is none for each source, in order.

        Raises:
            QuasimError: a machine cannot compile at all; that is nothing to blame a genome for.
        """
        return [_result(call) for call in [self._task.remote(source, arch, self._limit_s) for source in sources]]


def _result(call: ray.ObjectRef[Result]) -> Result:
    try:
        return ray.get(call)
    except RayTaskError as error:
        if isinstance(error.cause, QuasimError):
            raise error.cause from error
        return CompileFailure("crashed", repr(error.cause))
    except RayError as error:
        return CompileFailure("crashed", f"the task was lost {RETRIES + 1} times: {type(error).__name__}")
