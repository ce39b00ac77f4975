"""Somebody with a browser: opens pages, and remembers what the console said and which hosts were asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Page

from tests.browser.fleet import TOKEN

AXE = (Path(__file__).parent / "axe.min.js").read_text()
PAGES = ("fleet", "search", "rounds", "energy", "certificates", "events")

_VIOLATIONS = """
async () => {
  const found = await axe.run(document, { resultTypes: ["violations"] });
  return found.violations.filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" | ")}`);
}
"""

_INKED = """
(id) => [...document.querySelectorAll(`#${id} canvas`)].some((canvas) => {
  // A copy: reading the chart's own canvas is what browsers warn of.
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
  copy.drawImage(canvas, 0, 0);
  const pixels = new Uint32Array(copy.getImageData(0, 0, canvas.width, canvas.height).data.buffer);
  return new Set(pixels).size > 8;
})
"""


class Viewer:
    """One context of a browser.

    Args:
        address: of the server, or of a saved file.
    """

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.context, self.address = context, address
        self.said: list[str] = []
        self.asked: set[str] = set()
        self.page: Page = context.new_page()
        self.page.on("console", lambda said: self.said.append(f"{said.type}: {said.text}"))
        self.page.on("pageerror", lambda error: self.said.append(f"uncaught: {error}"))
        context.on("request", lambda request: self.asked.add(request.url))
        self.page.on("websocket", lambda socket: self.asked.add(socket.url))

    @classmethod
    @contextmanager
    def opened(
        cls, browser: Browser, address: str, *, width: int = 1280, height: int = 900, dark: bool = False
    ) -> Iterator[Viewer]:
        """A viewer whose window has this size in pixels; moving pictures are off."""
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
        )
        try:
            yield cls(context, address)
        finally:
            context.close()

    def sign_in(self) -> None:
        """Get a session without the page's form."""
        answer = self.context.request.post(f"{self.address}/login", data={"token": TOKEN})
        assert answer.ok, answer.text()

    def go(self, page: str, choices: str = "") -> Page:
        """Open a page by its address and wait until it has painted."""
        self.page.goto(f"{self.address}#/{page}{choices}" if self.saved else f"{self.address}/#/{page}{choices}")
        self.page.wait_for_selector(f'#main[data-ready="{page}"]')
        return self.page

    @property
    def saved(self) -> bool:
        """Whether a file is looked at instead of a server."""
        return self.address.startswith("file:")

    def cards(self) -> dict[str, str]:
        """``drawn`` or ``empty``, by chart."""
        cards = self.page.query_selector_all("section.card[data-state]")
        return {str(card.get_attribute("id")): str(card.get_attribute("data-state")) for card in cards}

    def inked(self, card: str) -> bool:
        """Whether a chart's picture has more colours than an empty frame."""
        return bool(self.page.evaluate(_INKED, card))

    def violations(self) -> list[str]:
        """Serious and critical ones that axe finds on the page as it stands."""
        if not self.page.evaluate("typeof axe === 'object'"):
            self.page.evaluate(AXE)
        found: list[str] = self.page.evaluate(_VIOLATIONS)
        return found

    def check_clean(self) -> None:
        """Nothing was said on the console, and nobody outside was asked.

        Raises:
            AssertionError: something was.
        """
        assert not self.said, self.said
        own = {"file"} if self.saved else {urlsplit(self.address).netloc}
        asked = {
            urlsplit(url).netloc or urlsplit(url).scheme for url in self.asked if not url.startswith(("data:", "blob:"))
        }
        assert asked <= own
