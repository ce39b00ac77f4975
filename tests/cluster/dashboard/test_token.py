from __future__ import annotations

import stat
from pathlib import Path

import pytest

from cluster.dashboard.token import LEAST, load_or_create_token, load_token
from quasim.errors import ConfigError, TrustError


def test_a_token_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "site" / "dashboard.token"
    token = load_or_create_token(path)
    assert len(token) >= 40
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_or_create_token(path) == load_token(path) == token
    assert load_or_create_token(tmp_path / "other") != token


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_token_that_others_could_read_or_set_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "token"
    load_or_create_token(path)
    path.chmod(mode)
    with pytest.raises(TrustError, match="open to others"):
        load_or_create_token(path)


@pytest.mark.parametrize("text", ["", "\n", "a" * (LEAST - 1), "ä" * LEAST, "a" * LEAST + "\x07b"])
def test_a_token_that_can_be_guessed_or_not_be_typed_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "token"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(TrustError, match="plain characters"):
        load_token(path)


def test_a_token_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no token file"):
        load_token(tmp_path / "missing")
