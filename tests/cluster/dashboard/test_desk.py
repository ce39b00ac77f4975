from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.live import FleetLive
from actors.live_file import EventLog
from cluster.dashboard.desk import NEEDS, RETRY_S, Desk
from cluster.dashboard.names import Names
from cluster.run_folder import RunFolder
from quasim.codec import from_json, to_json
from quasim.errors import DataError, StorageError, UnknownNameError
from storage.files import write_atomic
from tests.cluster.dashboard.small_run import CYCLES, NOW, SmallRun, write_end


def desk(path: Path, names: Names | None = None, now: float = NOW + 1) -> Desk:
    made = Desk(path, names or Names(), lambda: ("one", "two"), lambda: now)
    made.look_at_table()
    return made


def read(made: Desk, view: str, until: int | None = None) -> Any:
    return json.loads(made.view(view, until))


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def shown(small_run: SmallRun) -> Desk:
    return desk(small_run.folder.path)


@pytest.fixture
def copy(small_run: SmallRun, tmp_path: Path) -> RunFolder:
    shutil.copytree(small_run.folder.path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def test_the_run_says_what_it_is_and_how_far(shown: Desk) -> None:
    run = read(shown, "run")
    assert (run["target"], run["cycles_done"], run["cycles"], run["policy_version"]) == ("replay", CYCLES, CYCLES, 2)
    assert (run["state"], run["started_at"]) == ("running", NOW - 100)
    assert run["runs"] == ["one", "two"]
    assert run["devices"] == [read(shown, "fleet")["nodes"][0]["device"]]
    assert run["notes"] == []


def test_a_fleet_that_nobody_hears_is_silent_and_no_longer_running(copy: RunFolder) -> None:
    assert read(desk(copy.path, now=NOW + 9), "run")["state"] == "running"
    assert read(desk(copy.path, now=NOW + 11), "run")["state"] == "silent"
    shutil.rmtree(copy.live)
    shutil.rmtree(copy.path / "cycles")
    assert read(desk(copy.path), "run")["state"] == "waiting"


def test_the_fleet_is_as_its_pulses_say_and_unmetered_is_no_zero(shown: Desk) -> None:
    fleet = read(shown, "fleet")
    assert (fleet["live"], fleet["at"], fleet["rows_stored"]) == (True, NOW, 80)
    for tile in fleet["nodes"]:
        assert (tile["health"], tile["rows_sent"], tile["rows_acknowledged"]) == ("ok", 40, 40)
        assert tile["policy_version"] == 1
        assert tile["power_w"] is tile["cap_w"] is tile["temperature_c"] is None
        assert tile["metered_why"]


def test_without_live_state_the_fleet_is_as_its_last_cycle_left_it_and_says_so(copy: RunFolder) -> None:
    shutil.rmtree(copy.live)
    fleet = read(desk(copy.path), "fleet")
    assert (fleet["live"], fleet["at"], [tile["health"] for tile in fleet["nodes"]]) == (False, None, ["recorded"] * 2)
    assert "no live state" in fleet["notes"][0]


def test_the_search_holds_every_trial_of_a_small_run(shown: Desk) -> None:
    search = read(shown, "search")
    [found] = search["problems"]
    cloud = found["cloud"]
    assert search["rows"] == found["trials"] == sum(found["by_status"].values()) == 80
    assert found["cloud_of"] == found["by_status"]["ok"] == len(cloud["time_ns"])
    assert len({len(column) for column in cloud.values()}) == 1
    assert found["best"]["time_ns"] == sorted(found["best"]["time_ns"], reverse=True)
    assert found["best"]["time_ns"][-1] == min(cloud["time_ns"])
    metered = sum(joules is not None for joules in cloud["energy_j"])
    assert 0 < metered < len(cloud["energy_j"])


def test_the_front_of_the_search_is_what_nothing_dominates(shown: Desk) -> None:
    cloud = read(shown, "search")["problems"][0]["cloud"]
    points = list(zip(cloud["time_ns"], cloud["energy_j"], cloud["error"], strict=True))
    whole = [point for point in points if point[1] is not None]
    for point, front in zip(points, cloud["front"], strict=True):
        beaten = any(
            other != point and all(mine is None or its <= mine for its, mine in zip(other, point, strict=True))
            for other in whole
        )
        assert not (front and beaten and point[1] is not None)
    assert any(cloud["front"])


def test_without_the_site_key_no_shape_genome_or_node_of_the_table_is_named(shown: Desk, small_run: SmallRun) -> None:
    texts = b"".join(shown.view(view, until) for view in NEEDS for until in (None, 1)).decode()
    assert small_run.problem.shape_text not in texts
    assert "[" + small_run.problem.shape_text.split(",")[0] not in texts
    search = read(shown, "search")
    [found] = search["problems"]
    assert found["name"] == f"matmul {found['id']}"
    assert (found["axes"], read(shown, "run")["named"]) == ([], False)
    assert "--site-key" in search["why_unnamed"]
    assert not {"node-0", "node-1"} & set(found["cloud"]["node"])


def test_with_the_site_key_they_are_and_parameters_have_their_share(small_run: SmallRun, shown: Desk) -> None:
    named = desk(small_run.folder.path, Names.of_site(small_run.site / "site.key"))
    [found] = read(named, "search")["problems"]
    assert found["name"] == str(small_run.problem)
    assert found["id"] == read(shown, "search")["problems"][0]["id"]
    assert set(found["cloud"]["node"]) == {"node-0", "node-1"}
    assert {"mr", "threads"} <= {axis["name"] for axis in found["axes"]}
    assert {len(axis["values"]) for axis in found["axes"]} == {len(found["cloud"]["time_ns"])}
    shares = [axis["share"] for axis in found["axes"] if axis["share"] is not None]
    assert shares == sorted(shares, reverse=True)
    assert 0 < shares[0] <= 1
    assert read(named, "run")["problems"] == [str(small_run.problem)]


def test_rounds_say_who_took_part_what_hid_them_and_who_works_with_the_policy(shown: Desk) -> None:
    rounds = read(shown, "rounds")
    first, second, third = rounds["rounds"]
    assert (first["participants"], first["masked"], first["masks_each"], first["released"]) == (2, True, 1, True)
    assert (first["adopted"], first["worked"]) == (2, 2)
    assert (second["abandoned"], second["released"], second["policy_version"]) == ("below the floor", False, 1)
    assert second["dropouts"] == [["vectors", ["node-1"]]]
    assert (third["policy_version"], third["adopted"], third["worked"]) == (2, None, None)
    assert rounds["adoption"][0] == {"node": "node-0", "cycle": [0, 1, 2], "version": [0, 1, 1]}


def test_energy_that_nobody_metered_is_none_and_says_why(shown: Desk) -> None:
    energy = read(shown, "energy")
    assert (energy["joules"], energy["source"]) == (None, "unmetered")
    assert "no meter" in energy["why"]
    [kernel] = energy["kernels"]
    assert (kernel["spent_j"], kernel["trials"], kernel["metered"], kernel["launch_source"]) == (None, 80, 40, "model")
    assert 0 < kernel["least_j"] < kernel["mean_j"]
    assert [event["kind"] for event in energy["events"]] == ["regulator"] * CYCLES


def test_a_replay_shows_what_was_known_after_a_cycle(shown: Desk) -> None:
    assert read(shown, "run", 1)["cycles_done"] == 2
    assert read(shown, "search", 1)["rows"] == 52
    assert len(read(shown, "rounds", 0)["rounds"]) == 1
    assert max(event["cycle"] for event in read(shown, "events", 1)["events"]) == 1
    assert read(shown, "events", 1)["total"] == 5
    assert [tile["cycle"] for tile in read(shown, "fleet", 1)["nodes"]] == [1, 1]
    for view in NEEDS:
        assert read(shown, view, 1)["until"] == 1


def test_a_replay_to_the_end_is_the_run(shown: Desk) -> None:
    for view in ("search", "rounds", "events"):
        assert {**read(shown, view, CYCLES), "until": None} == read(shown, view)


def test_pages_that_have_nothing_say_so_and_programs_has_no_place_in_the_menu(shown: Desk) -> None:
    assert "no solver has run" in read(shown, "certificates")["why"]
    assert "certificates" in read(shown, "run")["pages"]
    assert "programs" not in read(shown, "run")["pages"]


def test_only_views_that_changed_are_built_anew(copy: RunFolder) -> None:
    made = desk(copy.path)
    assert made.look() == []
    assert made.look_at_table() == []
    live = from_json(copy.fleet_now.read_bytes(), FleetLive)
    write_atomic(copy.fleet_now, to_json(msgspec.structs.replace(live, at=NOW + 0.5)))
    assert made.look() == ["fleet"]
    log = EventLog(copy.events, lambda: NOW)
    log.note("node-lost", "node-1 is lost", node="node-1")
    log.close()
    assert made.look() == ["events"]
    assert read(made, "events")["events"][0]["text"] == "node-1 is lost"
    copy.cycle_file(CYCLES - 1).unlink()
    assert made.look() == []


def test_a_half_written_or_broken_event_keeps_none_of_the_others_back(copy: RunFolder) -> None:
    made = desk(copy.path)
    with copy.events.open("ab") as file:
        file.write(b'{"at":1')
    assert made.look() == []
    with copy.events.open("ab") as file:
        file.write(b' oh\n{"at":5.0,"kind":"run-ended","node":"","round":-1,"cycle":-1,"text":"done"}\n')
    made.look()
    events = read(made, "events")
    assert (events["events"][0]["text"], events["notes"]) == ("done", ["1 lines of events.jsonl could not be read"])


def test_a_finished_run_shows_no_node_at_work_whatever_its_live_file_says(copy: RunFolder, small_run: SmallRun) -> None:
    made = desk(copy.path)
    assert [tile["health"] for tile in read(made, "fleet")["nodes"]] == ["ok", "ok"]
    live = from_json(copy.fleet_now.read_bytes(), FleetLive)
    nodes = (live.nodes[0], msgspec.structs.replace(live.nodes[1], health="lost"))
    write_atomic(copy.fleet_now, to_json(msgspec.structs.replace(live, nodes=nodes)))
    write_end(copy, small_run.problem)
    assert {"run", "fleet"} <= set(made.look())
    fleet = read(made, "fleet")
    assert (read(made, "run")["state"], fleet["finished"]) == ("finished", True)
    assert [tile["health"] for tile in fleet["nodes"]] == ["finished", "lost"]
    assert {(tile["state"], tile["kernel"], tile["problem"]) for tile in fleet["nodes"]} == {("finished", "", "")}
    assert [tile["rows_sent"] for tile in fleet["nodes"]] == [40, 40]


def test_every_joule_of_the_search_has_its_source(shown: Desk) -> None:
    cloud = read(shown, "search")["problems"][0]["cloud"]
    pairs = set(zip((joules is not None for joules in cloud["energy_j"]), cloud["source"], strict=True))
    assert pairs == {(True, "model"), (False, "unmetered")}


def test_a_missing_table_is_said_and_the_other_pages_stand(copy: RunFolder) -> None:
    shutil.rmtree(copy.table)
    made = desk(copy.path)
    assert read(made, "search")["problems"] == []
    for view in ("search", "energy"):
        assert "no telemetry table" in read(made, view)["notes"][0]
    assert read(made, "search")["rows"] is None
    assert len(read(made, "rounds")["rounds"]) == CYCLES
    assert read(made, "energy")["kernels"][0]["metered"] is None


def test_a_table_that_cannot_be_read_is_said_and_what_it_held_stays(copy: RunFolder) -> None:
    made = desk(copy.path)
    for data in copy.table.glob("*.parquet"):
        data.unlink()
    log = max((copy.table / "_delta_log").glob("[0-9]*.json"))
    log.with_name(f"{int(log.stem) + 1:020d}.json").write_text("no log\n")
    assert set(made.look_at_table()) == {"search", "energy"}
    search = read(made, "search")
    assert (search["rows"], len(search["problems"])) == (80, 1)
    assert "shown is what it held before" in search["notes"][0]
    assert made.look_at_table() == []
    fresh = read(desk(copy.path), "search")
    assert (fresh["rows"], fresh["problems"]) == (None, [])
    assert "table" in fresh["notes"][0]


def test_a_table_that_could_not_be_read_is_tried_again_in_a_while_though_it_has_not_changed(copy: RunFolder) -> None:
    [data, *_] = copy.table.glob("*.parquet")
    away = data.rename(data.with_suffix(".away"))
    clock = Clock()
    made = Desk(copy.path, Names(), tuple, clock)
    made.look_at_table()
    assert read(made, "search")["rows"] is None
    assert "table" in read(made, "search")["notes"][0]
    away.rename(data)
    clock.now += RETRY_S - 1
    assert made.look_at_table() == []
    clock.now += 1
    assert set(made.look_at_table()) == {"search", "energy"}
    assert (read(made, "search")["rows"], read(made, "search")["notes"]) == (80, [])
    assert made.look_at_table() == []


def test_a_run_without_a_table_keeps_its_replays_until_it_has_one(copy: RunFolder) -> None:
    hidden = copy.table.rename(copy.path / "hidden")
    clock = Clock()
    made = Desk(copy.path, Names(), tuple, clock)
    made.look_at_table()
    replay = made.view("search", 1)
    for waited_s in (0, 1, RETRY_S):
        clock.now += waited_s
        assert made.look_at_table() == []
        assert made.view("search", 1) is replay
    hidden.rename(copy.table)
    assert set(made.look_at_table()) == {"search", "energy"}
    assert read(made, "search", 1)["rows"] == 52


def test_a_clock_that_was_set_back_does_not_put_a_retry_off(copy: RunFolder) -> None:
    [data, *_] = copy.table.glob("*.parquet")
    away = data.rename(data.with_suffix(".away"))
    clock = Clock()
    made = Desk(copy.path, Names(), tuple, clock)
    made.look_at_table()
    away.rename(data)
    clock.now -= 3600
    assert set(made.look_at_table()) == {"search", "energy"}


def test_a_file_that_cannot_be_read_is_said_until_it_can(copy: RunFolder) -> None:
    made = desk(copy.path)
    good = copy.fleet_now.read_bytes()
    copy.fleet_now.write_bytes(b"{")
    assert made.look() == ["run"]
    assert "fleet.json" in read(made, "run")["notes"][0]
    assert len(read(made, "fleet")["nodes"]) == 2
    copy.fleet_now.write_bytes(good)
    assert made.look() == ["run"]
    assert read(made, "run")["notes"] == []


def test_a_file_that_cannot_be_read_keeps_none_of_the_others_back(copy: RunFolder) -> None:
    copy.fleet_now.write_bytes(b"")
    made = desk(copy.path)
    assert len(read(made, "rounds")["rounds"]) == CYCLES
    assert read(made, "events")["total"] > 0
    assert "fleet.json" in read(made, "run")["notes"][0]


def test_names_that_cannot_be_read_are_said_and_the_table_is_shown_by_ids(small_run: SmallRun, tmp_path: Path) -> None:
    site = tmp_path / "site"
    shutil.copytree(small_run.site, site)
    names = Names.of_site(site / "site.key")
    (site / "ids").unlink()
    (site / "ids").mkdir()
    search = read(desk(small_run.folder.path, names), "search")
    assert search["rows"] == 80
    assert "id dictionary" in search["notes"][0]


def test_there_must_be_a_run_and_a_view(shown: Desk, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="holds no run"):
        desk(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(DataError, match=r"config\.json"):
        desk(tmp_path)
    with pytest.raises(UnknownNameError, match="fleet"):
        shown.view("secrets")
