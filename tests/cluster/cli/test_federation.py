"""`quasim federation` as its users meet it: the root's holder, and a site that joins."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from quasim.errors import ExitCode
from tests.cluster.test_cli import Command, command

__all__ = ["command"]

SERVER = "ab" * 32


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QUASIM_HOME", str(tmp_path / "site"))
    return tmp_path / "site"


@pytest.fixture
def root(tmp_path: Path, command: Command) -> dict[str, object]:
    folder = str(tmp_path / "root")
    return command.json("federation", "init", folder, "--federation", "lab", "--server", SERVER)


def ask(command: Command, tmp_path: Path, node: str, *more: str) -> str:
    file = str(tmp_path / f"{node}.enrolment")
    command.json(
        "federation", "enroll", "--federation", "lab", "--node", node, "--cohort", "h100", "--out", file, *more
    )
    return file


def test_a_site_shows_the_key_of_its_aggregator(site: Path, tmp_path: Path, command: Command) -> None:
    key = str(command.json("federation", "server")["server"])
    assert command("federation", "server")[1].strip() == key
    made = command.json("federation", "init", str(tmp_path / "root"), "--federation", "lab", "--server", key)
    assert made["server"] == key


def test_init_shows_the_first_roster_and_keeps_the_key_to_its_owner(root: dict[str, object], tmp_path: Path) -> None:
    assert (root["federation"], root["epoch"], root["members"], root["server"]) == ("lab", 1, [], SERVER)
    assert stat.S_IMODE((tmp_path / "root" / "root.key").stat().st_mode) == 0o600


def test_init_says_to_keep_the_root_offline(tmp_path: Path, command: Command) -> None:
    folder = str(tmp_path / "root")
    code, out, err = command("federation", "init", folder, "--federation", "lab", "--server", SERVER)
    assert code == 0
    assert "offline" in err
    assert "--pin" in err
    assert "epoch 1" in out
    refusal = command.fails(ExitCode.CONFIG, "federation", "init", folder, "--federation", "lab", "--server", SERVER)
    assert "already" in refusal


def test_nodes_are_enrolled_shown_and_accepted(
    root: dict[str, object], site: Path, tmp_path: Path, command: Command
) -> None:
    pin = str(root["root"])
    requests = [ask(command, tmp_path, "node-1", "--pin", pin), ask(command, tmp_path, "node-0")]
    assert stat.S_IMODE((site / "federations/lab/identities/node-0.key").stat().st_mode) == 0o600
    signed = command.json("federation", "enroll", "--root", str(tmp_path / "root"), *requests)
    assert signed["epoch"] == 2
    shown = command.json("federation", "roster", str(signed["file"]), "--accept")
    assert shown == signed
    text = command("federation", "roster", str(signed["file"]))[1]
    assert "node-0" in text
    assert str(signed["digest"]) in text
    old = str(root["file"])
    assert "not newer than 2" in command.fails(ExitCode.UNTRUSTED, "federation", "roster", old, "--accept")


def test_a_node_is_removed_in_the_next_epoch(
    root: dict[str, object], site: Path, tmp_path: Path, command: Command
) -> None:
    folder = str(tmp_path / "root")
    request = ask(command, tmp_path, "node-0", "--pin", str(root["root"]))
    command.json("federation", "enroll", "--root", folder, request)
    signed = command.json("federation", "enroll", "--root", folder, "--remove", "node-0")
    assert (signed["epoch"], signed["members"]) == (3, [])


def test_a_roster_is_not_trusted_without_the_right_root(root: dict[str, object], site: Path, command: Command) -> None:
    file = str(root["file"])
    assert "--pin" in command.fails(ExitCode.CONFIG, "federation", "roster", file)
    command.fails(ExitCode.UNTRUSTED, "federation", "roster", file, "--pin", "cd" * 32)
    assert "hex" in command.fails(ExitCode.CONFIG, "federation", "roster", file, "--pin", "cd")
    assert command.json("federation", "roster", file, "--pin", str(root["root"]))["epoch"] == 1
    assert not site.exists()
    command.fails(ExitCode.UNTRUSTED, "federation", "roster", file, "--pin", str(root["root"]), "--newer-than", "1")


def test_a_changed_roster_is_refused(root: dict[str, object], command: Command) -> None:
    file = Path(str(root["file"]))
    data = file.read_bytes()
    file.write_bytes(data.replace(bytes.fromhex(SERVER), bytes(32)))
    command.fails(ExitCode.UNTRUSTED, "federation", "roster", str(file), "--pin", str(root["root"]))


def test_a_request_needs_all_its_names_and_a_pinned_root(site: Path, tmp_path: Path, command: Command) -> None:
    assert "--cohort" in command.fails(ExitCode.CONFIG, "federation", "enroll", "--federation", "lab")
    names = ("--federation", "lab", "--node", "node-0", "--cohort", "h100", "--out", str(tmp_path / "request"))
    assert "--pin" in command.fails(ExitCode.CONFIG, "federation", "enroll", *names)
    assert not (tmp_path / "request").exists()
    assert not site.exists()


def test_the_root_signs_nothing_that_it_was_not_given(
    root: dict[str, object], site: Path, tmp_path: Path, command: Command
) -> None:
    folder = str(tmp_path / "root")
    assert "nothing to sign" in command.fails(ExitCode.CONFIG, "federation", "enroll", "--root", folder)
    mixed = command.fails(ExitCode.CONFIG, "federation", "enroll", "--root", folder, "--node", "node-0")
    assert "--root signs" in mixed
    missing = command.fails(ExitCode.STORAGE, "federation", "enroll", "--root", folder, str(tmp_path / "none"))
    assert "cannot be read" in missing
    command.fails(ExitCode.UNTRUSTED, "federation", "enroll", "--root", folder, str(root["file"]))
    assert "--root" in command.fails(ExitCode.CONFIG, "federation", "enroll", "--remove", "node-0")
    assert command.json("federation", "roster", str(root["file"]), "--pin", str(root["root"]))["epoch"] == 1
    assert len(list((tmp_path / "root" / "rosters").iterdir())) == 1
