from __future__ import annotations

import pytest

from cluster.dashboard.guard import same_origin


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://127.0.0.1:8710", "127.0.0.1:8710"),
        ("http://localhost:9000", "localhost:9000"),
        ("https://fleet.example", "fleet.example"),
        ("http://[::1]:8710", "[::1]:8710"),
    ],
)
def test_our_own_page_is_of_the_same_origin(origin: str, host: str) -> None:
    assert same_origin(origin, host)


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "",
        "null",
        "http://evil.example",
        "http://127.0.0.1",
        "http://127.0.0.1:8711",
        "http://127.0.0.1:8710.evil.example",
        "http://evil.example#127.0.0.1:8710",
        "http://user@127.0.0.1:8710",
        "file://127.0.0.1:8710",
        "127.0.0.1:8710",
        "http://[::1",
    ],
)
def test_no_other_page_is(origin: str | None) -> None:
    assert not same_origin(origin, "127.0.0.1:8710")


def test_without_a_host_nobody_is() -> None:
    assert not same_origin("http://127.0.0.1:8710", None)
    assert not same_origin("http://", "")
