from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.dashboard.shapes import failure_without_words, without_shapes
from quasim.codec import to_json
from quasim.trial import Genome, Problem
from storage.batches import genome_text

PROBLEM = Problem.of("matmul", m=768, n=769, k=770)
GENOME = Genome({"tile": 64, "pack": True, "order": "mnk"})


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"KeyError({PROBLEM!r})", "KeyError(Problem(kernel=…, shape=…))"),
        (f"problem={PROBLEM!r}", "problem=…(kernel=…, shape=…)"),
        (to_json(PROBLEM).decode(), '{"kernel":…,"shape":…}'),
        (repr(PROBLEM.shape), "((…), (…), (…))"),
        (repr(PROBLEM.dims), "{'m': …, 'n': …, 'k': …}"),
        ("[768, 769]", "[…]"),
        ("[768 769]", "[…]"),
        ("shape [768] or (768,)", "shape […] or (…)"),
        ("torch.Size([768, 769])", "torch.Size([…])"),
        ("{'m': 768}", "{'m': …}"),
        ('{"m":768}', '{"m":…}'),
        ("m: 768, n:769", "m: …, n:…"),
        ("m = 768", "m = …"),
        ("m == 768, 'n'='769'", "m == …, 'n'=…"),
        ("768 x 769", "…"),
        ("768×769", "…"),
        ("m = 768 x 769, n: 768x769", "m = …, n: …"),
        ("m: 768, s: 2, h: 4 s: 5 min: 6", "m: …, s: …, h: … s: … min: …"),
        ("m=(768, 769)", "m=…"),
        ("m=[768, 769]; n=torch.Size([768])", "m=…; n=…"),
        ("matmul[m=768,tile=[1,2],n=769] is slow", "matmul is slow"),
        ("matmul_768x769.parquet", "matmul_….parquet"),
        ("768x769x770_h200", "…_h200"),
        (f"{GENOME!r}", "Genome(tile=…,pack=…,order=…)"),
        (genome_text(GENOME), '{"order":…,"pack":…,"tile":…}'),
        (repr(tuple(GENOME.items())[:2]), "((…), (…))"),
    ],
)
def test_a_shape_or_genome_is_taken_out_in_whatever_form_it_stands(text: str, left: str) -> None:
    assert without_shapes(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "on 2026-11-23 at 12:34:56, since: 2026-11-23T12:34:56Z",
        "begins at: 12:34:56, date: 2026-11-23",
        "took: 3.5 s, waited 20 ms, rests: 4min",
        "used: 40%, 12.5 % of it",
        "sent: 4096 bytes, size: 12 GiB, 3 kB left",
        "power: 300 W",
        "unknown kernel 'matmul': choose one of softmax",
        "round (3): 2 of 8 nodes (advise; 3 changes)",
        "cpu[0] at 0x7f3a12 of http://127.0.0.1:8710/",
    ],
)
def test_dates_times_and_figures_with_units_stay(text: str) -> None:
    assert without_shapes(text) == text


@given(st.lists(st.integers(100, 99_999), min_size=1, max_size=4), st.sampled_from(["m", "n_rows", "K"]))
def test_no_extent_of_a_problem_is_left(extents: list[int], name: str) -> None:
    problem = Problem("matmul", tuple((f"{name}{'abcd'[at]}", extent) for at, extent in enumerate(extents)))
    forms = (str(problem), repr(problem), problem.shape_text, repr(problem.dims), to_json(problem).decode())
    for form in (*forms, repr(extents), repr(tuple(extents))):
        assert not re.search(r"\d", without_shapes(f"a node said {form} of it")), form


def test_of_a_failure_the_types_of_the_error_are_left_and_the_node() -> None:
    text = f"node-0 failed: KeyError({PROBLEM!r}, 'extent 768'): see the logs of its Ray actor"
    assert failure_without_words("node-0", text) == "node-0 failed: KeyError"
    assert failure_without_words("node-1", "extent 768 is odd: pad it") == "node-1 failed"
    assert (
        failure_without_words("node-1", "ValueError after KeyError, KeyError") == "node-1 failed: ValueError: KeyError"
    )
