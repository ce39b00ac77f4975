from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from quasim.errors import DataError, TrustError
from storage.pseudonyms import IdDictionary, Pseudonyms
from tests.storage.samples import SITE_KEY

OTHER_KEY = b"another site's secret key 32byte"


def test_id_is_128_bits_of_hexadecimal_and_stays_the_same() -> None:
    first = Pseudonyms(SITE_KEY).id("node", "gpu-17.example.org")
    assert len(bytes.fromhex(first)) == 16
    assert Pseudonyms(SITE_KEY).id("node", "gpu-17.example.org") == first


def test_ids_differ_by_site_key_kind_and_text() -> None:
    ids = Pseudonyms(SITE_KEY)
    found = {ids.id("node", "a"), ids.id("genome", "a"), ids.id("node", "b"), Pseudonyms(OTHER_KEY).id("node", "a")}
    assert len(found) == 4


def test_kind_and_text_cannot_run_into_each_other() -> None:
    with pytest.raises(DataError, match="not a kind"):
        Pseudonyms(SITE_KEY).id("node\0a", "b")


def test_equal_text_in_another_unicode_form_has_the_same_id() -> None:
    assert Pseudonyms(SITE_KEY).id("node", "caf\u00e9") == Pseudonyms(SITE_KEY).id("node", "cafe\u0301")


def test_ids_cannot_be_guessed_by_hashing_every_candidate() -> None:
    secret = Pseudonyms(SITE_KEY).id("shape", "m=768,n=768,k=768")
    for size in range(1024):
        text = f"m={size},n={size},k={size}"
        assert Pseudonyms(OTHER_KEY).id("shape", text) != secret
        assert not hashlib.sha256(text.encode()).hexdigest().startswith(secret)


def test_dictionary_gives_texts_back_to_who_holds_the_key(tmp_path: Path) -> None:
    dictionary = IdDictionary(tmp_path / "ids", SITE_KEY)
    node = dictionary.id("node", "gpu-17")
    assert node == Pseudonyms(SITE_KEY).id("node", "gpu-17")
    dictionary.save()
    assert IdDictionary(tmp_path / "ids", SITE_KEY).entries() == {node: ("node", "gpu-17")}
    assert (tmp_path / "ids").stat().st_mode & 0o777 == 0o600


def test_dictionary_is_unreadable_with_another_key(tmp_path: Path) -> None:
    dictionary = IdDictionary(tmp_path / "ids", SITE_KEY)
    dictionary.id("node", "gpu-17.example.org")
    dictionary.save()
    assert b"gpu-17" not in (tmp_path / "ids").read_bytes()
    with pytest.raises(TrustError, match="another site key"):
        IdDictionary(tmp_path / "ids", OTHER_KEY)


def test_processes_append_to_one_dictionary_without_loss(tmp_path: Path) -> None:
    one, two = IdDictionary(tmp_path / "ids", SITE_KEY), IdDictionary(tmp_path / "ids", SITE_KEY)
    one.id("node", "a")
    two.id("node", "b")
    two.id("node", "a")
    one.save()
    two.save()
    one.id("node", "c")
    one.save()
    expected = {"a", "b", "c"}
    for dictionary in (one, two, IdDictionary(tmp_path / "ids", SITE_KEY)):
        assert {text for _, text in dictionary.entries().values()} == expected


def test_saving_nothing_new_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    dictionary = IdDictionary(tmp_path / "ids", SITE_KEY)
    dictionary.save()
    assert not (tmp_path / "ids").exists()
    dictionary.id("node", "a")
    dictionary.save()
    size = (tmp_path / "ids").stat().st_size
    again = IdDictionary(tmp_path / "ids", SITE_KEY)
    again.id("node", "a")
    again.save()
    assert (tmp_path / "ids").stat().st_size == size


def test_merging_takes_over_the_entries_of_another_host(tmp_path: Path) -> None:
    here, there = IdDictionary(tmp_path / "here", SITE_KEY), IdDictionary(tmp_path / "there", SITE_KEY)
    here.id("node", "a")
    there.id("node", "b")
    here.merge(there)
    here.save()
    assert {t for _, t in IdDictionary(tmp_path / "here", SITE_KEY).entries().values()} == {"a", "b"}


@pytest.mark.parametrize("cut", [1, 5, 20, 40])
def test_torn_end_is_dropped_and_written_over(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "ids"
    for text in ("a", "b" * 99):
        dictionary = IdDictionary(path, SITE_KEY)
        dictionary.id("node", text)
        size = path.stat().st_size if path.exists() else 0
        dictionary.save()
    path.write_bytes(path.read_bytes()[:-cut])
    torn = IdDictionary(path, SITE_KEY)
    assert [text for _, text in torn.entries().values()] == ["a"]
    torn.id("node", "c")
    torn.save()
    assert {text for _, text in IdDictionary(path, SITE_KEY).entries().values()} == {"a", "c"}
    assert path.stat().st_size < size + 99, "nothing of the torn end is left behind the new one"


def test_damage_within_the_dictionary_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "ids"
    dictionary = IdDictionary(path, SITE_KEY)
    for text in ("a", "b"):
        dictionary.id("node", text)
        dictionary.save()
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="is damaged"):
        IdDictionary(path, SITE_KEY)


def test_file_of_another_kind_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "ids").write_bytes(b"precious")
    with pytest.raises(DataError, match="not an id dictionary"):
        IdDictionary(tmp_path / "ids", SITE_KEY)
    assert (tmp_path / "ids").read_bytes() == b"precious"


def test_no_secret_is_printed(tmp_path: Path) -> None:
    for thing in (Pseudonyms(SITE_KEY), IdDictionary(tmp_path / "ids", SITE_KEY)):
        assert SITE_KEY.hex() not in repr(thing)
        assert repr(SITE_KEY) not in repr(thing)
