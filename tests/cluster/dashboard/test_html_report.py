"""The report as one file: what is inlined, and what cannot leave or enter it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path

import pytest

from cluster.dashboard.html_report import MOST_FRAMES, STATIC, bundle, html_report, spread
from quasim.errors import ExitCode
from tests.cluster.dashboard.small_run import CYCLES, SmallRun
from tests.cluster.test_cli import Command, command

__all__ = ["command"]  # a fixture

NASTY = '</script><script>alert("from a node")</script>'


def view(name: str, until: int | None) -> bytes:
    return json.dumps({"name": name, "until": until, "text": NASTY}).encode()


@pytest.fixture(scope="module")
def page() -> str:
    return html_report(view, ("run", "fleet"), (0, 1, 2))


def inlined(page: str) -> dict[str, dict[str, dict[str, object]]]:
    found = re.search(r'<script type="application/json" id="quasim-data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    content: dict[str, dict[str, dict[str, object]]] = json.loads(found[1])
    return content


def test_every_view_is_there_at_the_end_and_at_each_cycle(page: str) -> None:
    data = inlined(page)
    assert data["end"]["fleet"] == {"name": "fleet", "until": None, "text": NASTY}
    assert [data["cycles"][str(cycle)]["run"] for cycle in (0, 1, 2)] == [
        {"name": "run", "until": cycle, "text": NASTY} for cycle in (0, 1, 2)
    ]


def test_what_a_node_says_cannot_become_markup(page: str) -> None:
    assert NASTY not in page
    # Data, charts and modules.
    assert page.count("<script") == page.count("</script>") == 3


def test_the_file_links_to_nothing(page: str) -> None:
    markup = re.sub(r"(<script[^>]*>).*?</script>", r"\1", page, flags=re.DOTALL)
    assert not re.search(r"/static/|<(?:link|img|iframe)\b|<script[^>]* src=", markup)


def test_the_policy_admits_the_inlined_scripts_and_style_alone(page: str) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert policy[1].startswith("default-src 'none';")
    parts = re.findall(r'<(?:style|script|script type="module")>(.*?)</(?:style|script)>', page, re.DOTALL)
    hashes = {f"sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}" for part in parts}
    assert hashes == set(re.findall(r"sha256-[\w+/=]+", policy[1]))


def test_modules_come_after_what_they_import_and_once() -> None:
    script = bundle("app.js")
    order = re.findall(r'^modules\["([\w.]+)"\] =', script, re.MULTILINE)
    assert sorted(order) == sorted(path.name for path in STATIC.glob("*.js") if path.name != "echarts.min.js")
    for match in re.finditer(r'= modules\["([\w.]+)"\];', script):
        assert f'\nmodules["{match[1]}"] = ' in script[: match.start()]
    assert not re.search(r"^(?:import|export) ", script, re.MULTILINE)


@pytest.mark.parametrize(("cycles", "wanted"), [(0, 0), (1, 1), (MOST_FRAMES, MOST_FRAMES), (1000, MOST_FRAMES)])
def test_a_long_run_replays_evenly_spread_cycles(cycles: int, wanted: int) -> None:
    frames = spread(range(cycles))
    assert len(frames) == wanted
    assert frames == sorted(set(frames))
    if cycles:
        assert (frames[0], frames[-1]) == (0, cycles - 1)


def test_an_unfinished_run_is_written_and_nothing_is_printed(
    command: Command, small_run: SmallRun, tmp_path: Path
) -> None:
    file = tmp_path / "report.html"
    code, out, err = command("report", str(small_run.folder.path), "--html", str(file))
    assert (code, out) == (0, "")
    assert str(file) in err
    data = inlined(file.read_text())
    assert data["end"]["run"]["name"] == small_run.folder.path.name
    assert list(data["cycles"]) == [str(cycle) for cycle in range(CYCLES)]


def test_shapes_are_named_with_the_site_key_alone(command: Command, small_run: SmallRun, tmp_path: Path) -> None:
    shape, run, file = small_run.problem.shape_text, str(small_run.folder.path), tmp_path / "report.html"
    command("report", run, "--html", str(file))
    assert shape not in file.read_text()
    command("report", run, "--html", str(file), "--site-key", str(small_run.site / "site.key"))
    assert shape in file.read_text()


def test_a_site_key_without_a_file_to_write_is_refused(command: Command, small_run: SmallRun) -> None:
    key = str(small_run.site / "site.key")
    assert "--html" in command.fails(ExitCode.CONFIG, "report", str(small_run.folder.path), "--site-key", key)
