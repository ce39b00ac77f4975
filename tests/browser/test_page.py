"""The dashboard's page in a real browser, on a real run."""

from __future__ import annotations

import csv
import io
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from playwright.sync_api import Browser, WebSocketRoute, expect

from actors.live import FleetLive, NodeLive
from cluster.run_folder import RunFolder
from quasim.codec import from_json, to_json
from storage.files import write_atomic
from tests.browser.conftest import CYCLES
from tests.browser.fleet import TOKEN
from tests.browser.viewer import PAGES, Viewer

pytestmark = [pytest.mark.browser, pytest.mark.ray]

DRAWN = {
    "fleet": {"fleet-power", "fleet-rows"},
    "search": {"search-best", "search-cloud", "search-genomes", "search-importance", "search-status"},
    "rounds": {"rounds-participants", "rounds-adoption", "rounds-cost"},
    "energy": {"energy-kernels", "energy-power"},
    "certificates": set(),
    "events": {"events-timeline"},
}
"""Charts that this run has figures for. Its sums are exact, and whether a winner saves joules is not ours to say."""


def test_nothing_is_shown_without_the_token(browser: Browser, address: str) -> None:
    with Viewer.opened(browser, address) as stranger:
        page = stranger.page
        page.goto(f"{address}/#/search")
        expect(page.locator("#login-form")).to_be_visible()
        expect(page.locator("#app")).to_be_hidden()
        assert stranger.violations() == []
        page.fill("#token", "not the token")
        page.press("#token", "Enter")
        expect(page.locator("#login-said")).to_contain_text("not the server's")
        assert stranger.context.request.get(f"{address}/api/search").status == 401
        page.fill("#token", TOKEN)
        page.press("#token", "Enter")
        expect(page.locator("#page-title")).to_have_text("Search")
        assert [(cookie["httpOnly"], cookie["sameSite"]) for cookie in stranger.context.cookies()] == [(True, "Strict")]
        page.click("#logout")
        expect(page.locator("#app")).to_be_hidden()
        assert stranger.context.request.get(f"{address}/api/search").status == 401


@pytest.mark.parametrize("name", PAGES)
def test_a_page_draws_its_charts_and_is_accessible(viewer: Viewer, name: str) -> None:
    viewer.go(name)
    states = viewer.cards()
    assert {card for card, state in states.items() if state == "drawn"} >= DRAWN[name]
    for card, state in states.items():
        assert viewer.inked(card) == (state == "drawn"), card
    assert viewer.violations() == []


@pytest.mark.parametrize("name", ["fleet", "energy"])
def test_watts_of_a_simulated_device_are_never_called_metered(viewer: Viewer, name: str) -> None:
    summary = viewer.go(name).locator(f"#{name}-power .summary")
    expect(summary).to_contain_text("modelled (simulated, not measured)")
    expect(summary).not_to_contain_text(" metered")


def test_a_link_to_a_run_that_is_gone_says_so(viewer: Viewer) -> None:
    viewer.page.goto(f"{viewer.address}/#/fleet?run=gone")
    expect(viewer.page.locator("#notes")).to_contain_text("no run 'gone'")
    # What the browser itself says of the refused question.
    assert all("404" in said for said in viewer.said)
    viewer.said.clear()


def test_dark_pages_keep_their_contrast_and_the_choice_outlives_the_visit(browser: Browser, address: str) -> None:
    with Viewer.opened(browser, address, dark=True) as viewer:
        viewer.sign_in()
        page = viewer.go("search")
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"
        assert viewer.violations() == []
        page.click("#theme")
        page.reload()
        expect(page.locator("html")).to_have_attribute("data-theme", "light")
        viewer.check_clean()


def test_a_phone_shows_every_page_without_scrolling_sideways(browser: Browser, address: str) -> None:
    with Viewer.opened(browser, address, width=375) as viewer:
        viewer.sign_in()
        for name in PAGES:
            page = viewer.go(name)
            assert page.evaluate("document.documentElement.scrollWidth") <= 375, name
        viewer.check_clean()


def test_replay_goes_back_to_a_cycle_and_plays_from_there(viewer: Viewer) -> None:
    page = viewer.go("search", "?until=0")
    shown, facts = page.locator("#replay-shown"), page.locator("#search-facts")
    expect(shown).to_have_text(f"Cycle 0 of {CYCLES - 1}")
    early = _trials(facts.inner_text())
    page.click("#replay-play")
    expect(shown).to_have_text(f"End, cycle {CYCLES - 1}")
    expect(page.locator("#replay-play")).to_have_text("Play")
    expect(facts).not_to_contain_text(f" {early} trials")
    assert _trials(facts.inner_text()) > early
    assert "until" not in page.url


def _trials(facts: str) -> int:
    found = re.search(r": (\d+) trials?;", facts)
    assert found is not None, facts
    return int(found[1])


def test_the_keyboard_reaches_pages_and_cycles(viewer: Viewer) -> None:
    page = viewer.go("fleet")
    page.locator("#menu a", has_text="Rounds").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#page-title")).to_be_focused()
    expect(page.locator("#page-title")).to_have_text("Rounds")
    page.locator("#replay-slider").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#replay-shown")).to_have_text(f"Cycle {CYCLES - 2} of {CYCLES - 1}")
    expect(page.locator("#rounds-log tbody tr")).to_have_count(CYCLES - 1)


