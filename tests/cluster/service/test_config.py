from __future__ import annotations

from pathlib import Path

import pytest

from cluster.service.config import NodeServiceConfig, check_name, load_service
from quasim.errors import ConfigError

ROOT = Path(__file__).parents[3]


def test_the_commented_file_says_the_defaults() -> None:
    assert load_service(ROOT / "configs/cluster/node.yaml") == NodeServiceConfig()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("nmae: a", "nmae"),
        ("name: a b", "no name of a node"),
        ("health_port: 70000", "health_port=70000"),
        ("drain_s: 0", "drain_s=0"),
        ("ray: {address: elsewhere}", "address is the service's own"),
        ("labels: {quasim-node: a}", "give it as name"),
        ("restart: {first_s: 0}", "first_s=0"),
    ],
)
def test_a_bad_file_is_refused_by_its_name(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "node.yaml").write_text(text)
    with pytest.raises(ConfigError, match=complaint) as refused:
        load_service(tmp_path / "node.yaml")
    assert str(tmp_path) in str(refused.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no config file"):
        load_service(tmp_path / "none.yaml")


@pytest.mark.parametrize("name", ["a", "gpu-17.rack_3", "A" * 63])
def test_names_that_ray_takes_are_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "a,b=c", "A" * 64, "ä"])
def test_names_that_would_break_a_label_are_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        check_name(name)
