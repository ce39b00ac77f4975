"""`quasim dashboard`: show a run, or all runs of a folder, in a browser."""

from __future__ import annotations

import os
import signal
from contextlib import closing
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import typer

from cluster.cli.output import console
from quasim.errors import ConfigError
from storage.keys import site_folder


def dashboard(
    run: Annotated[Path | None, typer.Argument(help="Folder of a run, as `quasim run` printed it.")] = None,
    runs: Annotated[Path | None, typer.Option(help="Folder of runs: all of them, the newest first.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; without TLS, loopback alone.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: a free one.")] = 8710,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key, PEM.")] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="File with the token, mode 0600; without one the site's, made on first use.")
    ] = None,
    site_key: Annotated[
        Path | None, typer.Option(help="Key of the site: viewers then see shapes, genomes and nodes by name.")
    ] = None,
    insecure_plain: Annotated[
        bool, typer.Option("--insecure-plain", help="Beyond loopback without TLS: others can read the token.")
    ] = False,
) -> None:
    """Show a run in a browser, live or replayed, until Ctrl-C. It reads alone and changes nothing."""
    # Imported here: no other command needs the server.
    from cluster.dashboard.app import create_app
    from cluster.dashboard.names import Names
    from cluster.dashboard.serving import Place, Tls, server
    from cluster.dashboard.token import load_or_create_token, load_token

    # Arrow's own allocator keeps what a scan of the table needed: 60 MB of 300.
    pa.set_memory_pool(pa.system_memory_pool())
    place = Place(host, port, Tls.of(tls_cert, tls_key), insecure_plain)
    file = token_file or site_folder(os.environ) / "dashboard.token"
    token = load_token(file) if token_file else load_or_create_token(file)
    names = Names.of_site(site_key) if site_key else Names()
    app = create_app(
        _chosen(run, runs),
        token,
        many=runs is not None,
        names=names,
        secure=place.tls is not None,
        hosts=place.hosts,
    )
    with closing(place.listen()) as listening:
        console().print(f"{place.url(listening)}  (log in with the token in {file})")
        serving = server(app, place.tls)
        serving.run(sockets=[listening])
        if serving.ended_by == signal.SIGINT:
            raise KeyboardInterrupt  # uvicorn raises it again, but not in every Python, nor where a parent ignores it


def _chosen(run: Path | None, runs: Path | None) -> Path:
    """The one that was given.

    Raises:
        ConfigError: both, or neither.
    """
    chosen = [path for path in (run, runs) if path is not None]
    if len(chosen) != 1:
        raise ConfigError("one run, or --runs FOLDER, can be shown", "give one of the two")
    return chosen[0]
