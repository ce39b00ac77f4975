"""The closed loop of regulation on a whole fleet: Ray, agents, leases and watchdogs, on simulated devices."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from cluster.config import FleetConfig, load_config
from cluster.run_folder import RunFolder
from cluster.session import run_fleet
from quasim.energy.actuators import Setting, SimulatedActuator
from quasim.energy.plant import Physics
from quasim.energy.spec import RegulationSpec
from quasim.errors import ConfigError
from quasim.targets.spec import CSpec, Recording, ReplaySpec
from quasim.trial import EnergySource

CONFIGS = Path(__file__).parents[2] / "configs"
PROMISED_S = 5.0


def test_the_shipped_config_enforces_on_simulated_devices_and_all_others_advise() -> None:
    simulated = load_config(CONFIGS / "energy-sim.yaml", {}, {}).energy
    assert simulated.mode == "enforce"
    assert simulated.simulated is not None
    for name in ("local", "gpu", "gpu-replay"):
        assert load_config(CONFIGS / f"{name}.yaml", {}, {}).energy == RegulationSpec()


def test_only_recorded_work_heats_a_simulated_device() -> None:
    with pytest.raises(ConfigError, match="a simulated device"):
        FleetConfig(target=CSpec(), energy=RegulationSpec(simulated=Physics()))


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_fleet_regulates_its_simulated_devices_and_leaves_them_as_they_were(
    tmp_path: Path, recorded_space: Path
) -> None:
    config = FleetConfig(
        target=ReplaySpec((Recording(str(recorded_space)),)),
        agents=2,
        cycles=2,
        evaluations=12,
        energy=RegulationSpec(mode="enforce", temperature_c=60.0, simulated=Physics(ambient_c=38.0)),
    )
    folder = RunFolder.create(tmp_path / "run", config)
    report = run_fleet(config, folder, nullcontext(), lambda line: None)
    assert [node.node for node in report.fleet.regulation] == ["node-0", "node-1"]
    for node in report.fleet.regulation:
        assert node.regulated.mode == "enforce"
        assert node.regulated.source is EnergySource.MODEL
        assert node.regulated.writes > 0
        assert (node.regulated.top_temperature_c or 0) < 64
    assert report.fleet.energy.source is EnergySource.MODEL
    # The fleet ends its agents by killing them: their watchdogs put back.
    devices = [SimulatedActuator(folder.node(name) / "caps.json") for name in ("node-0", "node-1")]
    deadline = time.monotonic() + PROMISED_S
    while any(device.setting() != Setting() for device in devices) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [device.setting() for device in devices] == [Setting(), Setting()]
