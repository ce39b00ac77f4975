"""What a viewer may read of shapes, genomes and nodes: names with the site key, kernels and hashed ids without."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from actors.live import Event
from cluster.dashboard.shapes import failure_without_words, without_shapes
from cluster.dashboard.views import Prose
from quasim.codec import from_json
from quasim.errors import ConfigError, DataError
from quasim.trial import Genome, Problem
from storage.keys import load_or_create_key
from storage.pseudonyms import Entry, IdDictionary

DIGITS = 8
"""Of an id, shown instead of a name: 32 bits tell the few thousand things of a page apart."""

WHY_UNNAMED = "names of shapes, genomes and nodes need the site key: start the dashboard with --site-key"


class Names:
    """Names of hashed ids.

    Args:
        dictionary: of the site; None: nothing is named, and shapes are taken out of texts.
    """

    def __init__(self, dictionary: IdDictionary | None = None) -> None:
        self._dictionary = dictionary
        self._entries: Mapping[str, Entry] = {}

    @classmethod
    def of_site(cls, key: Path) -> Names:
        """With the key of a site, beside which its dictionary lies.

        Raises:
            ConfigError: there is no such key.
            TrustError, StorageError, DataError: the key or the dictionary cannot be used.
        """
        if not key.is_file():
            raise ConfigError(f"there is no site key {key}", "give the site.key of the site that made the run")
        return cls(IdDictionary(key.parent / "ids", load_or_create_key(key)))

    @property
    def known(self) -> bool:
        """Whether names are shown."""
        return self._dictionary is not None

    def refresh(self) -> None:
        """Learn what was added to the dictionary since."""
        if self._dictionary is not None:
            self._entries = self._dictionary.entries()

    def of(self, hashed: str) -> str:
        """The text behind an id of 32 hexadecimal digits, or its first digits where nobody knows."""
        _, text = self._entries.get(hashed, ("", hashed[:DIGITS]))
        return text

    def of_problem(self, hashed: str, kernel: str) -> Prose:
        """``matmul[m=768,…]``, or ``matmul 3fa9c1d2``."""
        return Prose(self.of(hashed) if hashed in self._entries else f"{kernel} {hashed[:DIGITS]}")

    def genome(self, hashed: str) -> Genome | None:
        """The genome behind an id; None where nobody knows."""
        kind, text = self._entries.get(hashed, ("", ""))
        if kind != "genome":
            return None
        try:
            return from_json(text, Genome, "a genome of the dictionary")
        except DataError:
            return None

    def problem(self, problem: Problem) -> Prose:
        """A problem as the viewer may read it."""
        return Prose(str(problem) if self.known else problem.kernel)

    def text(self, text: str) -> Prose:
        """A text for people; where nothing is named without all that looks like a shape or a genome."""
        return Prose(text if self.known else without_shapes(text))

    def texts(self, texts: Iterable[str]) -> tuple[Prose, ...]:
        """Each as ``text`` makes it."""
        return tuple(map(self.text, texts))

    def event(self, event: Event) -> Event:
        """An event as the viewer may read it; of an error where nothing is named its type alone."""
        hidden = event.kind == "node-failed" and not self.known
        text = failure_without_words(event.node, event.text) if hidden else self.text(event.text)
        return msgspec.structs.replace(event, text=text)
