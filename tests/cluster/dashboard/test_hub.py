from __future__ import annotations

import asyncio

from cluster.dashboard.hub import Hub, Viewer


def test_each_gets_what_is_published_while_it_looks() -> None:
    hub, early, late = Hub(), Viewer(), Viewer()
    hub.join(early)
    hub.publish("fleet", "1")
    hub.join(late)
    hub.publish("events", "2")
    hub.leave(early)
    hub.publish("events", "3")
    assert len(hub) == 1
    assert _taken(early) == ["1", "2"]
    assert _taken(late) == ["3"]


def test_a_slow_viewer_gets_the_newest_of_each_view_and_keeps_nobody_waiting() -> None:
    async def watch() -> tuple[list[str], list[str]]:
        hub, slow, quick = Hub(), Viewer(), Viewer()
        hub.join(slow)
        hub.join(quick)
        seen = []
        for number in range(100):
            hub.publish("fleet", f"fleet {number}")
            hub.publish("events", f"events {number}")
            seen += [await quick.next(), await quick.next()]
        return seen, [await slow.next(), await slow.next()]

    seen, kept = asyncio.run(watch())
    assert seen == [f"{view} {number}" for number in range(100) for view in ("fleet", "events")]
    assert kept == ["fleet 99", "events 99"]


def test_who_waits_is_woken() -> None:
    async def wait() -> str:
        viewer = Viewer()
        waiting = asyncio.create_task(viewer.next())
        await asyncio.sleep(0)
        assert not waiting.done()
        viewer.offer("fleet", "new")
        return await waiting

    assert asyncio.run(wait()) == "new"


def _taken(viewer: Viewer) -> list[str]:
    """All that waits for a viewer."""

    async def take() -> list[str]:
        found: list[str] = []
        while True:
            try:
                found.append(await asyncio.wait_for(viewer.next(), 0.01))
            except asyncio.TimeoutError:
                return found

    return asyncio.run(take())
