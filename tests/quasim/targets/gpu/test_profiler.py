from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from quasim.kernels.sizes import Grid
from quasim.targets.gpu.image import Image
from quasim.targets.gpu.profiler import METRICS, Once, parse, profile
from quasim.targets.gpu.resources import Resources
from quasim.targets.profile import Profile
from quasim.trial import Problem
from tests.quasim.gpu import REASON

LAUNCH = "ID,Process ID,Process Name,Host Name,Kernel Name,Context,Stream,Block Size,Grid Size,Device,CC"
HEADER = (
    *LAUNCH.split(","),
    "dram__bytes.sum.per_second",
    "dram__throughput.avg.pct_of_peak_sustained_elapsed",
    "l1tex__t_sector_hit_rate.pct",
    "lts__t_sector_hit_rate.pct",
    "sm__warps_active.avg.pct_of_peak_sustained_active",
    "smsp__sass_average_branch_targets_threads_uniform.pct",
    "smsp__sass_branch_targets.sum",
    "smsp__sass_branch_targets_threads_divergent.sum",
)
VALUES = ("0", "471", "python3.12", "127.0.0.1", "softmax", "1", "7", "(128, 1, 1)", "(4096, 1, 1)", "0", "9.0")
UNITS = ("",) * 11 + ("byte/s", "%", "%", "%", "%", "%", "", "")

PROGRESS = """==PROF== Connected to process 471 (/usr/bin/python3.12)
==PROF== Profiling "softmax" - 0: 0%....50%....100% - 9 passes
==PROF== Disconnected from process 471
"""


def report(*figures: str, units: tuple[str, ...] = UNITS) -> str:
    """As ``ncu --csv --page raw --log-file`` writes it (Nsight Compute CLI manual, "Output Pages")."""
    rows = (HEADER, units, VALUES + figures)
    return PROGRESS + "".join(",".join(f'"{cell}"' for cell in row) + "\n" for row in rows)


GOOD = report("2,716,153,000,000.50", "87.5", "0", "50", "93.75", "100", "12,288", "0")

IMAGE = Image(
    kernel="softmax",
    binary=b"\x7fELF",
    entry="softmax",
    arch="sm_90",
    num_warps=4,
    num_ctas=1,
    shared_bytes=0,
    resources=Resources(32, 0, 0),
    arguments=(),
    grid=Grid(()),
)
ONCE = Once(IMAGE, Problem.of("softmax", rows=4, cols=4), 0)


def test_every_counter_of_a_report_is_told_in_its_unit() -> None:
    assert parse(GOOD) == Profile(
        branches=12288.0,
        divergent_branches=0.0,
        branch_efficiency=1.0,
        l1_hit_rate=0.0,
        l2_hit_rate=0.5,
        occupancy=0.9375,
        dram_bytes_per_s=2.7161530000005e12,
        dram_utilization=0.875,
    )


def test_a_counter_that_the_card_lacks_is_none_and_the_others_stay() -> None:
    found = parse(report("1e12", "n/a", "12.5", "50", "nan", "100", "9", "0"))
    assert found.dram_utilization is None
    assert found.occupancy is None
    assert (found.l1_hit_rate, found.reason) == (0.125, "")


def test_a_report_without_any_figure_says_so() -> None:
    assert parse(report(*["n/a"] * 8)) == Profile(reason="ncu gave no value to any metric")


def test_a_unit_that_we_do_not_know_is_no_figure() -> None:
    found = parse(report(*["1"] * 8, units=("",) * 11 + ("furlong/s", *UNITS[12:])))
    assert found == Profile(reason="ncu tells dram__bytes.sum.per_second in 'furlong/s'")


def test_where_nothing_branches_there_is_no_efficiency() -> None:
    found = parse(report("1e12", "87.5", "0", "50", "93.75", "0", "0", "0"))
    assert (found.branches, found.branch_efficiency) == (0.0, None)


@pytest.mark.parametrize(
    ("text", "said", "reason"),
    [
        (
            "==PROF== Connected to process 9\n==ERROR== ERR_NVGPUCTRPERM - The user does not have permission to access "
            "NVIDIA GPU Performance Counters on the target device 0.\n",
            "",
            "ERR_NVGPUCTRPERM",
        ),
        ("==WARNING== No kernels were profiled.\n", "", "No kernels were profiled."),
        ("", "Traceback …\nquasim.errors.MissingToolError: no NVIDIA driver\n", "no NVIDIA driver"),
        ("", "", "no report"),
    ],
)
def test_no_figures_come_with_the_reason(text: str, said: str, reason: str) -> None:
    found = parse(text, said)
    assert reason in found.reason
    assert found == Profile(reason=found.reason)


def test_without_ncu_nothing_is_started() -> None:
    assert profile(ONCE, "cuda:0", {"PATH": "/nowhere"}) == Profile(reason="ncu is not on the PATH")


def _fake_ncu(folder: Path) -> Path:
    """A program that keeps its arguments, and writes a report where it is told to."""
    program = folder / "ncu"
    program.write_text(
        f"#!{sys.executable}\nimport os, sys\nfrom pathlib import Path\n"
        f"Path({str(folder / 'given')!r}).write_text(chr(10).join((*sys.argv[1:], *os.environ)))\n"
        f"Path(sys.argv[sys.argv.index('--log-file') + 1]).write_text({GOOD!r})\n"
    )
    program.chmod(0o755)
    return program


def test_the_card_is_left_as_it_is_and_secrets_stay_here(tmp_path: Path) -> None:
    _fake_ncu(tmp_path)
    found = profile(ONCE, "cuda:0", {**os.environ, "PATH": str(tmp_path), "RAY_AUTH_TOKEN": "secret"})
    assert found == parse(GOOD)
    given = (tmp_path / "given").read_text().splitlines()
    assert given[given.index("--clock-control") + 1] == "none"
    assert given[given.index("--kernel-name") + 1] == "softmax"
    assert set(given[given.index("--metrics") + 1].split(",")) == set(METRICS.values())
    assert "RAY_AUTH_TOKEN" not in given


def _wait_for_end(pid: int) -> None:
    """Killed a moment ago; a zombie that nobody has reaped yet has ended, too."""
    for _ in range(500):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                return
        except (FileNotFoundError, ProcessLookupError):
            return
        time.sleep(0.01)
    pytest.fail(f"process {pid} goes on")


def test_a_profiler_that_hangs_is_killed_with_what_it_started(tmp_path: Path) -> None:
    program, child = tmp_path / "ncu", tmp_path / "child"
    program.write_text(f"#!/bin/sh\nsleep 1000 &\necho $! > {child}.made\nmv {child}.made {child}\nwait\n")
    program.chmod(0o755)
    found = profile(ONCE, "cuda:0", {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}, limit_s=1.0)
    assert found == Profile(reason="ncu took longer than 1 s")
    _wait_for_end(int(child.read_text()))


@pytest.mark.gpu
@pytest.mark.skipif(bool(REASON), reason=REASON or "there is a GPU")
def test_the_counters_of_a_launch_are_read() -> None:
    from quasim.targets.triton.device import TritonTarget

    problem = Problem.of("softmax", rows=4096, cols=4096)
    with TritonTarget(spares=0) as target:
        default = target.space(problem).default
        assert default is not None
        found = target.profile(problem, default)
    if found.reason:
        pytest.skip(f"ncu: {found.reason}")
    assert found.occupancy is not None
    assert 0 < found.occupancy <= 1
    assert found.dram_bytes_per_s is not None
    assert found.dram_bytes_per_s > 1e10
