from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cluster.config import FleetConfig
from cluster.run_folder import RunFolder
from quasim.errors import ExitCode
from quasim.targets.spec import Recording, ReplaySpec
from quasim.trial import EnergySource
from storage.batches import encode, owner_batch
from storage.keys import load_or_create_key
from storage.pseudonyms import IdDictionary
from storage.schemas import BatchKey
from storage.segments import SegmentStore
from storage.table import TelemetryTable
from storage.table_reader import open_table, snapshot
from tests.cluster.test_cli import Command, command
from tests.storage.samples import evaluations, metered_trial, trial

__all__ = ["command"]

BY_STATUS = "SELECT status, count(*) AS n, max(energy_j) AS j FROM telemetry GROUP BY status ORDER BY status"

EPOCH = "datetime.datetime(1970, 1, 1, 0, 0)"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QUASIM_HOME", str(tmp_path / "site"))
    return tmp_path / "site"


@pytest.fixture
def run(tmp_path: Path, recorded_space: Path, site: Path) -> Path:
    """A run that was killed before anything was committed, by a site that knows its ids."""
    folder = RunFolder.create(tmp_path / "run", FleetConfig(target=ReplaySpec((Recording(str(recorded_space)),))))
    ids = IdDictionary(site / "ids", load_or_create_key(site / "site.key"))
    made = evaluations(metered_trial(), trial(16), trial(32, time_ns=None))
    with SegmentStore(folder.telemetry) as store:
        store.append([encode(owner_batch(BatchKey(ids.id("node", "node-0"), 0, 0), "cpu", made, ids.id))])
    ids.save()
    return folder.path


def test_a_run_is_asked_in_sql(command: Command, run: Path) -> None:
    document = command.json("telemetry", "query", str(run), BY_STATUS)
    assert document == {
        "columns": ["status", "n", "j"],
        "rows": [{"status": "crashed", "n": 1, "j": None}, {"status": "ok", "n": 2, "j": 0.25}],
        "more": False,
    }
    code, out, _ = command("telemetry", "query", str(run), BY_STATUS)
    assert code == 0
    assert [w.strip() for w in out.splitlines()[3].split("│")[1:4]] == ["crashed", "1", "–"]


