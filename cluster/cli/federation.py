"""`quasim federation`: who may take part in a federation's rounds."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from aggregation.enrolment import verify_enrolment
from aggregation.roster import Limits, Roster, inspect_roster, verify_roster
from aggregation.signing import PolicySigner
from cluster.cli.output import console, log, print_json
from cluster.federation import RootFolder, SiteFolder
from quasim.errors import ConfigError, StorageError
from storage.files import write_atomic
from storage.keys import load_or_create_key, site_folder

app = typer.Typer(help="Federations: start one, enrol nodes, check a roster.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Pin = Annotated[str | None, typer.Option(help="Root's public key in hex; default: what this site pinned.")]


class MemberSummary(msgspec.Struct, frozen=True):
    """A member as it is shown."""

    node: str
    cohort: str
    public_key: str


class RosterSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A roster as it is shown; keys and digest in hex.

    Attributes:
        file: where it lies.
        root: key whose signature it bears.
    """

    file: str
    federation: str
    epoch: int
    digest: str
    root: str
    server: str
    limits: Limits
    members: tuple[MemberSummary, ...]


class Request(msgspec.Struct, frozen=True):
    """An enrolment request as it was written."""

    file: str
    federation: str
    node: str
    cohort: str
    public_key: str


@app.command("server")
def server(json: Json = False) -> None:
    """Show the public key of this site's aggregator, which a federation's root wants; made on first use."""
    key = PolicySigner(load_or_create_key(site_folder(os.environ) / "signing.key")).public_key.hex()
    if json:
        print_json({"server": key})
    else:
        console().print(key)


@app.command("init")
def init(
    folder: Annotated[Path, typer.Argument(help="New folder for the root key, best on a medium that you unplug.")],
    federation: Annotated[str, typer.Option(help="Name that rounds and policies carry.")],
    server: Annotated[str, typer.Option(help="Public key in hex of the aggregator that nodes shall answer.")],
    participants: Annotated[int, typer.Option(help="Fewest nodes that a round may open with.")] = 4,
    threshold: Annotated[int, typer.Option(help="Least share of neighbours, in %, that an unmasking takes.")] = 66,
    floor: Annotated[int, typer.Option(help="Fewest survivors that a sum may be made of.")] = 3,
    json: Json = False,
) -> None:
    """Make a federation's root key, which signs who may take part, and its first roster, which has no members."""
    root = RootFolder.create(folder, federation, _key(server, "--server"), Limits(participants, threshold, floor))
    _show(root.newest(), root.public_key, root.roster_file(1), json)
    remarks = log()
    remarks.print(f"keep {folder} offline: whoever has root.key in it decides who takes part, and nobody else can")
    remarks.print(
        f"every site pins it: quasim federation enroll --federation {federation} --pin {root.public_key.hex()}"
    )


@app.command("enroll")
def enroll(
    requests: Annotated[list[Path] | None, typer.Argument(help="Requests to sign; with --root.")] = None,
    root: Annotated[Path | None, typer.Option(help="The root's folder: sign the requests into a new epoch.")] = None,
    remove: Annotated[list[str] | None, typer.Option(help="Node that leaves; with --root, may be repeated.")] = None,
    federation: Annotated[str | None, typer.Option(help="Federation that this site's node asks to join.")] = None,
    node: Annotated[str | None, typer.Option(help="Id of the node.")] = None,
    cohort: Annotated[
        str | None, typer.Option(help="Cohort whose canaries speak for it, such as its GPU model.")
    ] = None,
    pin: Pin = None,
    out: Annotated[Path | None, typer.Option(help="File of the request; default: NODE.enrolment here.")] = None,
    json: Json = False,
) -> None:
    """Ask to take part (--federation, --node, --cohort), or, with --root, sign such requests into the next roster."""
    asking = [federation, node, cohort, pin, out]
    if root is not None and any(given is not None for given in asking):
        raise ConfigError("--root signs requests", "leave out --federation, --node, --cohort, --pin and --out")
    if root is not None:
        _sign(RootFolder(root), requests or [], remove or [], json)
        return
    if requests or remove:
        raise ConfigError("only the root enrols and removes nodes", "give --root, its folder")
    if federation is None or node is None or cohort is None:
        raise ConfigError("a request names federation, node and cohort", "give --federation, --node and --cohort")
    _request(SiteFolder(site_folder(os.environ), federation), node, cohort, pin, out or Path(f"{node}.enrolment"), json)


