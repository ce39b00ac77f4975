from __future__ import annotations

from pathlib import Path

import pytest

from quasim.errors import ExitCode, MissingToolError
from quasim.worker.cuda.device import open_gpu
from quasim.worker.process import Limits, Worker
from tests.quasim.gpu import REASON

without_gpu = pytest.mark.skipif(not REASON, reason="this machine has a GPU")


@without_gpu
def test_without_a_gpu_it_is_told_what_is_missing() -> None:
    with pytest.raises(MissingToolError, match=r"driver|torch|cuda-bindings|GPU") as caught:
        open_gpu(0)
    assert caught.value.do


@without_gpu
def test_a_gpu_worker_without_a_gpu_says_so_and_is_gone() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    worker = Worker(Limits(memory_bytes=8 << 30), threads=1, desk="cuda:0")
    with pytest.raises(MissingToolError) as caught:
        worker.start()
    assert caught.value.exit_code is ExitCode.MISSING_TOOL
    assert worker.pid is None
    assert len(list(Path("/proc/self/fd").iterdir())) == before