def test_names_are_given_to_who_holds_the_site_key(
    command: Command, run: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql = "SELECT node_id, problem_id, genome_id FROM telemetry ORDER BY row LIMIT 1"
    hashed = command.json("telemetry", "query", str(run), sql)["rows"]
    assert isinstance(hashed, list)
    assert [len(value) for value in hashed[0].values()] == [32, 32, 32]
    assert command.json("telemetry", "query", str(run), sql, "--names")["rows"] == [
        {
            "node_id": "node-0",
            "problem_id": "matmul[m=768,n=512,k=640]",
            "genome_id": '{"pack":false,"tile":8}',
        }
    ]
    monkeypatch.setenv("QUASIM_HOME", str(site / "elsewhere"))
    assert "site.key" in command.fails(ExitCode.CONFIG, "telemetry", "query", str(run), sql, "--names")
    assert not (site / "elsewhere").exists()


def test_few_rows_of_many_are_printed_and_it_is_said(command: Command, run: Path) -> None:
    document = command.json("telemetry", "query", str(run), "SELECT row FROM telemetry ORDER BY row", "--limit", "2")
    assert (document["rows"], document["more"]) == ([{"row": 0}, {"row": 1}], True)
    _, _, said = command("telemetry", "query", str(run), "SELECT row FROM telemetry", "--limit", "2")
    assert "only the first 2 rows" in said
    whole = command.json("telemetry", "query", str(run), "SELECT row FROM telemetry", "--limit", "3")
    assert whole["more"] is False


def test_what_is_not_a_number_is_null_and_lists_are_text(command: Command, run: Path) -> None:
    sql = "SELECT CAST('NaN' AS DOUBLE) AS x, [1, 2] AS y, status = 'ok' AS z FROM telemetry ORDER BY row LIMIT 1"
    assert command.json("telemetry", "query", str(run), sql)["rows"] == [{"x": None, "y": "[1, 2]", "z": True}]


@pytest.mark.parametrize(
    ("sql", "shown"),
    [
        ("to_timestamp_nanos(1500000000123456789)", "2017-07-14 02:40:00.123456"),
        ("to_timestamp_nanos(1500000000123456789) - to_timestamp_nanos(0)", "17361 days, 2:40:00.123456"),
        ("[to_timestamp_nanos(1)]", f"[{EPOCH}]"),
        ("arrow_cast([to_timestamp_nanos(1)], 'LargeList(Timestamp(Nanosecond, None))')", f"[{EPOCH}]"),
        ("arrow_cast([to_timestamp_nanos(1)], 'FixedSizeList(1, Timestamp(Nanosecond, None))')", f"[{EPOCH}]"),
        ("MAP {to_timestamp_nanos(1): [to_timestamp_nanos(1)]}", f"[({EPOCH}, [{EPOCH}])]"),
        ("arrow_cast(1500000, 'Time64(Nanosecond)')", "00:00:00.001500"),
        ("DATE '2026-01-31'", "2026-01-31"),
    ],
)
def test_times_are_shown_to_the_microsecond(command: Command, run: Path, sql: str, shown: str) -> None:
    assert command.json("telemetry", "query", str(run), f"SELECT {sql} AS t")["rows"] == [{"t": shown}]


def test_now_is_a_time_and_one_of_no_calendar_is_said(command: Command, run: Path) -> None:
    code, out, _ = command("telemetry", "query", str(run), "SELECT now() AS t")
    assert code == 0
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", out)
    command.fails(ExitCode.BAD_DATA, "telemetry", "query", str(run), "SELECT to_timestamp_seconds(1000000000000) AS t")


def test_all_rows_are_exported(command: Command, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.parquet"
    document = command.json("telemetry", "export", str(run), str(out))
    assert document == {"file": str(out), "format": "parquet", "rows": 3}
    assert pq.read_table(out)["energy_source"].to_pylist().count(EnergySource.COUNTER.value) == 1
    code, said, _ = command("telemetry", "export", str(run), str(tmp_path / "rows.jsonl"), "--format", "jsonl")
    assert (code, said) == (0, f"3 rows written to {tmp_path / 'rows.jsonl'}\n")
    assert [json.loads(line)["row"] for line in (tmp_path / "rows.jsonl").read_text().splitlines()] == [0, 1, 2]


def test_a_table_that_its_run_writes_is_asked_as_it_is(command: Command, run: Path) -> None:
    with TelemetryTable(run / "table") as table:
        code, out, said = command("telemetry", "query", str(run), BY_STATUS, "--json")
        assert (code, json.loads(out)["rows"]) == (0, [])
        assert "rows may be missing" in said
        table.commit(run / "telemetry")
        _, out, _ = command("telemetry", "query", str(run), BY_STATUS, "--json")
        assert len(json.loads(out)["rows"]) == 2


@pytest.mark.parametrize("sql", ["COPY telemetry TO 'x.csv'", "SELECT nothing FROM telemetry"])
def test_what_is_not_a_question_is_refused_in_one_line(command: Command, run: Path, sql: str) -> None:
    command.fails(ExitCode.BAD_DATA, "telemetry", "query", str(run), sql)


@pytest.mark.ray
def test_a_finished_run_has_all_its_rows_in_its_table(command: Command, replayed_run: Path) -> None:
    stored = command.json("report", str(replayed_run))["fleet"]["rows"]["stored"]  # type: ignore[index]
    assert snapshot(open_table(replayed_run / "table")).rows == stored > 0
    document = command.json("telemetry", "query", str(replayed_run), "SELECT count(*) AS n FROM telemetry")
    assert document["rows"] == [{"n": stored}]