@app.command("roster")
def roster(
    file: Annotated[Path, typer.Argument(help="A signed roster, such as ROOT/rosters/000001.roster.")],
    pin: Pin = None,
    newer_than: Annotated[int, typer.Option(help="Epoch that it must exceed.")] = 0,
    accept: Annotated[bool, typer.Option("--accept", help="Keep it as this site's; never an older one.")] = False,
    json: Json = False,
) -> None:
    """Verify a roster and show it; exit code 6 when it must not be trusted."""
    envelope = _read(file)
    claimed, _ = inspect_roster(envelope)
    site = SiteFolder(site_folder(os.environ), claimed.federation)
    trusted = site.root() if pin is None else _key(pin, "--pin")
    verified = verify_roster(envelope, root=trusted, federation=None, newer_than=newer_than)
    if accept:
        site.pin(trusted)
        site.accept(envelope)
    _show(verified, trusted, file, json)


def _request(site: SiteFolder, node: str, cohort: str, pin: str | None, out: Path, json: bool) -> None:
    if pin is not None:
        site.pin(_key(pin, "--pin"))
    # A node whose site trusts no root could not check the roster that it comes into.
    site.root()
    request = site.enrol(node, cohort)
    member = verify_enrolment(request, federation=site.federation)
    write_atomic(out, request)
    written = Request(str(out), site.federation, node, cohort, member.public_key.hex())
    if json:
        print_json(written)
        return
    console().print(f"node {node!r} of cohort {cohort!r} asks to join {site.federation!r}: {out}")
    console().print(f"its public key, to be compared by its enroller: {written.public_key}")


def _sign(root: RootFolder, requests: list[Path], remove: list[str], json: bool) -> None:
    if not requests and not remove:
        raise ConfigError("nothing to sign", "give enrolment requests or --remove NODE")
    newest = root.newest()
    asked = [verify_enrolment(_read(file), federation=newest.federation) for file in requests]
    signed = newest.next_epoch(enrol=asked, remove=remove)
    root.publish(signed)
    _show(signed, root.public_key, root.roster_file(signed.epoch), json)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise StorageError(f"{file} cannot be read: {error.strerror}", "give an existing file") from error


def _key(text: str, flag: str) -> bytes:
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise ConfigError(f"{flag} {text!r} is not 32 bytes in hex", "give 64 hexadecimal digits")
    return bytes.fromhex(text)


def _show(roster: Roster, root: bytes, file: Path, json: bool) -> None:
    members = tuple(MemberSummary(m.node, m.cohort, m.public_key.hex()) for m in roster.members)
    summary = RosterSummary(
        file=str(file), federation=roster.federation, epoch=roster.epoch, digest=roster.digest().hex(),
        root=root.hex(), server=roster.server.hex(), limits=roster.limits, members=members,
    )  # fmt: skip
    if json:
        print_json(summary)
        return
    out = console()
    out.print(f"roster of {summary.federation!r}, epoch {summary.epoch}: {file}")
    out.print(f"signed by root {summary.root}")
    out.print(f"digest {summary.digest}")
    out.print(f"server {summary.server}")
    limits = roster.limits
    out.print(
        f"members answer rounds of {limits.participants} participants or more, unmasked by at least "
        f"{limits.threshold_percent} % of neighbours, with {limits.floor} survivors or more"
    )
    table = Table("node", "cohort", "public key")
    for member in members:
        table.add_row(member.node, member.cohort, member.public_key)
    out.print(table)
