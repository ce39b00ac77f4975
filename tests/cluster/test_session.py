from __future__ import annotations

import os
import signal
import threading
from types import FrameType

from cluster.session import _asked_to_end


def test_whoever_asks_to_end_in_the_middle_of_a_word_is_answered_by_another_thread() -> None:
    told: list[tuple[str, bool]] = []
    speaking = threading.Lock()  # as standard error has one, which its own thread cannot take twice

    def say(text: str) -> None:
        assert speaking.acquire(timeout=5)
        told.append((text, threading.current_thread() is threading.main_thread()))
        speaking.release()

    with _asked_to_end(say) as asked:
        assert not asked()
        with speaking:
            os.kill(os.getpid(), signal.SIGTERM)
            assert asked()
    assert told == [("asked to end: the cycle that runs is finished first", False)]


def test_a_second_request_is_left_to_whoever_listened_before() -> None:
    heard: list[int] = []

    def before(number: int, frame: FrameType | None) -> None:
        heard.append(number)

    original = signal.signal(signal.SIGTERM, before)
    try:
        with _asked_to_end(lambda text: None) as asked:
            os.kill(os.getpid(), signal.SIGTERM)
            assert (asked(), heard) == (True, [])
            os.kill(os.getpid(), signal.SIGTERM)
        assert heard == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGTERM) is before
    finally:
        signal.signal(signal.SIGTERM, original)
