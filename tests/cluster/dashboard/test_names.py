from __future__ import annotations

from pathlib import Path

import pytest

from actors.live import Event
from cluster.dashboard.names import Names
from quasim.errors import ConfigError, TrustError
from quasim.trial import Genome, Problem
from storage.batches import genome_text
from storage.keys import load_or_create_key
from storage.pseudonyms import IdDictionary

PROBLEM = Problem.of("matmul", m=768, n=512, k=64)
GENOME = Genome({"tile": 4, "pack": True})


@pytest.fixture
def site(tmp_path: Path) -> Path:
    ids = IdDictionary(tmp_path / "ids", load_or_create_key(tmp_path / "site.key"))
    ids.id("problem", str(PROBLEM))
    ids.id("genome", genome_text(GENOME))
    ids.save()
    return tmp_path


def hashed(site: Path, kind: str, text: str) -> str:
    return IdDictionary(site / "ids", load_or_create_key(site / "site.key")).id(kind, text)


def test_with_the_key_ids_have_names(site: Path) -> None:
    names = Names.of_site(site / "site.key")
    names.refresh()
    problem, genome = hashed(site, "problem", str(PROBLEM)), hashed(site, "genome", genome_text(GENOME))
    assert names.of_problem(problem, "matmul") == str(PROBLEM) == names.text(str(PROBLEM)) == names.problem(PROBLEM)
    assert names.genome(genome) == GENOME
    assert names.genome(problem) is None
    assert names.genome("0" * 32) is None
    assert names.of("0" * 32) == "0" * 8


def test_what_is_added_is_known_after_a_refresh(site: Path) -> None:
    names = Names.of_site(site / "site.key")
    names.refresh()
    ids = IdDictionary(site / "ids", load_or_create_key(site / "site.key"))
    node = ids.id("node", "node-7")
    ids.save()
    assert names.of(node) == node[:8]
    names.refresh()
    assert names.of(node) == "node-7"


def test_without_the_key_shapes_go_from_wherever_they_stand(site: Path) -> None:
    names = Names()
    names.refresh()
    text = f"cycle 3/9: best {PROBLEM} 1.2 ms, softmax[rows=4096,cols=2048] 3 ms (cpu[0] is hot)"
    assert names.text(text) == "cycle 3/9: best matmul 1.2 ms, softmax 3 ms (cpu[0] is hot)"
    assert names.event(Event(1.0, "cycle-done", "", 3, 3, text)).text == names.text(text)
    assert names.problem(PROBLEM) == "matmul"
    problem = hashed(site, "problem", str(PROBLEM))
    assert names.of_problem(problem, "matmul") == f"matmul {problem[:8]}"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"{PROBLEM} is not recorded", "matmul is not recorded"),
        (f"genome {GENOME} violates a constraint", "genome tile=…,pack=… violates a constraint"),
        ("of shape m=768, n=512, k=64.", "of shape m=…, n=…, k=…"),
        ("h100-matmul-768x512x64.t4.json.gz is damaged", "h100-matmul-….t4.json.gz is damaged"),
        ("cannot broadcast (768, 512) and (64,)", "cannot broadcast (…) and (…)"),
        ("round (3): 2 of 8 nodes (advise; 3 changes), 0.5 s", "round (3): 2 of 8 nodes (advise; 3 changes), 0.5 s"),
        ("canaries found matmul m~2^8,n~2^9 slower", "canaries found matmul m~2^8,n~2^9 slower"),
    ],
)
def test_however_a_shape_or_a_genome_is_written_the_key_alone_shows_it(site: Path, text: str, left: str) -> None:
    assert Names().text(text) == left
    assert Names.of_site(site / "site.key").text(text) == text


def test_without_the_key_a_failed_node_has_an_error_of_a_type_and_no_words(site: Path) -> None:
    text = f"node-0 failed: KeyError({PROBLEM!r}, 'extent 768'): see the logs of its Ray actor"
    failed = Event(1.0, "node-failed", "node-0", -1, 3, text)
    assert Names().event(failed).text == "node-0 failed: KeyError"
    assert Names.of_site(site / "site.key").event(failed) == failed


def test_a_key_is_not_made_and_not_mistaken(site: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no site key"):
        Names.of_site(tmp_path / "other.key")
    assert not (tmp_path / "other.key").exists()
    (site / "site.key").unlink()
    load_or_create_key(site / "site.key")
    with pytest.raises(TrustError, match="another site key"):
        Names.of_site(site / "site.key")
