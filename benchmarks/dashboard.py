"""The dashboard over 5 million SYNTHETIC rows: first page, delay and CPU of 100 nodes at 1 Hz, memory, 50 viewers.

The server runs in a process of its own, as `quasim dashboard` starts it. Viewers are real WebSockets on loopback, and
one more of them never reads. There are no logs of cycles: their trials alone would be gigabytes, and pages skip them.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import httpx
from websockets.asyncio.client import ClientConnection, connect

from actors.live import FleetLive, NodeLive, NodePulse
from benchmarks.harness import Bar, Row, main, say
from benchmarks.table import ROWS, SMALL_BATCHES, SMALL_ROWS, build, synthetic_segment
from cluster.config import FleetConfig
from cluster.dashboard.desk import NEEDS
from cluster.run_folder import RunFolder
from quasim.codec import to_json
from quasim.errors import QuasimError
from quasim.targets.spec import Recording, ReplaySpec
from storage.files import make_folder
from storage.table import TelemetryTable

NODES = 100
VIEWERS = 50
SECONDS = 30
START_S = 60
COMMIT_S = 5
"""Seconds between two commits to the table while viewers watch."""

PAGE_S = 1.0
DELAY_S = 1.0
CORE_SHARE = 0.20
MEMORY_MB = 300.0

LINKED = re.compile(r'(?:src|href)="(/static/[^"]+)"')
AT = re.compile(r'"at":([0-9.]+),"nodes"')
SEARCH = '{"view":"search"'
NOT_READ = '"rows":null'


class Server:
    """A `quasim dashboard` in a process of its own, and a session with it."""

    def __init__(self, process: subprocess.Popen[str], url: str, token: str) -> None:
        self._process = process
        self._proc = Path(f"/proc/{process.pid}")
        self.url, self.token = url.rstrip("/"), token
        self.client = httpx.Client(base_url=self.url, trust_env=False, timeout=START_S)

    def log_in(self) -> None:
        """Let this client's requests be answered."""
        self.client.post("/login", json={"token": self.token}).raise_for_status()

    @property
    def socket(self) -> str:
        """Address of its WebSocket."""
        return f"ws{self.url[4:]}/ws"

    @property
    def headers(self) -> dict[str, str]:
        """What a page of the session sends when it opens the WebSocket."""
        cookie = "; ".join(f"{kept.name}={kept.value}" for kept in self.client.cookies.jar)
        return {"Origin": self.url, "Cookie": cookie}

    def connect(self) -> connect:
        """A WebSocket of the session."""
        return connect(self.socket, additional_headers=self.headers, max_size=None, proxy=None)

    def cpu_s(self) -> float:
        """Seconds of CPU that the process has used."""
        fields = (self._proc / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self, name: str) -> float:
        """``VmRSS`` now or ``VmHWM``, the most there ever was."""
        found = re.search(rf"{name}:\s+(\d+) kB", (self._proc / "status").read_text())
        if found is None:
            raise QuasimError(f"no {name} of the server", "measure on Linux")
        return int(found[1]) / 1e3


