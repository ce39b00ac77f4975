from __future__ import annotations

from pathlib import Path

import pytest

from actors import drain
from quasim.errors import ConfigError


def test_a_wish_stands_until_it_is_taken_back(tmp_path: Path) -> None:
    folder = tmp_path / "drained"
    assert drain.requested(folder) == frozenset()
    assert drain.request(folder, "node-1")
    assert not drain.request(folder, "node-1")
    assert drain.request(folder, "10.0.0.7")
    assert drain.requested(folder) == {"node-1", "10.0.0.7"}
    assert drain.withdraw(folder, "node-1")
    assert not drain.withdraw(folder, "node-1")
    assert drain.requested(folder) == {"10.0.0.7"}


@pytest.mark.parametrize("name", ["", "../up", ".hidden", "a/b", "node 1"])
def test_a_name_that_is_none_leads_nowhere(tmp_path: Path, name: str) -> None:
    for wish in (drain.request, drain.withdraw):
        with pytest.raises(ConfigError, match="not the name"):
            wish(tmp_path / "drained", name)
    assert not (tmp_path / "up").exists()
