from __future__ import annotations

import statistics
from pathlib import Path

import pyarrow.dataset as ds
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quasim.errors import StorageError
from quasim.trial import Problem, Trial
from storage.batches import encode, genome_text, owner_batch
from storage.queries import by_configuration, count_by_status, open_dataset
from storage.segments import SegmentStore
from tests.storage.samples import IDS, evaluations, key, trial

ROWS_BATCHED = Problem.of("softmax", rows=64, columns=4096)


def deploy(folder: Path, node: str, *trials: Trial) -> Path:
    with SegmentStore(folder) as store:
        store.append([encode(owner_batch(key(0, node=node), "cpu", evaluations(*trials), IDS.id))])
    return folder


@pytest.fixture
def deployments(tmp_path: Path) -> list[Path]:
    return [
        deploy(tmp_path / "one", "a", trial(8, time_ns=100.0), trial(16, time_ns=50.0), trial(32, time_ns=None)),
        deploy(tmp_path / "two", "b", trial(8, time_ns=300.0), trial(16, time_ns=70.0)),
        deploy(tmp_path / "three", "c", trial(8, time_ns=110.0), trial(8, time_ns=5.0, problem=ROWS_BATCHED)),
    ]


def test_statuses_are_counted_over_several_stores(deployments: list[Path]) -> None:
    assert count_by_status(open_dataset(deployments)) == {"ok": 6, "crashed": 1}


def test_telemetry_of_several_deployments_is_aggregated_by_configuration(deployments: list[Path]) -> None:
    rows = by_configuration(open_dataset(deployments)).to_pylist()
    assert [row["kernel"] for row in rows] == ["matmul", "matmul", "matmul", "softmax"]
    fast, slow, failed, other = rows
    assert slow["genome_id"] == other["genome_id"] == IDS.id("genome", genome_text(trial(8).genome))
    assert slow["problem_id"] == IDS.id("problem", "matmul[m=768,n=512,k=640]") != other["problem_id"]
    assert (slow["trials"], slow["ok"], slow["nodes"]) == (3, 3, 3)
    assert (slow["mean_ns"], slow["median_ns"], slow["min_ns"]) == (170.0, 110.0, 100.0)
    assert (fast["trials"], fast["mean_ns"], fast["median_ns"], fast["min_ns"]) == (2, 60.0, 60.0, 50.0)
    assert (failed["trials"], failed["ok"], failed["median_ns"], failed["mean_ns"]) == (1, 0, None, None)
    assert [row["best"] for row in rows] == [True, False, False, True]


def test_queries_take_a_filtered_dataset(deployments: list[Path]) -> None:
    chosen = open_dataset(deployments).filter(ds.field("kernel") == "softmax")
    assert [row["trials"] for row in by_configuration(chosen).to_pylist()] == [1]


def test_nothing_stored_gives_empty_answers(tmp_path: Path) -> None:
    SegmentStore(tmp_path).close()
    assert count_by_status(open_dataset([tmp_path])) == {}
    assert by_configuration(open_dataset([tmp_path])).num_rows == 0


def test_missing_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="nowhere"):
        open_dataset([tmp_path / "nowhere"])


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.none() | st.floats(1.0, 1e6)), min_size=1, max_size=30))
def test_median_is_exact(tmp_path_factory: pytest.TempPathFactory, times: list[tuple[int, float | None]]) -> None:
    folder = deploy(tmp_path_factory.mktemp("store"), "a", *(trial(tile, time_ns=time) for tile, time in times))
    found = {row["genome_id"]: row["median_ns"] for row in by_configuration(open_dataset([folder])).to_pylist()}
    for tile in {tile for tile, _ in times}:
        ok = [time for other, time in times if other == tile and time]
        median = statistics.median(ok) if ok else None
        assert found[IDS.id("genome", genome_text(trial(tile).genome))] == median
