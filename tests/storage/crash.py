"""Kill a process at every system call that changes a folder, halfway through every write too.

``python -m tests.storage.crash SCENARIO ROOT`` runs the scenario again and again, each time in a fork that ends by
SIGKILL one step later than the last, in ROOT/0, ROOT/1, …, until one runs to its end. What a fork was promised by
calls that returned stands, a line each, in ROOT/N.promised.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from storage.files import write_atomic
from storage.keys import load_or_create_key
from storage.pseudonyms import IdDictionary
from storage.registry import PolicyRegistry
from storage.segments import SegmentStore
from storage.spool import Place, Spool
from tests.storage.samples import SITE_KEY, batch_bytes, key

Promise = Callable[[str], None]


def replace_file(folder: Path, promise: Promise) -> None:
    write_atomic(folder / "file", b"old" * 100)
    promise("old")
    write_atomic(folder / "file", b"new" * 100)
    promise("new")


def make_key(folder: Path, promise: Promise) -> None:
    promise(load_or_create_key(folder / "site" / "key").hex())


def save_ids(folder: Path, promise: Promise) -> None:
    dictionary = IdDictionary(folder / "ids", SITE_KEY)
    for text in ("first", "second", "third"):
        dictionary.id("node", text)
        dictionary.save()
        promise(text)


def put_policies(folder: Path, promise: Promise) -> None:
    registry = PolicyRegistry(folder / "policies")
    for version in (1, 2, 5):
        registry.put(version, b"policy %d" % version)
        promise(str(version))


def use_spool(folder: Path, promise: Promise) -> None:
    spool = Spool(folder / "spool")
    for sequence in range(4):
        spool.put(Place(0, sequence), b"batch %d" % sequence, rows=sequence + 1)
        promise(f"put {sequence}")
    promise("acknowledging 0")
    spool.acknowledge(Place(0, 0))
    promise("discarding 3")
    spool.discard_after(Place(0, 2))
    promise("discarded 3")


def use_store(folder: Path, promise: Promise) -> None:
    with SegmentStore(folder / "store") as store:
        for group in ((0, 1), (2,), (3,)):
            store.append([batch_bytes(key(sequence)) for sequence in group])
            promise(" ".join(map(str, group)))
        store.compact()
        store.append([batch_bytes(key(4))])
        promise("4")
        store.compact()
        store.append([batch_bytes(key(5))])
        promise("5")


SCENARIOS = (replace_file, make_key, save_ids, put_policies, use_spool, use_store)
PATCHED = ("open", "mkdir", "fsync", "replace", "link", "unlink", "ftruncate")


def die_at(step: int) -> None:
    """Make this process kill itself at the ``step``-th of the calls that change a folder."""
    left = step

    def count() -> None:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    def patch(name: str) -> None:
        real = getattr(os, name)

        def counted(*args: object, **kwargs: object) -> object:
            count()
            return real(*args, **kwargs)

        setattr(os, name, counted)

    real_write = os.write

    def torn_write(handle: int, data: memoryview) -> int:
        count()
        half = real_write(handle, data[: len(data) // 2])
        count()
        return half + real_write(handle, data[half:])

    for name in PATCHED:
        patch(name)
    os.write = torn_write  # type: ignore[assignment]


def main(name: str, root: Path) -> None:
    scenario = next(s for s in SCENARIOS if s.__name__ == name)
    for step in range(1000):
        folder = root / str(step)
        folder.mkdir(parents=True)
        child = os.fork()
        if child == 0:
            with (root / f"{step}.promised").open("w", buffering=1) as promised:
                die_at(step)
                scenario(folder, lambda line, to=promised: print(line, file=to))  # type: ignore[misc]
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if status == 0:
            return
        if os.WTERMSIG(status) != signal.SIGKILL:
            sys.exit(f"{name} failed at step {step} with status {status}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
