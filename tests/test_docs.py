"""What the documents say is held against the code."""

from __future__ import annotations

import re
from pathlib import Path

from quasim.errors import ExitCode

ROOT = Path(__file__).parents[1]


def test_the_table_of_exit_codes_is_complete() -> None:
    rows = re.findall(r"^\| (\d+) \| ([a-z ]+) \|", (ROOT / "docs" / "exit-codes.md").read_text(), re.MULTILINE)
    written = {(int(code), name.replace(" ", "_")) for code, name in rows}
    assert written == {(code.value, code.name.lower()) for code in ExitCode}


def test_every_file_that_the_architecture_names_exists() -> None:
    named = re.findall(r"^\| `([^`]+)` \|", (ROOT / "ARCHITECTURE.md").read_text(), re.MULTILINE)
    assert len(named) > 30
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_python_file_is_named_by_the_architecture() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    rooms = ("quasim", "actors", "aggregation", "storage", "cluster", "benchmarks")
    files = [p.relative_to(ROOT).as_posix() for room in rooms for p in (ROOT / room).rglob("*.py")]
    missing = [f for f in files if not f.endswith("__init__.py") and f"`{f}`" not in text]
    assert missing == []


def test_links_between_documents_lead_somewhere() -> None:
    broken = []
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            if not (page.parent / target).exists():
                broken.append(f"{page.name}: {target}")
    assert broken == []
