from __future__ import annotations

import numpy as np
import pytest

from quasim.search.notes import Notes
from tests.quasim.search.conformance import SPACE, prior, trial

GENOMES = [SPACE.genome_at(cell) for cell in range(0, SPACE.size, 3)]


def told() -> Notes:
    notes = Notes(SPACE, seed=1)
    notes.ledger.record([trial(genome) for genome in GENOMES])
    return notes


def test_surrogate_is_one_until_something_changes() -> None:
    notes = told()
    assert notes.surrogate() is notes.surrogate()


def test_surrogate_hears_of_a_genome_that_was_told_again() -> None:
    notes, cell = told(), np.array([SPACE.cell(GENOMES[4])])
    before = notes.surrogate().predict(cell).mean[0]
    slow = 4.0 * notes.ledger.trials[int(cell[0])].time_ns
    notes.ledger.record([trial(GENOMES[4], slow)])
    assert notes.surrogate().predict(cell).mean[0] > before + 0.1
    fresh = told()
    fresh.ledger.record([trial(GENOMES[4], slow)])
    assert notes.surrogate().predict(cell) == fresh.surrogate().predict(cell)


def test_surrogate_goes_by_the_latest_prior() -> None:
    notes, cells = told(), np.arange(SPACE.size)
    before = notes.surrogate().predict(cells).mean
    notes.believe(prior(SPACE, weight=1.0, best=7))
    assert notes.surrogate().predict(cells).mean != pytest.approx(before)
    notes.believe(None)
    assert notes.surrogate().predict(cells).mean.tolist() == before.tolist()
