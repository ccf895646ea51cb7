"""``videojobs webhooks``: who is told when jobs end, and what became of each message."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated
from uuid import UUID

import typer
from rich.table import Table

from videojobs.cli.options import AsJson, DatabaseUrl, manager_for, settings_here
from videojobs.cli.printing import complaints, console, print_json
from videojobs.cli.sending import send_webhooks
from videojobs.messages import DeliveryState, WebhookDelivery, WebhookEvent

app = typer.Typer(
    no_args_is_help=True, help="Who is told when jobs end, and what became of each message."
)

WebhookId = Annotated[UUID, typer.Argument(metavar="WEBHOOK", help="Its id, from the list.")]


@app.command("add")
def add(
    url: Annotated[
        str,
        typer.Argument(
            help="https://…, or an address of Apprise such as mailto://…; - reads it from standard "
            "input, so that no list of processes shows it."
        ),
    ],
    event: Annotated[
        list[WebhookEvent] | None,
        typer.Option("--event", "-e", help="Only these; may be repeated."),
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Only this user's or team's jobs.")] = None,
    pipeline: Annotated[str | None, typer.Option(help="Only jobs of this pipeline.")] = None,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Tell an address when jobs end. Shows the secret that verifies our signatures, this once."""
    address = sys.stdin.readline().strip() if url == "-" else url
    with manager_for(database_url) as manager:
        added = manager.add_webhook(
            address, events=event or tuple(WebhookEvent), tenant_id=tenant, pipeline=pipeline
        )
    if as_json:
        print_json({"id": added.id, "address": added.address, "secret": added.secret})
        return
    console.print(f"{added.id} tells {added.address}", markup=False, highlight=False)
    if added.secret is not None:
        console.print("secret, which is not shown again:", added.secret, markup=False)


@app.command("list")
def list_(as_json: AsJson = False, database_url: DatabaseUrl = None) -> None:
    """Who is told, of what, and how many messages wait or were given up."""
    with manager_for(database_url) as manager:
        found = manager.list_webhooks()
    if as_json:
        print_json(found)
        return
    table = Table("webhook", "tells", "of", "tenant", "pipeline", "waiting", "dead", "state")
    for each in found:
        table.add_row(
            str(each.id),
            each.address,
            ", ".join(each.events),
            str(each.tenant_id or "all"),
            each.pipeline or "all",
            str(each.pending),
            str(each.dead),
            "on" if each.is_enabled else "gone",
        )
    console.print(
        table if found else "No webhooks. Add one: [bold]videojobs webhooks add https://…[/]"
    )


@app.command("remove")
def remove(webhook: WebhookId, database_url: DatabaseUrl = None) -> None:
    """Tell it nothing more, and forget its log."""
    with manager_for(database_url) as manager:
        was_there = manager.remove_webhook(webhook)
    console.print("removed" if was_there else "there was none")


@app.command("deliveries")
def deliveries(
    webhook: Annotated[
        UUID | None, typer.Argument(metavar="[WEBHOOK]", help="Only this one's.")
    ] = None,
    state: Annotated[DeliveryState | None, typer.Option(help="Only those in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500)] = 50,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
) -> None:
    """The latest messages, and what became of each."""
    with manager_for(database_url) as manager:
        found = manager.list_webhook_deliveries(webhook, state=state, limit=limit)
    if as_json:
        print_json(found)
        return
    table = Table("message", "of", "job", "state", "tries", "next try", "answer")
    for each in found:
        table.add_row(*_cells(each))
    console.print(table if found else "No messages.")


def _cells(delivery: WebhookDelivery) -> tuple[str, ...]:
    return (
        str(delivery.id),
        delivery.event,
        str(delivery.job_id or ""),
        delivery.state,
        str(delivery.attempts),
        f"{delivery.next_try_at:%Y-%m-%d %H:%M:%S}" if delivery.next_try_at else "",
        delivery.last_error or str(delivery.last_status or ""),
    )


@app.command("test")
def test(webhook: WebhookId, database_url: DatabaseUrl = None) -> None:
    """Have a message sent to it that tells of no job."""
    with manager_for(database_url) as manager:
        console.print(f"message {manager.test_webhook(webhook)} waits to be sent")


@app.command("resend")
def resend(
    message: Annotated[UUID, typer.Argument(help="Its id, from the deliveries.")],
    database_url: DatabaseUrl = None,
) -> None:
    """Send a message once more, such as one that was given up."""
    with manager_for(database_url) as manager:
        manager.resend_webhook(message)
    console.print("it waits to be sent")


@app.command("send")
def send(
    once: Annotated[bool, typer.Option("--once", help="What is due now, and no more.")] = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Send messages until Ctrl-C. `videojobs serve` and `videojobs worker` do it too."""
    settings = settings_here(database_url)
    if not once:
        complaints.print("sending webhooks, until Ctrl-C", style="dim")
    sent = asyncio.run(send_webhooks(settings, once=once))
    console.print(f"{sent} message{'' if sent == 1 else 's'} went out")
