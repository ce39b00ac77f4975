"""The page of events: what happened, newest first."""

from __future__ import annotations

from cluster.dashboard.names import Names
from cluster.dashboard.run_reader import RunReader
from cluster.dashboard.views import EventsView

NEWEST = 500
"""More than anybody scrolls through; ``events.jsonl`` has them all."""


def events_view(run: RunReader, names: Names, until: int | None = None) -> EventsView:
    """The newest events, of a replay those before the first of a later cycle."""
    events = run.events(until)
    notes = []
    if not run.folder.events.exists():
        notes.append("this run has written no events")
    if run.strange_events:
        notes.append(f"{run.strange_events} lines of events.jsonl could not be read")
    newest = tuple(names.event(event) for event in reversed(events[-NEWEST:]))
    return EventsView(newest, len(events), until, names.texts(notes))
