"""What every command promises: a help that names its options, documents of their schemas, numbered one-line errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from jsonschema import ValidationError  # type: ignore[import-untyped]
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from cluster.cli import app
from cluster.run_folder import RunFolder
from cluster.schemas import FORMS, names, text
from quasim.errors import ExitCode
from tests.actors.test_node_agent import envelope
from tests.cluster.documents import check_document, validator
from tests.cluster.test_cli import Command, command

__all__ = ["command"]

ROOT = Path(__file__).parents[2]

NO_DOCUMENT = {
    "dashboard": "it serves until it is stopped",
    "schema": "it prints a schema",
}
"""Commands without --json, and why."""


def leaves(group: TyperCommand | TyperGroup, words: tuple[str, ...] = ()) -> Iterator[tuple[str, TyperCommand]]:
    """Every command by its words."""
    if isinstance(group, TyperGroup):
        for name, member in group.commands.items():
            assert isinstance(member, TyperCommand | TyperGroup)
            yield from leaves(member, (*words, name))
    else:
        yield " ".join(words), group


ALL = dict(leaves(get_group(app)))
DOCUMENTED = {words for words, one in ALL.items() if any("--json" in parameter.opts for parameter in one.params)}

WRONG: dict[str, tuple[ExitCode, tuple[str, ...]]] = {
    "cap": (ExitCode.BAD_DATA, ("nowhere.json",)),
    "config show": (ExitCode.CONFIG, ("nowhere.yaml",)),
    "dashboard": (ExitCode.CONFIG, ()),
    "evolve init": (ExitCode.CONFIG, ("--kernel", "nothing")),
    "federation enroll": (ExitCode.CONFIG, ()),
    "federation init": (ExitCode.CONFIG, ("root", "--federation", "lab", "--server", "zz")),
    "federation roster": (ExitCode.STORAGE, ("nowhere.roster",)),
    "federation server": (ExitCode.USAGE, ("one",)),
    "fleet status": (ExitCode.STORAGE, ("nowhere",)),
    "kernel list": (ExitCode.USAGE, ("one",)),
    "kernel show": (ExitCode.CONFIG, ("nothing", "--shape", "m=1")),
    "meter": (ExitCode.CONFIG, ("--meter", "nothing")),
    "node background": (ExitCode.CONFIG, ("nowhere.yaml",)),
    "node drain": (ExitCode.STORAGE, ("node-0", "--run", "nowhere")),
    "node run": (ExitCode.CONFIG, ("--address", "head:6379", "--config", "nowhere.yaml")),
    "node undrain": (ExitCode.STORAGE, ("node-0", "--run", "nowhere")),
    "policy show": (ExitCode.STORAGE, ("nowhere",)),
    "policy verify": (ExitCode.STORAGE, ("nowhere",)),
    "report": (ExitCode.STORAGE, ("nowhere",)),
    "run": (ExitCode.CONFIG, ("nowhere.yaml",)),
    "schema": (ExitCode.CONFIG, ("nothing",)),
    "telemetry export": (ExitCode.STORAGE, ("nowhere", "rows.parquet")),
    "telemetry query": (ExitCode.STORAGE, ("nowhere", "SELECT 1")),
    "tune": (ExitCode.CONFIG, ("nothing", "--shape", "m=1")),
}
"""Of every command: a bad input, and the code that docs/exit-codes.md gives it."""


@pytest.mark.parametrize("words", sorted(ALL))
def test_help_says_what_a_command_does_and_what_each_option_means(command: Command, words: str) -> None:
    assert ALL[words].help
    told = {parameter.name: getattr(parameter, "help", None) for parameter in ALL[words].params}
    assert [name for name, meaning in told.items() if not meaning] == []
    code, out, err = command(*words.split(), "--help")
    assert (code, err) == (ExitCode.OK, "")
    assert [flag for parameter in ALL[words].params for flag in parameter.opts[:1] if flag not in out] == []


def test_every_command_prints_json_or_says_why_not() -> None:
    assert ALL.keys() - DOCUMENTED == NO_DOCUMENT.keys()


def test_every_document_has_a_schema_and_every_schema_a_document() -> None:
    assert FORMS.keys() == DOCUMENTED


@pytest.mark.parametrize("words", sorted(ALL))
def test_a_flag_that_a_command_does_not_have_is_a_usage_error(command: Command, words: str) -> None:
    assert f"see quasim {words} --help" in command.fails(ExitCode.USAGE, *words.split(), "--no-such-flag")


@pytest.mark.parametrize("words", sorted(ALL))
def test_bad_input_ends_with_its_documented_code(
    command: Command, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, arguments = WRONG[words]
    command.fails(code, *words.split(), *arguments)


def test_what_must_not_be_trusted_ends_with_its_documented_code(command: Command, tmp_path: Path) -> None:
    (tmp_path / "policy").write_bytes(envelope(version=2)[:-1] + b"\0")
    command.fails(ExitCode.UNTRUSTED, "policy", "show", str(tmp_path / "policy"))


@pytest.mark.parametrize(
    "arguments",
    [
        ("kernel", "list"),
        ("config", "show"),
        ("kernel", "show", "softmax", "--shape", "rows=8,cols=64"),
        ("kernel", "show", "softmax", "--shape", "rows=8,cols=64", "--target", "triton"),
        ("meter", "--meter", "none"),
        ("federation", "server"),
        ("evolve", "init", "--population-size", "2"),
    ],
)
def test_a_document_is_alone_on_stdout_and_of_its_schema(command: Command, arguments: tuple[str, ...]) -> None:
    command.json(*arguments)


@pytest.mark.ray
@pytest.mark.parametrize(
    "arguments",
    [
        ("report", "RUN"),
        ("run", "--resume", "RUN"),
        ("fleet", "status", "RUN"),
        ("node", "drain", "node-0", "--run", "RUN"),
        ("node", "undrain", "node-0", "--run", "RUN"),
        ("telemetry", "query", "RUN", "SELECT status, kernel, count(*) FROM telemetry GROUP BY status, kernel"),
        ("telemetry", "export", "RUN", "RUN.csv", "--format", "csv"),
    ],
)
def test_documents_of_a_run_are_of_their_schemas(
    command: Command, replayed_run: Path, arguments: tuple[str, ...]
) -> None:
    command.json(*(word.replace("RUN", str(replayed_run)) for word in arguments))


@pytest.mark.ray
def test_events_of_a_run_are_of_their_schema(replayed_run: Path) -> None:
    events = [json.loads(line) for line in RunFolder(replayed_run).events.read_text().splitlines()]
    assert {"run-started", "cycle-done", "round-closed", "run-ended"} <= {event["kind"] for event in events}
    for event in events:
        validator("event").validate(event)


def test_a_field_that_nobody_published_is_found() -> None:
    key: dict[str, object] = {"server": "ab" * 32}
    check_document(("federation", "server"), key)
    for wrong in (key | {"secret": "cd"}, {}, {"server": 1}):
        with pytest.raises(ValidationError):
            check_document(("federation", "server"), wrong)


@pytest.mark.parametrize("name", names())
def test_a_published_schema_is_that_of_the_code(name: str) -> None:
    assert (ROOT / "docs" / "schemas" / f"{name}.json").read_text() == text(name), (
        "run quasim schema --out docs/schemas"
    )
    validator(name).check_schema(json.loads(text(name)))


def test_no_schema_is_published_that_no_command_has(command: Command) -> None:
    published = {path.stem for path in (ROOT / "docs" / "schemas").glob("*.json")}
    assert published == set(names()) == set(command("schema")[1].split())


def test_a_schema_is_printed_and_written(command: Command, tmp_path: Path) -> None:
    assert command("schema", "report")[1] == text("report")
    command("schema", "--out", str(tmp_path / "schemas"))
    assert {path.stem for path in (tmp_path / "schemas").iterdir()} == set(names())
    assert "--out" in command.fails(ExitCode.CONFIG, "schema", "report", "--out", str(tmp_path))
