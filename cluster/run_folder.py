"""Where a run keeps what: the one place that knows the layout documented in docs/run-folder.md."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cluster.config import FleetConfig
from quasim.codec import from_json, to_json
from quasim.errors import StorageError
from storage.files import make_folder, storage_errors, write_atomic


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of one run."""

    path: Path

    @classmethod
    def create(cls, path: Path, config: FleetConfig) -> RunFolder:
        """Make the folder of a new run.

        Raises:
            StorageError: it cannot be made, or already holds a run.
        """
        folder = cls(path)
        if folder.config.exists():
            raise StorageError(f"{path} already holds a run", "give another --out, or continue it with --resume")
        make_folder(path)
        write_atomic(folder.config, to_json(config))
        return folder

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """The folder of an earlier run.

        Raises:
            StorageError: the folder holds no run.
        """
        folder = cls(path)
        if not folder.config.is_file():
            raise StorageError(f"{path} holds no run (no {folder.config.name})", "give a folder made by `quasim run`")
        return folder

    def load_config(self) -> FleetConfig:
        """The configuration that the run was started with."""
        with storage_errors("read the configuration", self.config):
            data = self.config.read_bytes()
        return from_json(data, FleetConfig, str(self.config))

    @property
    def config(self) -> Path:
        """The resolved configuration, JSON."""
        return self.path / "config.json"

    @property
    def seats(self) -> Path:
        """Which machine each agent belongs to, JSON."""
        return self.path / "seats.json"

    @property
    def telemetry(self) -> Path:
        """Sealed segments of the aggregator."""
        return self.path / "telemetry"

    @property
    def policies(self) -> Path:
        """Signed policies by version."""
        return self.path / "policies"

    @property
    def aggregator(self) -> Path:
        """State of the aggregator."""
        return self.path / "aggregator"

    def cycle_file(self, cycle: int) -> Path:
        """What the fleet did in a cycle, JSON."""
        return make_folder(self.path / "cycles") / f"{cycle:04d}.json"

    def cycle_files(self) -> list[Path]:
        """Files of the finished cycles, in order."""
        return sorted((self.path / "cycles").glob("[0-9]*.json"))

    def round_file(self, cycle: int) -> Path:
        """What the round of a cycle took, JSON."""
        return make_folder(self.path / "rounds") / f"{cycle:04d}.json"

    def round_files(self) -> list[Path]:
        """Files of the finished rounds, in order."""
        return sorted((self.path / "rounds").glob("[0-9]*.json"))

    @property
    def live(self) -> Path:
        """What is so now: rewritten, and for whoever looks on."""
        return self.path / "live"

    @property
    def fleet_now(self) -> Path:
        """State of the fleet, JSON; twice a second, and when somebody comes or goes."""
        return self.live / "fleet.json"

    @property
    def events(self) -> Path:
        """What happened, one JSON document a line."""
        return self.live / "events.jsonl"

    @property
    def drained(self) -> Path:
        """A file for each node that was told to leave."""
        return self.path / "drained"

    @property
    def table(self) -> Path:
        """Telemetry as a Delta table."""
        return self.path / "table"

    @property
    def end(self) -> Path:
        """Where everyone stood at the end, JSON; absent while the run goes on."""
        return self.path / "end.json"

    @property
    def report(self) -> Path:
        """The report, JSON."""
        return self.path / "report.json"

    def node(self, name: str) -> Path:
        """State, spool and generations of one node."""
        return self.path / "nodes" / name


def fresh_name(seed: int, now: datetime) -> str:
    """A folder name for a new run, such as ``20260131T120000Z-seed42``."""
    return f"{now:%Y%m%dT%H%M%SZ}-seed{seed}"
