from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from benchmarks.bad_variants import PROBLEM, Fault, variant
from quasim.lease import Lease
from quasim.targets.gpu.compile import compile_source
from quasim.targets.gpu.image import Image
from quasim.targets.gpu.resources import limits
from quasim.trial import EnergySource, Status
from quasim.worker.process import Limits
from quasim.worker.protocol import (
    Binary,
    DevicePeak,
    DevicePeakKind,
    Entry,
    Gpu,
    Library,
    Outcome,
    Peer,
    PeerKind,
    Plan,
    Run,
)
from quasim.worker.standby import StandbyWorker
from quasim.worker.station import Station
from tests.quasim.gpu import on_gpu

pytestmark = on_gpu

QUICK = Plan(rounds=3, window_ns=2_000_000, min_samples=3, max_samples=50)


@pytest.fixture(scope="module")
def worker() -> Iterator[StandbyWorker]:
    worker = StandbyWorker(Limits(memory_bytes=32 << 30, run_s=5.0), threads=4, desk="cuda:0")
    yield worker
    worker.close()


@pytest.fixture(scope="module")
def station(worker: StandbyWorker, tmp_path_factory: pytest.TempPathFactory) -> Station:
    return Station(worker, Lease("gpu", folder=tmp_path_factory.mktemp("lease")))


@pytest.fixture(scope="module")
def gpu(station: Station) -> Gpu:
    gpu = station.start().gpu
    assert gpu is not None
    return gpu


@pytest.fixture
def image(gpu: Gpu, tmp_path: Path) -> Image:
    return _image("none", gpu, tmp_path)


def _image(fault: Fault, gpu: Gpu, folder: Path) -> Image:
    image = compile_source(variant(fault, 1), gpu.arch, folder)
    assert isinstance(image, Image)
    return image


def _run(station: Station, *entries: Entry, plan: Plan = QUICK, best_ns: float | None = None) -> list[Outcome]:
    return station.run(Run(PROBLEM, 1, entries, plan, 0, best_ns))


def test_the_worker_tells_what_device_it_has(gpu: Gpu) -> None:
    assert gpu.uuid.startswith(("GPU-", "MIG-"))
    assert gpu.arch.startswith("sm_")
    assert min(gpu.multiprocessors, gpu.l2_bytes, gpu.memory_bytes) > 0


def test_a_good_kernel_is_right_and_timed(station: Station, image: Image) -> None:
    (outcome,) = _run(station, Binary(image))
    assert outcome.status is Status.OK, outcome.detail
    assert outcome.error_frobenius is not None
    assert outcome.error_frobenius < 1e-6
    assert len(outcome.windows) == 3
    assert all(len(window) >= 3 for window in outcome.windows)


@pytest.mark.parametrize(
    ("fault", "status", "detail"),
    [
        ("illegal address", Status.CRASHED, "CUDA_ERROR_ILLEGAL_ADDRESS"),
        ("endless loop", Status.TIMEOUT, "no answer within"),
        ("NaN", Status.WRONG_RESULT, "the answer holds NaN"),
    ],
)
def test_a_fault_is_told_and_harms_no_other(
    station: Station, gpu: Gpu, image: Image, tmp_path: Path, fault: Fault, status: Status, detail: str
) -> None:
    good = Binary(image)
    outcomes = _run(station, good, Binary(_image(fault, gpu, tmp_path)), good)
    assert [outcome.status for outcome in outcomes] == [Status.OK, status, Status.OK]
    assert detail in outcomes[1].detail
    assert _run(station, good)[0].status is Status.OK


def test_only_poison_costs_a_worker(station: Station, worker: StandbyWorker, gpu: Gpu, tmp_path: Path) -> None:
    _run(station, Binary(_image("NaN", gpu, tmp_path)))
    pid = station.pid
    _run(station, Binary(_image("NaN", gpu, tmp_path)))
    assert station.pid == pid
    _run(station, Binary(_image("illegal address", gpu, tmp_path)))
    assert station.pid != pid


@pytest.mark.parametrize("more", [1, 1 << 20])
def test_shared_memory_that_the_device_lacks_is_a_launch_error(
    station: Station, gpu: Gpu, image: Image, more: int
) -> None:
    greedy = msgspec.structs.replace(image, shared_bytes=limits(gpu.arch).shared_bytes + more)
    bad, good = _run(station, Binary(greedy), Binary(image))
    assert bad.status is Status.LAUNCH_ERROR
    assert good.status is Status.OK


def test_a_binary_of_nonsense_is_a_launch_error(station: Station, image: Image) -> None:
    bad, good = _run(station, Binary(msgspec.structs.replace(image, binary=b"nonsense" * 40)), Binary(image))
    assert bad.status is Status.LAUNCH_ERROR
    assert good.status is Status.OK


def test_an_entry_of_a_cpu_worker_is_a_launch_error(station: Station) -> None:
    (outcome,) = _run(station, Library())
    assert outcome.status is Status.LAUNCH_ERROR
    assert "ask a CPU worker" in outcome.detail


def test_a_hopeless_variant_gives_up_early(station: Station, image: Image) -> None:
    (raced,) = _run(station, Binary(image), best_ns=1.0, plan=Plan(window_ns=50_000_000))
    assert raced.status is Status.OK
    assert len(raced.windows[0]) == 3


def test_peers_are_right_and_timed(tmp_path: Path) -> None:
    # PyTorch compiles for longer than a genome may run.
    patient = StandbyWorker(Limits(memory_bytes=32 << 30, run_s=120.0), threads=4, desk="cuda:0", spares=0)
    try:
        outcomes = _run(Station(patient, Lease("gpu", folder=tmp_path)), *map(Peer, PeerKind))
    finally:
        patient.close()
    assert [(outcome.status, outcome.detail) for outcome in outcomes] == [(Status.OK, "")] * len(PeerKind)


def test_peaks_tell_their_work(station: Station) -> None:
    copy, product = _run(station, DevicePeak(DevicePeakKind.COPY), DevicePeak(DevicePeakKind.PRODUCT))
    for outcome, least in ((copy, 100e9), (product, 1e12)):
        assert outcome.status is Status.OK, outcome.detail
        assert outcome.work / (min(outcome.windows[0]) / 1e9) > least


def test_a_metered_entry_has_joules_or_the_reason_why_not(station: Station, image: Image) -> None:
    plan = msgspec.structs.replace(QUICK, energy_window_ns=2_500_000_000)
    (outcome,) = _run(station, Binary(image), plan=plan)
    assert outcome.status is Status.OK, outcome.detail
    assert outcome.energy is not None
    assert bool(outcome.energy.voided) == (outcome.energy.source is EnergySource.UNMETERED)
