from __future__ import annotations

from quasim.meters import BusyError, NoMeter, Sample, idle_power_w


class Mute(NoMeter):
    """A meter whose every read fails."""

    def sample(self) -> Sample:
        raise BusyError("nobody answers")


def test_a_meter_that_gives_no_figure_leaves_the_idle_power_unknown() -> None:
    for meter in (NoMeter("bench", "none was asked for"), Mute("bench", "")):
        waited: list[float] = []
        assert idle_power_w(meter, waited.append) is None
        assert waited == [1.0, 2.6]
