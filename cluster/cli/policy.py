"""`quasim policy`: look into signed policies."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from aggregation.signing import PolicySigner, inspect, verify
from cluster.cli.output import console, print_json
from quasim.errors import ConfigError, StorageError
from quasim.policy import Policy
from storage.keys import load_or_create_key, site_folder

app = typer.Typer(help="Signed policies: show one, verify one.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(help="A signed policy, such as RUN/policies/… .")]
Key = Annotated[str | None, typer.Option(help="Public key in hex; default: that of this site's aggregator.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


class PartSummary(msgspec.Struct, frozen=True):
    """One topic of a policy in short."""

    kernel: str
    shape_class: str
    target: str
    cells: int
    known_cells: int
    candidates: tuple[int, ...]


class PolicySummary(msgspec.Struct, frozen=True):
    """A policy in short; its digest stands for the rest."""

    federation: str
    version: int
    cycle: int
    protocol: str
    participants: int
    digest: str
    signed_by: str
    parts: tuple[PartSummary, ...]


@app.command("show")
def show(file: File, json: Json = False) -> None:
    """Show what a policy says; the signature must hold, but whether to trust the signer is `verify`'s question."""
    policy, signer = inspect(_read(file))
    _print(_summary(policy, signer), json)


@app.command("verify")
def verify_file(
    file: File,
    key: Key = None,
    federation: Annotated[str | None, typer.Option(help="Federation that it must be for; default: any.")] = None,
    newer_than: Annotated[int, typer.Option(help="Version that it must exceed.")] = 0,
    json: Json = False,
) -> None:
    """Check signature, signer, federation and version; exit code 6 when the policy must not be trusted."""
    envelope = _read(file)
    policy, signer = inspect(envelope)
    trusted = _site_key() if key is None else _from_hex(key)
    verify(envelope, trusted_key=trusted, federation=federation or policy.federation, newer_than=newer_than)
    _print(_summary(policy, signer), json)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise StorageError(f"policy {file} cannot be read: {error.strerror}", "give a file of RUN/policies") from error


def _site_key() -> bytes:
    file = site_folder(os.environ) / "signing.key"
    # Checked first: a key made here would have signed nothing, and the site would trust it from now on.
    if not file.exists():
        raise ConfigError(f"this site has no {file}", "give --key, the public key of the aggregator that signed")
    return PolicySigner(load_or_create_key(file)).public_key


def _from_hex(key: str) -> bytes:
    if not re.fullmatch("[0-9a-fA-F]{64}", key):
        raise ConfigError(f"--key {key!r} is not 32 bytes in hex", "give 64 hexadecimal digits")
    return bytes.fromhex(key)


def _summary(policy: Policy, signer: bytes) -> PolicySummary:
    parts = tuple(
        PartSummary(
            kernel=part.topic.kernel,
            shape_class=part.topic.shape_class,
            target=part.topic.target,
            cells=part.topic.cells,
            known_cells=int((part.weights > 0).sum()),
            candidates=part.candidates,
        )
        for part in policy.parts
    )
    return PolicySummary(
        policy.federation, policy.version, policy.cycle, policy.protocol, policy.participants, policy.digest,
        signer.hex(), parts,
    )  # fmt: skip


def _print(summary: PolicySummary, json: bool) -> None:
    if json:
        print_json(summary)
        return
    out = console()
    out.print(f"policy {summary.version} of federation {summary.federation!r}, cycle {summary.cycle}")
    out.print(f"signed by {summary.signed_by}")
    out.print(f"summed from {summary.participants} nodes ({summary.protocol})")
    table = Table("kernel", "shape class", "target", "cells", "known", "first candidates (cells)")
    for part in summary.parts:
        candidates = " ".join(map(str, part.candidates[:8]))
        table.add_row(part.kernel, part.shape_class, part.target, str(part.cells), str(part.known_cells), candidates)
    out.print(table)
