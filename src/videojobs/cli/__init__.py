"""The command line: ``videojobs --help``."""

from __future__ import annotations

import sys

from videojobs.errors import MissingExtraError

__all__ = ["main"]


def main() -> None:
    """Run the command that the arguments name, and exit with its code."""
    try:
        from videojobs.cli.app import run
    except ModuleNotFoundError as error:
        if error.name not in {"typer", "rich"}:
            raise
        sys.stderr.write(f"{MissingExtraError('cli', 'the command line')}\n")
        sys.exit(2)
    sys.exit(run())
