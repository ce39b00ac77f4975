from __future__ import annotations

from pathlib import Path

import pytest

from cluster.run_folder import RunFolder
from cluster.seats import Seat, named, read_seats, write_seats
from quasim.errors import ConfigError, DataError

SEATS = [Seat("node-0", "rack-1", 0, 0, 0), Seat("node-1", "rack-1", 1, 0, 1), Seat("node-2", "rack-2", 0, 3, 2)]


def test_seats_outlive_the_driver(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert read_seats(folder) == []
    write_seats(folder, SEATS)
    assert read_seats(folder) == SEATS


def test_a_name_means_a_node_or_all_nodes_of_a_machine() -> None:
    assert named(SEATS, "node-1") == ("node-1",)
    assert named(SEATS, "rack-1") == ("node-0", "node-1")


def test_a_name_of_nobody_is_told_the_names_there_are() -> None:
    with pytest.raises(ConfigError, match="node-0, node-1, node-2, rack-1, rack-2"):
        named(SEATS, "node-9")


def test_a_seat_that_no_run_makes_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        Seat("node-0", "", 0, 0, 0)
    with pytest.raises(DataError):
        Seat("node-0", "rack-1", 0, 0, 0, starts=-1)
    (tmp_path / "seats.json").write_text('[{"node":"node-0","machine":"m","share":-1,"first_cycle":0,"number":0}]')
    with pytest.raises(DataError, match="seat"):
        read_seats(RunFolder(tmp_path))