@contextmanager
def serving(run: Path, site: Path) -> Iterator[tuple[Server, float]]:
    """The server of a run, and the seconds from its start until it listened."""
    command = [sys.executable, "-m", "quasim", "dashboard", str(run), "--port", "0"]
    start, environment = time.monotonic(), {**os.environ, "QUASIM_HOME": str(site)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().partition("  ")[0]
            server = Server(process, url, (site / "dashboard.token").read_text().strip())
            with server.client:
                yield server, time.monotonic() - start
        finally:
            process.terminate()


def fleet(at: float) -> FleetLive:
    """The state of 100 SYNTHETIC nodes."""
    return FleetLive(at, tuple(_node(number, at) for number in range(NODES)), "idle", 7, 7, ROWS)


def _node(number: int, at: float) -> NodeLive:
    pulse = NodePulse(
        node=f"node-{number}",
        machine=f"10.0.0.{number}",
        device="SYNTHETIC",
        state="measuring",
        cycle=7,
        problem="matmul[m=4096,n=4096,k=4096]",
        power_w=None,
        cap_w=None,
        temperature_c=None,
        energy_source="unmetered",
        metered_why="SYNTHETIC: nothing is metered",
        rows_sent=int(at) % 10**6,
        rows_acknowledged=int(at) % 10**6,
        last_batch_at=at,
        at=at,
    )
    return NodeLive(pulse, "ok", at)


def write_now(run: RunFolder) -> None:
    """Replace the fleet's state with one of now, as its aggregator does."""
    aside = run.fleet_now.with_suffix(".new")
    aside.write_bytes(to_json(fleet(time.time())))
    aside.replace(run.fleet_now)


async def first_page(server: Server) -> tuple[float, float]:
    """Seconds until the page, its files and all its views but the table's were there; and until those were, too."""
    start = time.monotonic()
    page = server.client.get("/").text
    for path in LINKED.findall(page):
        server.client.get(path).raise_for_status()
    server.log_in()
    async with server.connect() as viewer:
        seen: set[str] = set()
        shown = 0.0
        while True:
            message = str(await viewer.recv())
            view = message[9 : message.index('"', 9)]
            seen.add(view)
            if seen == set(NEEDS) and not shown:
                shown = time.monotonic() - start
            if view == "search" and NOT_READ not in message:
                return shown or time.monotonic() - start, time.monotonic() - start


def commit(run: RunFolder) -> None:
    """Let some more SYNTHETIC rows be in the table, as the aggregator does every few seconds."""
    with TelemetryTable(run.table) as table:
        synthetic_segment(run.telemetry, table.snapshot().through + 1, SMALL_BATCHES, SMALL_ROWS)
        table.commit(run.telemetry)


async def watched(server: Server, run: RunFolder, viewers: int, seconds: float) -> Row:
    """What the server takes while so many watch 100 nodes that say something every second."""
    delays: list[float] = []
    searches: list[int] = []
    # Nobody takes what it gets: after sixteen messages its connection is full, and the server waits for it alone.
    silent = await server.connect()
    watching = [asyncio.create_task(_watch(await server.connect(), delays, searches)) for _ in range(viewers)]
    await asyncio.sleep(2)
    delays.clear()
    searches.clear()
    begin_s, begin, written = server.cpu_s(), time.monotonic(), 0
    while time.monotonic() - begin < seconds:
        write_now(run)
        if written % COMMIT_S == 0:
            await asyncio.to_thread(commit, run)
        written += 1
        await asyncio.sleep(max(0.0, begin + written - time.monotonic()))
    share = (server.cpu_s() - begin_s) / (time.monotonic() - begin)
    for task in watching:
        task.cancel()
    await asyncio.gather(*watching, return_exceptions=True)
    silent.transport.abort()
    return {
        "viewers": viewers,
        "core_share": share,
        "updates": len(delays),
        "expected": viewers * written,
        "search_updates": len(searches),
        "search_mb": sum(searches) / 1e6,
        "delay_median_s": median(delays),
        "delay_most_s": max(delays),
        "memory_mb": server.memory_mb("VmRSS"),
    }


async def _watch(viewer: ClientConnection, delays: list[float], searches: list[int]) -> None:
    """Note how late each state of the fleet comes, and how big each view of the search is."""
    async for message in viewer:
        if str(message[: len(SEARCH)]) == SEARCH:
            searches.append(len(message))
        found = AT.search(str(message[:200]))
        if found is not None:
            delays.append(time.time() - float(found[1]))


def make(folder: Path, rows: int) -> RunFolder:
    """A run of so many SYNTHETIC rows."""
    run = RunFolder(folder)
    if not run.table.exists():
        run = RunFolder.create(folder, FleetConfig(target=ReplaySpec((Recording("SYNTHETIC.json.gz"),))))
        say(f"building a table of {rows} SYNTHETIC rows")
        build(folder, rows)
        make_folder(run.live)
    return run


async def measured(run: RunFolder, site: Path, seconds: float) -> tuple[list[Row], list[Bar]]:
    """Start the server, open the page cold and warm, and watch."""
    write_now(run)
    with serving(run.path, site) as (server, listening_s):
        cold_s, cold_table_s = await first_page(server)
        warm_s, warm_table_s = await first_page(server)
        search_bytes = len(server.client.get("/api/search").content)
        pages: list[Row] = [
            {"page": "just started", "listening_s": listening_s, "shown_s": cold_s, "search_s": cold_table_s},
            {"page": "warm", "listening_s": None, "shown_s": warm_s, "search_s": warm_table_s},
        ]
        watching = [await watched(server, run, viewers, seconds) for viewers in (1, VIEWERS)]
        peak_mb = server.memory_mb("VmHWM")
    most = watching[-1]
    bars = [
        Bar.at_most("first page after the start, without the table's views, s", cold_s, PAGE_S),
        Bar.at_most("first page of a server that runs, all views, s", warm_table_s, PAGE_S),
        Bar.at_most(
            f"share of a core, {NODES} nodes at 1 Hz, {VIEWERS} viewers", float(most["core_share"] or 0), CORE_SHARE
        ),
        Bar.at_most("longest delay from the data to a viewer, s", float(most["delay_most_s"] or 0), DELAY_S),
        Bar.at_least(f"updates that {VIEWERS} viewers got, of those written", _got(most), 0.95),
        Bar.at_most("most memory of the server, MB", peak_mb, MEMORY_MB),
    ]
    return [*pages, *watching, {"search_view_bytes": search_bytes, "peak_memory_mb": peak_mb}], bars


def _got(row: Row) -> float:
    return float(row["updates"] or 0) / float(row["expected"] or 1)


def measure(given: argparse.Namespace) -> tuple[list[Row], list[Bar]]:
    """All figures."""
    with tempfile.TemporaryDirectory() as folder:
        run = make(given.run or Path(folder) / "run", given.rows)
        return asyncio.run(measured(run, Path(folder) / "site", given.seconds))


def options(parser: argparse.ArgumentParser) -> None:
    """What may be varied."""
    parser.add_argument("--rows", type=int, default=ROWS, help="of the table")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="to watch, for each number of viewers")
    parser.add_argument("--run", type=Path, help="keep the run's folder here, and use it again")


if __name__ == "__main__":
    main("dashboard", __doc__ or "", measure, options)
