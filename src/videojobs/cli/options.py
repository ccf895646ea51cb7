"""Options that several commands share, and the manager that they name."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from videojobs.connecting import open_transport
from videojobs.manager import VideoJobManager
from videojobs.settings import Settings

LONGEST_DAYS = 36_500
"""A hundred years: dates far before are none that Python or Postgres can hold."""

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


def manager_for(database_url: str | None) -> VideoJobManager:
    """A manager for the given database, or for the environment's."""
    settings = settings_for(database_url)
    return VideoJobManager(open_transport(settings), settings)
