"""No text that the dashboard gives out shows a shape to who has no site key: each field is planted with one."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from actors.live_file import EventLog
from cluster.dashboard import views
from cluster.dashboard.desk import NEEDS, Desk
from cluster.dashboard.names import Names
from cluster.run_folder import RunFolder
from quasim.trial import Problem
from tests.cluster.dashboard.small_run import NOW, SmallRun, write_end

MARK = "735735735"
"""All planted extents begin so: longer than the ids that are shown, which may hold any shorter number by chance."""

FORMS = (
    "planted matmul[m=1,n=2]",
    "k=3",
    "4x5",
    "(6, 7) and mr=8",
    repr(Problem.of("matmul", m=1, n=2)),
    "[1, 2]",
    "torch.Size([1, 2])",
    "{'m': 1}",
    '{"m":1}',
    "m = 1",
    "1 x 2",
    "m=(1, 2)",
    "matmul[m=1,tile=[2,3],n=4]",
    "matmul_1x2.parquet",
    "1x2x3_h",
)
PLANTED = re.sub(r"(\d)", MARK + r"\1", "; ".join(FORMS))

FAILED = f"node-0 failed: KeyError('an extent of {MARK}')"
"""In a form that nothing but its kind tells from prose."""

WRITTEN = ("abandoned", "detail", "metered_why", "protocol", "text", "why")
"""Fields of a run's files that hold what somebody wrote; those of pairs are planted by hand."""

IDENTIFIERS = {
    "RunView": "name federation target strategy devices runs pages",
    "NodeTile": "node machine device state health kernel energy_source",
    "FleetView": "phase",
    "Cloud": "source node genome",
    "Axis": "name values",
    "ProblemSearch": "id kernel by_status",
    "Canary": "topic",
    "RoundRow": "dropouts refused",
    "Adopted": "node",
    "KernelEnergy": "kernel source launch_source",
    "Saving": "source launch_source",
    "NodePower": "node device mode source",
    "Moved": "task source target",
    "EnergyView": "source",
    "NodeEnergy": "node device detail",
    "Event": "node text",
}
"""Fields of plain text: names of machines, kernels and kinds. ``detail`` and ``text`` are of structs of others, and are
replaced where those are taken into a view."""


def structs(kind: object, found: set[type]) -> set[type]:
    """All structs within a type."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind not in found:
        found.add(kind)
        for field in msgspec.structs.fields(kind):
            structs(field.type, found)
    for part in get_args(kind):
        structs(part, found)
    return found


def plain(kind: object) -> bool:
    """Whether a type holds a str that is no ``Prose``."""
    return kind is str or any(plain(part) for part in get_args(kind) if not isinstance(part, str))


def test_whatever_is_text_is_prose_or_known_to_be_a_name() -> None:
    found = {
        kind.__name__: {field.name for field in msgspec.structs.fields(kind) if plain(field.type)}
        for kind in structs(views.View, set())
    }
    assert {name: fields for name, fields in found.items() if fields} == {
        name: set(fields.split()) for name, fields in IDENTIFIERS.items()
    }


def plant(value: Any) -> Any:
    """The same document with a shape in whatever somebody wrote."""
    if isinstance(value, list):
        return [plant(part) for part in value]
    if not isinstance(value, dict):
        return value
    return {name: PLANTED if name in WRITTEN and part else plant(part) for name, part in value.items()}


@pytest.fixture
def planted(small_run: SmallRun, tmp_path: Path) -> RunFolder:
    folder = RunFolder(shutil.copytree(small_run.folder.path, tmp_path / "run"))
    write_end(folder, small_run.problem)
    for path in (folder.fleet_now, folder.end, *folder.round_files()):
        path.write_text(json.dumps(plant(json.loads(path.read_text()))))
    for path in folder.cycle_files():
        path.write_text(json.dumps(with_pairs(plant(json.loads(path.read_text())))))
    lines = folder.events.read_text().splitlines()
    folder.events.write_text("".join(json.dumps(plant(json.loads(line))) + "\n" for line in lines))
    log = EventLog(folder.events, lambda: NOW)
    log.note("node-failed", FAILED, node="node-0")
    log.close()
    return folder


def with_pairs(done: Any) -> Any:
    """A cycle whose reasons, refusals and moves are planted, too."""
    done["round"]["refused"] = [["node-0", PLANTED]]
    for record in done["records"]:
        record["regulated"]["reasons"] = [[PLANTED, 3]]
    move = {"task": "node-0/0", "source": "node-0", "target": "node-1"}
    figures = {"power_w": 40.0, "busy": 0.5, "gain_s": 3.0, "cost_s": 1.0}
    done["moves"] = [{"move": move | figures, "made": False, "why": PLANTED}]
    return done


def texts(value: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Every text of a view with the path of its field; the members of a list have none of their own."""
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, list):
        for part in value:
            yield from texts(part, where)
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from texts(part, f"{where}/{name}")


def shown(folder: RunFolder, names: Names) -> dict[str, set[str]]:
    """The texts of all views, now and replayed, by the paths of their fields."""
    made = Desk(folder.path, names, tuple, lambda: NOW)
    made.look_at_table()
    found: dict[str, set[str]] = {}
    for view in NEEDS:
        for until in (None, 1):
            for where, text in texts(json.loads(made.view(view, until)), view):
                found.setdefault(where, set()).add(text)
    return found


def test_no_view_shows_a_shape_without_the_site_key(planted: RunFolder, small_run: SmallRun) -> None:
    for where, found in shown(planted, Names()).items():
        for text in found:
            assert MARK not in text, where
            assert small_run.problem.shape_text not in text, where


def test_with_the_site_key_every_text_is_shown_as_it_was_written(planted: RunFolder, small_run: SmallRun) -> None:
    found = shown(planted, Names.of_site(small_run.site / "site.key"))
    assert FAILED in found["events/events/text"]
    assert {where for where, said in found.items() if any(PLANTED in text for text in said)} == {
        "energy/events/text",
        "energy/kernels/why",
        "energy/moves/why",
        "energy/nodes/detail",
        "energy/regulation/reasons",
        "energy/regulation/why",
        "energy/savings/why",
        "energy/why",
        "events/events/text",
        "fleet/nodes/metered_why",
        "rounds/rounds/abandoned",
        "rounds/rounds/protocol",
        "rounds/rounds/refused",
        "run/protocol",
    }
