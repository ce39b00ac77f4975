from __future__ import annotations

from pathlib import Path

import pyarrow.compute as pc
import pytest

from benchmarks.table import DEVICE, NODES, commits, synthetic_segment
from storage.schemas import OWNER_V2
from storage.segment_file import Span, inspect, read
from storage.validation import check_contents


def test_synthetic_rows_keep_what_the_schema_promises_and_say_what_they_are(tmp_path: Path) -> None:
    synthetic_segment(tmp_path, 7, batches=NODES, rows=5)
    segment = inspect(tmp_path, Span(7, 7), OWNER_V2)
    [whole] = read(segment, OWNER_V2)
    check_contents([whole.slice(number * 5, 5) for number in range(NODES)])
    assert pc.unique(whole["device_family"]).to_pylist() == [DEVICE] == ["SYNTHETIC"]
    assert len(pc.unique(whole["node_id"])) == NODES


def test_synthetic_rows_of_a_number_are_always_the_same(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        synthetic_segment(tmp_path / name, 3, batches=2, rows=5)
    one, two = (read(inspect(tmp_path / name, Span(3, 3), OWNER_V2), OWNER_V2) for name in ("one", "two"))
    assert one == two


def test_commits_are_clocked_one_by_one_and_counted_afterwards(tmp_path: Path) -> None:
    row, reopen_s = commits(tmp_path, 3)
    assert (row["commits"], row["rows each"], row["files at the end"]) == (3, 200, 3)
    assert reopen_s == pytest.approx(float(str(row["reopen [s]"])) + float(str(row["and count [s]"])))
    assert 0 < float(str(row["median [s]"])) <= float(str(row["longest, a merge [s]"]))
