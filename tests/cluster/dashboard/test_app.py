from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from socket import SO_RCVBUF, SOL_SOCKET
from socket import socket as Socket  # noqa: N812  it is a class

import httpx
import msgspec
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from actors.live import FleetLive
from cluster.dashboard import app
from cluster.dashboard.access import FREE_TRIES, SESSION_S
from cluster.dashboard.app import MOST_BODY, create_app
from cluster.dashboard.desk import NEEDS
from cluster.run_folder import RunFolder
from quasim.codec import from_json, to_json
from quasim.errors import StorageError
from storage.files import write_atomic
from tests.cluster.dashboard.served import served
from tests.cluster.dashboard.small_run import CYCLES, SmallRun

TOKEN = "a token that nobody guesses"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def url(small_run: SmallRun, clock: Clock) -> Iterator[str]:
    with served(create_app(small_run.folder.path, TOKEN, clock=clock)) as url:
        yield url


@pytest.fixture
def client(url: str, clock: Clock) -> Iterator[httpx.Client]:
    """Nobody logged in, and no waiting left over from another test."""
    clock.now += 2 * SESSION_S
    with httpx.Client(base_url=url, trust_env=False, headers={"origin": url}) as client:
        yield client


def cookie(client: httpx.Client) -> str:
    return "; ".join(f"{kept.name}={kept.value}" for kept in client.cookies.jar)


def socket(client: httpx.Client, run: str = "", **headers: str) -> ClientConnection:
    """A socket of who is logged in on our own page, unless the headers say otherwise."""
    sent = {"origin": client.headers["origin"], "cookie": cookie(client), **headers}
    return connect(
        f"ws://{client.base_url.netloc.decode()}/ws{run and f'?run={run}'}",
        additional_headers={k: v for k, v in sent.items() if v},
        proxy=None,
        max_size=None,
    )


def login(client: httpx.Client, token: str = TOKEN) -> int:
    return client.post("/login", json={"token": token}).status_code


def test_the_page_and_its_files_are_for_everybody_and_figures_are_not(client: httpx.Client) -> None:
    assert client.get("/").text.lower().startswith("<!doctype html>")
    assert client.get("/static/echarts.min.js").status_code == 200
    assert client.get("/health").json() == {"status": "ok"}
    for view in NEEDS:
        answer = client.get(f"/api/{view}")
        assert answer.status_code == 401
        assert set(answer.json()) == {"error", "do"}


def test_every_view_is_there_for_who_logged_in(client: httpx.Client) -> None:
    assert login(client) == 200
    for view in NEEDS:
        answer = client.get(f"/api/{view}")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        assert "until" in answer.json()


def test_the_cookie_is_out_of_reach_of_scripts_and_of_other_sites(client: httpx.Client) -> None:
    answer = client.post("/login", json={"token": TOKEN})
    made = answer.headers["set-cookie"]
    assert made.startswith(f"quasim_{client.base_url.port}=")
    assert {"httponly", "samesite=strict", "path=/"} <= {part.strip().lower() for part in made.split(";")}
    assert TOKEN not in made


def test_under_tls_the_cookie_travels_by_tls_alone(small_run: SmallRun) -> None:
    with served(create_app(small_run.folder.path, TOKEN, secure=True)) as url:
        answer = httpx.post(f"{url}/login", json={"token": TOKEN}, trust_env=False)
    assert "secure" in {part.strip().lower() for part in answer.headers["set-cookie"].split(";")}


