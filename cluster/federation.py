"""Where a federation's keys and rosters lie: the root folder, which signs and is kept offline, and the site's own.

ROOT/root.key                               secret; signs rosters
ROOT/rosters/000001.roster …                every epoch that it signed, never replaced
SITE/federations/NAME/root.pub              the root that the site pinned, in hex
SITE/federations/NAME/identities/NODE.key   secret; signs what a node says in rounds
SITE/federations/NAME/roster                the newest that the site accepted
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from aggregation.enrolment import request_enrolment
from aggregation.envelope import signing_key
from aggregation.roster import (
    Limits,
    Roster,
    demand_name,
    sign_roster,
    verify_roster,
)
from quasim.errors import ConfigError, DataError, StorageError, TrustError
from storage.files import create_atomic, make_folder, storage_errors, write_atomic
from storage.keys import load_or_create_key


@dataclass(frozen=True, slots=True)
class RootFolder:
    """The half of a federation that decides who takes part. Only whoever holds it can sign a roster."""

    folder: Path

    @classmethod
    def create(cls, folder: Path, federation: str, server: bytes, limits: Limits) -> RootFolder:
        """Make the root key and sign epoch 1, which has no members.

        Raises:
            ConfigError: the folder holds a federation already.
            DataError: a name or key that no roster would hold.
        """
        root = cls(folder)
        first = Roster(federation=federation, epoch=1, server=server, limits=limits, members=())
        make_folder(folder / "rosters", mode=0o700)
        if not create_atomic(root.roster_file(1), sign_roster(load_or_create_key(root._key_file), first)):
            raise ConfigError(f"{folder} is the root of a federation already", "choose a new folder")
        return root

    @property
    def _key_file(self) -> Path:
        return self.folder / "root.key"

    @property
    def _seed(self) -> bytes:
        # Checked first: a key made here would have signed nothing, and nobody pinned it.
        if not self._key_file.exists():
            raise ConfigError(f"{self.folder} holds no root.key", "give the folder that `quasim federation init` made")
        return load_or_create_key(self._key_file)

    @property
    def public_key(self) -> bytes:
        """Raw Ed25519 public key of the root, which sites pin."""
        return signing_key(self._seed).public_key().public_bytes_raw()

    def roster_file(self, epoch: int) -> Path:
        """Where the signed roster of an epoch lies."""
        return self.folder / "rosters" / f"{epoch:06d}.roster"

    def newest(self) -> Roster:
        """The last roster that was signed.

        Raises:
            ConfigError: the folder is not a federation's root.
            RosterRefusedError: the file is not what this root signed.
        """
        root = self.public_key
        epochs = [int(file.stem) for file in (self.folder / "rosters").glob("*.roster")]
        if not epochs:
            raise ConfigError(f"{self.folder} holds no roster", "give the folder that `quasim federation init` made")
        envelope = self.envelope(max(epochs))
        return verify_roster(envelope, root=root, federation=None, newer_than=max(epochs) - 1)

    def envelope(self, epoch: int) -> bytes:
        """The signed roster of an epoch.

        Raises:
            StorageError: there is none, or it cannot be read.
        """
        path = self.roster_file(epoch)
        with storage_errors("read the roster", path):
            return path.read_bytes()

    def publish(self, roster: Roster) -> bytes:
        """Sign the next epoch's roster and keep it; no epoch is ever signed with two contents.

        Raises:
            StorageError: another process signed this epoch first, with other members.
        """
        envelope = sign_roster(self._seed, roster)
        made = create_atomic(self.roster_file(roster.epoch), envelope)
        if not made and self.envelope(roster.epoch) != envelope:
            raise StorageError(f"epoch {roster.epoch} of {roster.federation!r} was signed meanwhile", "run it again")
        return envelope


@dataclass(frozen=True, slots=True)
class SiteFolder:
    """What a site keeps of one federation.

    Raises:
        DataError: a federation of that name cannot be.
    """

    site: Path
    federation: str

    def __post_init__(self) -> None:
        demand_name("federation", self.federation)

    @property
    def folder(self) -> Path:
        """The federation's folder at this site."""
        return self.site / "federations" / self.federation

    def pin(self, root: bytes) -> None:
        """Trust this root from now on; pinning it again changes nothing.

        Raises:
            TrustError: the site trusts another root for this federation.
        """
        make_folder(self.folder, mode=0o700)
        create_atomic(self._pin_file, f"{root.hex()}\n".encode())
        if self.root() != root:
            raise TrustError(
                f"this site pinned another root for federation {self.federation!r} in {self._pin_file}",
                "check with the root's holder which is right, or use another federation name",
            )

    @property
    def _pin_file(self) -> Path:
        return self.folder / "root.pub"

    def root(self) -> bytes:
        """The pinned root's raw public key.

        Raises:
            ConfigError: none was pinned.
            DataError: the file holds no key.
        """
        if not self._pin_file.exists():
            raise ConfigError(f"this site has pinned no root for federation {self.federation!r}", "give --pin, its key")
        with storage_errors("read the pinned root", self._pin_file):
            text = self._pin_file.read_bytes().strip()
        try:
            return bytes.fromhex(text.decode("ascii"))
        except ValueError as error:
            raise DataError(f"{self._pin_file} holds no key in hex", "pin the root again") from error

    @property
    def _roster_file(self) -> Path:
        return self.folder / "roster"

    def identity_file(self, node: str) -> Path:
        """Where a node's secret key lies."""
        return self.folder / "identities" / f"{node}.key"

    def enrol(self, node: str, cohort: str) -> bytes:
        """A node's signed enrolment request; its identity is made on first use.

        Raises:
            DataError: a name that no roster would hold.
        """
        demand_name("node", node)
        demand_name("cohort", cohort)
        return request_enrolment(load_or_create_key(self.identity_file(node)), self.federation, node, cohort)

    def roster(self) -> Roster | None:
        """The newest accepted roster; None before the first.

        Raises:
            RosterRefusedError: the kept file is not a roster of the pinned root.
        """
        if not self._roster_file.exists():
            return None
        return verify_roster(self.envelope(), root=self.root(), federation=self.federation, newer_than=0)

    def envelope(self) -> bytes:
        """The newest accepted roster as it was signed.

        Raises:
            ConfigError: the site has accepted none.
        """
        if not self._roster_file.exists():
            raise ConfigError(
                f"this site has accepted no roster of federation {self.federation!r}",
                "quasim federation roster FILE --accept, or use roster: local",
            )
        with storage_errors("read the roster", self._roster_file):
            return self._roster_file.read_bytes()

    def accept(self, envelope: bytes) -> Roster:
        """Keep a roster; that of the epoch which the site holds already changes nothing if it is the same.

        Raises:
            RosterRefusedError: it is not the pinned root's, of another federation, or older than the site's.
        """
        held = self.roster()
        if held and self._roster_file.read_bytes() == envelope:
            return held
        epoch = held.epoch if held else 0
        roster = verify_roster(envelope, root=self.root(), federation=self.federation, newer_than=epoch)
        write_atomic(self._roster_file, envelope)
        return roster
