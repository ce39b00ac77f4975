"""Hardware counters of one launch, read by NVIDIA's ``ncu`` (Nsight Compute) in a process of its own.

The card is never changed (``--clock-control none``). ncu runs the launch several times, restores its memory and empties
the caches before each pass: what it tells of the caches is of a launch that finds nothing there, as in our timings.
"""

from __future__ import annotations

import csv
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from quasim.codec import to_msgpack
from quasim.errors import DataError
from quasim.targets.gpu.image import Loadable
from quasim.targets.profile import Profile
from quasim.trial import Problem
from quasim.worker.process import ROOT, without_secrets

TIMEOUT_S = 180.0
"""PyTorch's import, the inputs, and some ten passes of one launch take about 15 s."""

METRICS = {
    "branches": "smsp__sass_branch_targets.sum",
    "divergent_branches": "smsp__sass_branch_targets_threads_divergent.sum",
    "branch_efficiency": "smsp__sass_average_branch_targets_threads_uniform.pct",
    "l1_hit_rate": "l1tex__t_sector_hit_rate.pct",
    "l2_hit_rate": "lts__t_sector_hit_rate.pct",
    "occupancy": "sm__warps_active.avg.pct_of_peak_sustained_active",
    "dram_bytes_per_s": "dram__bytes.sum.per_second",
    "dram_utilization": "dram__throughput.avg.pct_of_peak_sustained_elapsed",
}
"""Nsight Compute's name of each field of a ``Profile`` (Profiling Guide, "Metrics Reference")."""

_UNITS = {"%": 0.01, "byte/s": 1.0, "byte/second": 1.0, "Kbyte/s": 1e3, "Mbyte/s": 1e6, "Gbyte/s": 1e9, "Tbyte/s": 1e12}

_COUNTS = ("branches", "divergent_branches")
"""Whatever ncu calls their unit: without a prefix they are what they are (``--print-units base``)."""

_NO_PERMISSION = "ERR_NVGPUCTRPERM"


class Once(msgspec.Struct, frozen=True):
    """What the profiled process launches: an image on inputs from a seed."""

    image: Loadable
    problem: Problem
    seed: int


def profile(once: Once, desk: str, environment: Mapping[str, str] | None = None, limit_s: float = TIMEOUT_S) -> Profile:
    """The counters of one launch; whoever calls holds the device's lease, for two cannot be profiled at once.

    Args:
        desk: the GPU, as a worker's command line names it.
        limit_s: after this the profiler and what it started are killed.
    """
    environment = os.environ if environment is None else environment
    ncu = shutil.which("ncu", path=environment.get("PATH"))
    if ncu is None:
        return Profile(reason="ncu is not on the PATH")
    with tempfile.TemporaryDirectory(prefix="quasim-ncu-") as folder:
        request, report = Path(folder) / "launch.msgpack", Path(folder) / "report.csv"
        request.write_bytes(to_msgpack(once))
        launch = [sys.executable, "-m", MODULE, str(request), desk]
        said = _run([ncu, *_options(once.image.entry, report), *launch], environment, limit_s)
        text = report.read_text(errors="replace") if report.exists() else ""
    return parse(text, said)


MODULE = "quasim.worker.cuda.once"


def _options(entry: str, report: Path) -> list[str]:
    return [
        *("--clock-control", "none"),
        *("--kernel-name", entry, "--launch-count", "1"),
        *("--csv", "--page", "raw", "--print-units", "base"),
        *("--metrics", ",".join(METRICS.values())),
        *("--log-file", str(report)),
    ]


def _run(command: list[str], environment: Mapping[str, str], limit_s: float) -> str:
    """What the process wrote to its error output, or the reason why it was stopped; nothing of it goes on."""
    try:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=without_secrets(environment),
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
    except OSError as error:
        return f"ncu cannot be run: {error}"
    with process:
        try:
            return process.communicate(timeout=limit_s)[1]
        except subprocess.TimeoutExpired:
            return f"ncu took longer than {limit_s:g} s"
        finally:
            # ncu's own child has the device open, and outlives it.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def parse(report: str, said: str = "") -> Profile:
    """The profile in what ncu wrote as CSV of its raw page.

    Args:
        said: what the profiled process wrote to its error output, for the reason where the report holds nothing.
    """
    lines = [line for line in report.splitlines() if line.startswith('"')]
    try:
        header, units, values = list(csv.reader(lines))[:3]
    except ValueError:
        return Profile(reason=_reason(report.splitlines(), said.splitlines()))
    columns = {name: (unit, value) for name, unit, value in zip(header, units, values, strict=False)}
    try:
        fields = {field: _figure(field, *columns.get(metric, ("", ""))) for field, metric in METRICS.items()}
    except DataError as error:
        return Profile(reason=error.what)
    if all(value is None for value in fields.values()):
        return Profile(reason="ncu gave no value to any metric")
    if not fields["branches"]:
        fields["branch_efficiency"] = None  # ncu says 0 % where nothing branches
    return msgspec.convert(fields, Profile)


def _figure(field: str, unit: str, text: str) -> float | None:
    """A figure in units of its field; None where ncu has none (``n/a``, or NaN of nothing that happened).

    Raises:
        DataError: its unit is none that we know.
    """
    try:
        value = float(text.replace(",", ""))
    except ValueError:
        return None
    if math.isnan(value) or field in _COUNTS:
        return None if math.isnan(value) else value
    if unit not in _UNITS:
        raise DataError(f"ncu tells {METRICS[field]} in {unit!r}", f"expected one of {', '.join(_UNITS)}")
    return value * _UNITS[unit]


def _reason(report: Iterable[str], said: Iterable[str]) -> str:
    """Why there is nothing, in one line."""
    tool = [line for line in report if line.startswith(("==ERROR==", "==WARNING=="))]
    for line in tool:
        if _NO_PERMISSION in line:
            return f"{_NO_PERMISSION}: the driver lets administrators alone read the counters"
    words = [line.split("==", 2)[-1].strip() for line in tool] or [line.strip() for line in said if line.strip()][-1:]
    return words[0] if words else "ncu gave no report"