@pytest.mark.parametrize("body", [b"", b"{}", b'{"token": 5}', b"[]", b"\xff", b'{"token": "wrong"}'])
def test_login_is_refused_without_the_token(client: httpx.Client, body: bytes) -> None:
    answer = client.post("/login", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers


def test_a_plain_form_logs_in_as_well_and_lands_on_the_page(client: httpx.Client) -> None:
    answer = client.post("/login", data={"token": TOKEN}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert client.get("/api/run").status_code == 200


def test_guessing_has_to_wait(client: httpx.Client, clock: Clock) -> None:
    assert [login(client, "wrong") for _ in range(FREE_TRIES)] == [401, 401, 429]
    answer = client.post("/login", json={"token": TOKEN})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    clock.now += 1
    assert login(client) == 200


def test_a_login_from_another_site_is_refused(client: httpx.Client) -> None:
    for path in ("/login", "/logout"):
        answer = client.post(path, json={"token": TOKEN}, headers={"origin": "http://evil.example"})
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers


def test_logout_ends_the_session_even_for_who_kept_the_cookie(client: httpx.Client) -> None:
    login(client)
    kept = cookie(client)
    assert client.post("/logout").status_code == 200
    assert not client.cookies
    assert client.get("/api/run", headers={"cookie": kept}).status_code == 401


def test_what_is_asked_wrongly_is_said(client: httpx.Client) -> None:
    login(client)
    assert client.get("/api/secrets").status_code == 404
    assert client.get("/api/run?run=other").status_code == 404
    for until in ("", " ", "x", "-1", "+1", "1.5", "1e3", "0x1", "٣", "9" * 40):
        assert client.get("/api/run", params={"until": until}).status_code == 400
    assert client.get("/nothing").status_code == 404
    assert client.post("/api/run").status_code == 405


def test_a_cycle_that_is_not_finished_yet_means_the_last_one_that_is(client: httpx.Client) -> None:
    login(client)
    last = client.get("/api/rounds", params={"until": CYCLES - 1}).json()
    assert last["until"] == CYCLES - 1
    for until in (CYCLES, "9" * 15):
        assert client.get("/api/rounds", params={"until": until}).json() == last


@pytest.mark.parametrize("path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static//etc/passwd", "/static/"])
def test_only_files_of_the_page_are_handed_out(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 404


def test_a_big_body_is_not_read(client: httpx.Client) -> None:
    assert client.post("/login", content=b"x" * (MOST_BODY + 1)).status_code == 413


def test_every_answer_lets_the_browser_run_our_files_alone(client: httpx.Client) -> None:
    for path in ("/", "/api/run", "/static/style.css", "/health", "/nothing"):
        headers = client.get(path).headers
        policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == "'none'"
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == ("no-cache" if path.startswith("/static/") else "no-store")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8710", "127.0.0.1.evil.example", "[", "127.0.0.1:99999", "[::1"]
)
def test_a_name_of_somebody_elses_is_not_answered(client: httpx.Client, host: str) -> None:
    login(client)
    assert client.get("/api/run", headers={"host": host}).status_code == 421


def test_a_forwarded_port_is_answered(client: httpx.Client) -> None:
    away = {"host": "localhost:9000", "origin": "http://localhost:9000"}
    made = client.post("/login", json={"token": TOKEN}, headers=away).headers["set-cookie"].split(";")[0]
    assert client.get("/api/run", headers={**away, "cookie": made}).status_code == 200


def test_the_socket_is_refused_without_session_with_a_wrong_one_and_to_other_origins(client: httpx.Client) -> None:
    def refused(**headers: str) -> bool:
        with pytest.raises(InvalidStatus) as error, socket(client, **headers):
            pass
        return error.value.response.status_code == 403

    name = f"quasim_{client.base_url.port}"
    assert refused()
    assert refused(cookie=f"{name}=guess")
    assert refused(cookie=f"{name}={TOKEN}")
    login(client)
    assert refused(origin="")
    assert refused(origin="http://evil.example")
    assert refused(origin="null")
    assert refused(origin="http://127.0.0.1")


def test_the_socket_gives_every_view_at_once(client: httpx.Client) -> None:
    login(client)
    with socket(client) as connection:
        messages = [json.loads(connection.recv(5)) for _ in NEEDS]
    assert {message["view"] for message in messages} == set(NEEDS)
    fleet = next(message["data"] for message in messages if message["view"] == "fleet")
    assert [tile["node"] for tile in fleet["nodes"]] == ["node-0", "node-1"]


def test_of_too_many_viewers_of_all_runs_the_last_is_turned_away(
    small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "MOST_VIEWERS", 1)
    for name in ("a", "b"):
        shutil.copytree(small_run.folder.path, tmp_path / name)
    with served(create_app(tmp_path, TOKEN, many=True)) as url, httpx.Client(base_url=url, trust_env=False) as client:
        client.headers["origin"] = url
        login(client)
        with socket(client, run="a") as first:
            first.recv(5)
            for run in ("a", "b"):
                with pytest.raises(InvalidStatus), socket(client, run=run):
                    pass
        until(lambda: joins(client, "b"))


def joins(client: httpx.Client, run: str) -> bool:
    """Whether there is room; the server may take a moment to see that somebody left."""
    try:
        with socket(client, run=run) as connection:
            return bool(connection.recv(5))
    except InvalidStatus:
        return False


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_is_said_of_an_error_names_no_shape(client: httpx.Client) -> None:
    login(client)
    answer = client.get("/api/run", params={"run": "matmul[m=768,n=512]"})
    assert (answer.status_code, answer.json()["error"]) == (404, "no run 'matmul'")


def test_who_takes_nothing_is_dropped_and_keeps_nobody_waiting(
    small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "SEND_S", 0.3)
    with served(create_app(crowded(small_run, tmp_path), TOKEN)) as url, httpx.Client(base_url=url) as client:
        client.headers["origin"] = url
        login(client)
        with stalled(client) as slow:
            with socket(client) as quick:
                seen = {json.loads(quick.recv(20))["view"] for _ in NEEDS}
            time.sleep(0.5)
            # What was under way still comes, and then the end.
            while slow.recv(1 << 20):
                pass
    assert seen == set(NEEDS)


def crowded(small_run: SmallRun, tmp_path: Path) -> Path:
    """The run with so many nodes that a view of them does not fit into the buffers of a connection."""
    folder = RunFolder(shutil.copytree(small_run.folder.path, tmp_path / "run"))
    live = from_json(folder.fleet_now.read_bytes(), FleetLive)
    write_atomic(folder.fleet_now, to_json(msgspec.structs.replace(live, nodes=live.nodes * 10_000)))
    return folder.path


def stalled(client: httpx.Client) -> Socket:
    """A socket that is opened and not read from."""
    made = Socket()
    made.setsockopt(SOL_SOCKET, SO_RCVBUF, 4096)
    made.settimeout(20)
    made.connect((client.base_url.host, client.base_url.port))
    lines = [
        "GET /ws HTTP/1.1",
        f"Host: {client.base_url.netloc.decode()}",
        f"Origin: {client.headers['origin']}",
        f"Cookie: {cookie(client)}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    ]
    made.sendall("\r\n".join([*lines, "", ""]).encode())
    return made


def test_there_must_be_a_run(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="holds no run"):
        create_app(tmp_path, TOKEN)
    with pytest.raises(StorageError, match="no folder"):
        create_app(tmp_path / "missing", TOKEN, many=True)
