from __future__ import annotations

from msgspec.structs import replace

from cluster.report_rounds import bytes_text, canaries_text, dropouts_text, privacy_text, rounds_table
from cluster.run_log import PrivacySpent, RoundLog, TopicVerdicts

CALM = RoundLog(
    cycle=3,
    number=4,
    asked=4,
    members=5,
    participants=4,
    abandoned="",
    dropouts=(),
    to_nodes_bytes=900,
    from_nodes_bytes=1100,
    node_bytes=501,
    node_cpu_s=0.0123,
    server_cpu_s=0.002,
    wall_s=0.1,
    canaries=(),
    privacy=None,
)


def test_a_round_shows_participants_bytes_and_seconds_of_cpu() -> None:
    cells = [next(iter(column.cells)) for column in rounds_table([CALM]).columns]
    assert cells == ["3", "4 of 4", "none", "2 kB", "501 B", "12.3 ms", "2 ms", "nothing to try"]


def test_a_round_that_nobody_answered_shows_no_seconds() -> None:
    cells = [next(iter(column.cells)) for column in rounds_table([replace(CALM, node_cpu_s=None)]).columns]
    assert "nobody answered" in cells


def test_dropouts_are_shown_by_step() -> None:
    lost = replace(CALM, dropouts=(("keys", ("node-3",)), ("vectors", ("node-0", "node-1"))))
    assert dropouts_text(lost) == "keys: node-3; vectors: node-0, node-1"


def test_topics_that_were_held_back_are_named() -> None:
    found = (
        TopicVerdicts("matmul", "m~2^8", 2, 1, held=True),
        TopicVerdicts("softmax", "rows~2^8", 0, 3, held=False),
    )
    assert canaries_text(replace(CALM, canaries=found)) == "matmul m~2^8 held back: slower on 2 of 3; 1 not slower"


def test_what_noise_has_spent_is_that_of_the_last_round() -> None:
    first, last = (replace(CALM, privacy=PrivacySpent(e, 1e-6, n)) for e, n in ((2.0, 1), (3.456, 2)))
    assert privacy_text([first, last]) == "epsilon 3.46 at delta 1e-06, of 2 rounds"
    assert privacy_text([CALM]) == "none: sums are exact"


def test_bytes_have_a_fitting_unit() -> None:
    assert [bytes_text(count) for count in (987, 12_345, 4_560_000)] == ["987 B", "12.3 kB", "4.56 MB"]
