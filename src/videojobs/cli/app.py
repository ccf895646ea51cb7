"""All commands, and what their exit codes mean."""

from __future__ import annotations

import logging
from importlib.metadata import version
from typing import Annotated

import typer
from rich.logging import RichHandler

from videojobs import errors
from videojobs.cli import dashboard, database, demo, jobs, local, queues, serving, webhooks, work
from videojobs.cli.printing import complaints, console

app = typer.Typer(
    name="videojobs",
    help="Video jobs in Supabase or Postgres, run with ffmpeg.",
    epilog=(
        "Exit codes: 0 done · 1 the job or the work failed · 2 wrong arguments or set-up · "
        "3 no such job · 4 the database cannot be reached · 5 refused by the database · "
        "130 interrupted"
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.add_typer(jobs.app, name="jobs")
app.add_typer(local.app, name="local")
app.add_typer(webhooks.app, name="webhooks")
app.command("demo")(demo.demo)
app.command("dashboard")(dashboard.dashboard)
app.command("worker")(work.worker)
app.command("serve")(serving.serve)
app.command("workers")(queues.workers)
app.command("limits")(queues.limits)
app.command("settings")(queues.settings)
app.command("archive")(queues.archive)
app.command("maintain")(queues.maintain)
app.command("migrate")(database.migrate)
app.command("stats")(database.stats)
app.command("doctor")(database.doctor)

_EXIT_CODES: tuple[tuple[type[errors.VideoJobsError], int], ...] = (
    (errors.JobNotFoundError, 3),
    (errors.SupabaseConnectionError, 4),
    (errors.RefusedError, 5),
    (errors.ConfigurationError, 2),
    (errors.SupabaseValidationError, 2),
)


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        console.print(f"videojobs {version('videojobs')}", highlight=False)
        raise typer.Exit


@app.callback()
def _options(
    is_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version, and end."
        ),
    ] = False,
    verbose: Annotated[
        int,
        typer.Option(
            "--verbose",
            "-v",
            count=True,
            show_default=False,
            help="Show what goes on; -vv also shows each ffmpeg command.",
        ),
    ] = 0,
) -> None:
    del is_version  # its callback has ended the command
    level = logging.INFO if verbose else logging.WARNING
    if complaints.is_terminal:
        handler = RichHandler(console=complaints, show_path=False)
        logging.basicConfig(level=level, format="%(message)s", handlers=[handler])
    else:
        # A line each, for a log: rich would wrap them at 80 columns.
        logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(message)s")
    if verbose > 1:
        logging.getLogger("videojobs").setLevel(logging.DEBUG)
    # Their lines repeat every request, and URLs belong to no log.
    for library in ("httpx", "httpcore"):
        logging.getLogger(library).setLevel(logging.ERROR)
    # It says each failure again, which our own error tells once.
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)


def run(arguments: list[str] | None = None) -> int:
    """Run a command and give its exit code."""
    try:
        app(arguments)
    except SystemExit as end:  # how typer ends every command, and every wrong argument
        return end.code if isinstance(end.code, int) else 0
    except errors.VideoJobsError as error:
        complaints.print(
            f"[bold red]error:[/] {_escaped(str(error))}", highlight=False, soft_wrap=True
        )
        return exit_code_of(error)
    except KeyboardInterrupt:
        return 130
    return 0


def exit_code_of(error: errors.VideoJobsError) -> int:
    """The exit code for an error; 1 where it has none of its own."""
    return next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), 1)


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")
