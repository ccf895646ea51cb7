"""Options that several commands share, and the manager that they name."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from videojobs.cli.printing import complaints
from videojobs.connecting import open_transport
from videojobs.manager import VideoJobManager
from videojobs.settings import Settings

LONGEST_DAYS = 36_500
"""A hundred years: dates far before are none that Python or Postgres can hold."""

LOCAL_FOLDER = Path(".videojobs")
"""Where `videojobs local up`, `serve` and `dashboard` keep a local stack, unless told otherwise."""

DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        metavar="URL",
        help="A Postgres URL, instead of what the environment names.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]


def settings_for(database_url: str | None) -> Settings:
    """The environment's settings, or those for the given database."""
    settings = Settings.from_env()
    if database_url is None:
        return settings
    return dataclasses.replace(settings, database_url=database_url, transport="postgres")


def settings_here(database_url: str | None) -> Settings:
    """The same; where neither names a database, those of a local stack that runs in this folder."""
    settings = settings_for(database_url)
    if settings.database_url is not None or settings.supabase_url is not None:
        return settings
    from videojobs.local.running import RunningStack

    stack = RunningStack.find(LOCAL_FOLDER)
    if stack is None:
        return settings
    complaints.print(f"on the local stack in {LOCAL_FOLDER}", style="dim")
    return stack.applied_to(settings)


def manager_for(database_url: str | None) -> VideoJobManager:
    """A manager for the given database, or for the environment's, or for a local stack here."""
    settings = settings_here(database_url)
    return VideoJobManager(open_transport(settings), settings)