def test_a_link_opens_what_its_sender_saw(viewer: Viewer) -> None:
    page = viewer.go("search")
    page.get_by_label("Problem").select_option(index=1)
    page.get_by_label("Height").select_option("error")
    name = page.get_by_label("Problem").locator("option:checked").inner_text()
    expect(page.locator("#search-facts")).to_contain_text(name)
    link = page.url
    page.goto("about:blank")
    page.goto(link)
    expect(page.locator("#search-facts")).to_contain_text(name)
    assert page.get_by_label("Height").input_value() == "error"


def test_a_chart_is_exported_as_the_figures_of_its_table(viewer: Viewer) -> None:
    page = viewer.go("search")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export Time, energy and error as CSV").click()
    rows = list(csv.reader(io.StringIO(Path(download.value.path()).read_text())))
    assert rows[0][:4] == ["time (ns)", "energy (J)", "source of energy", "error"]
    page.locator("#search-cloud summary").click()
    expect(page.locator("#search-cloud tbody tr")).to_have_count(len(rows) - 1)
    assert len(rows) > 20
    # Joules of some genomes were not recorded: nothing stands where nothing is known.
    assert {row[1] for row in rows} > {""}
    assert "0" not in {row[1] for row in rows}
    assert {row[2] for row in rows[1:] if row[1]} == {"counter"}
    assert {row[2] for row in rows[1:] if not row[1]} == {"unmetered"}
    expect(page.locator("#search-cloud .summary")).to_contain_text("joules from the device's counter")


def test_nodes_of_a_finished_run_are_not_shown_at_work(viewer: Viewer) -> None:
    page = viewer.go("fleet")
    expect(page.locator("#fleet-facts")).to_contain_text("finished")
    expect(page.locator("#fleet-facts")).to_contain_text("last heard at")
    for tile in page.locator(".tile").all():
        expect(tile.locator(".health")).to_contain_text("finished")
        expect(tile.locator(".about")).to_have_text("finished")


@pytest.fixture
def now(run: RunFolder) -> Iterator[FleetLive]:
    """The fleet as it is, put back afterwards."""
    before = run.fleet_now.read_bytes()
    yield from_json(before, FleetLive, "the fleet")
    write_atomic(run.fleet_now, before)


def test_a_change_of_the_fleet_shows_without_a_reload_and_unmetered_is_said(
    viewer: Viewer, run: RunFolder, now: FleetLive
) -> None:
    page = viewer.go("fleet")
    expect(page.locator("#connection")).to_have_text("connected")
    expect(page.locator(".tile").first).not_to_contain_text("lost")
    first = now.nodes[0]
    pulse = replace(first.pulse, power_w=None, cap_w=None, temperature_c=None, metered_why="the meter is gone")
    lost = NodeLive(pulse, "lost", first.heard_at)
    write_atomic(run.fleet_now, to_json(replace(now, at=time.time(), nodes=(lost, *now.nodes[1:]))))
    tile = page.locator(f'[data-node="{pulse.node}"]')
    expect(tile).to_contain_text("lost")
    expect(tile).to_contain_text("Power unmetered of no cap")
    expect(tile).to_contain_text("unmetered: the meter is gone")
    expect(tile).not_to_contain_text("0 W")


def test_a_lost_connection_is_said_and_found_again_while_an_ended_session_asks_for_the_token(viewer: Viewer) -> None:
    sockets: list[WebSocketRoute] = []

    def relay(socket: WebSocketRoute) -> None:
        sockets.append(socket)
        socket.connect_to_server()

    viewer.page.route_web_socket(re.compile(r"/ws\b"), relay)
    viewer.page.clock.install()
    page = viewer.go("fleet")
    connection = page.locator("#connection")
    expect(connection).to_have_text("connected")
    # The page's clock stands, so that it is not back before anybody has looked.
    page.clock.pause_at(page.evaluate("Date.now()") + 1000)
    sockets[0].close()
    expect(connection).to_have_text("connection lost, trying again")
    page.clock.resume()
    expect(connection).to_have_text("connected")
    assert len(sockets) == 2
    viewer.context.clear_cookies()
    sockets[1].close()
    expect(page.locator("#login-form")).to_be_visible()
    # What the browser itself says of the refused question.
    assert all("401" in said for said in viewer.said)
    viewer.said.clear()


def test_another_run_is_chosen_by_name_and_linked_to(viewer: Viewer, other: Path) -> None:
    page = viewer.go("rounds")
    page.get_by_label("Run", exact=True).select_option(other.name)
    expect(page.locator("#rounds-log")).to_contain_text("abandoned: below the floor")
    expect(page.locator("#connection")).to_have_text("connected")
    assert f"run={other.name}" in page.url
    page.locator("#menu a", has_text="Energy").click()
    expect(page.locator("#energy-power .summary")).to_contain_text("Power is unmetered")
    # The key is of another site: nothing has a name, and that is said.
    page.locator("#menu a", has_text="Search").click()
    expect(page.locator("#search-genomes .summary")).to_contain_text("site key")
