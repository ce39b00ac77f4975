"""The ``quasim`` command. It lives in ``cluster/`` of a checkout or image; the wheel holds the engine alone."""

from __future__ import annotations

import importlib
import sys

from quasim.errors import ExitCode


def main() -> None:
    """Run the command line, or say where it is to be had."""
    try:
        cli = importlib.import_module("cluster.cli")
    except ModuleNotFoundError as error:
        missing = error.name or "cluster"
        sys.stderr.write(
            f"error: the quasim command needs {missing!r}, which is not installed here: run it from a checkout of the "
            "project with `pip install -e '.[fleet]'`; `import quasim` works without it\n"
        )
        sys.exit(ExitCode.MISSING_TOOL)
    cli.main()


if __name__ == "__main__":
    main()
