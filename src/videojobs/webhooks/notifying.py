"""Short texts to people, by e-mail, SMS or chat, through Apprise."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from videojobs.errors import MissingExtraError
from videojobs.requests import refuse
from videojobs.webhooks.posting import Outcome

# These post to any server that is named, or speak on this machine: the first are what webhooks over
# https are for, with all that is checked there; the second are nobody's to reach from afar.
_NOT_TAKEN = frozenset(
    [
        "json",
        "jsons",
        "xml",
        "xmls",
        "form",
        "forms",
        "http",
        "https",
        "apprise",
        "apprises",
        "dbus",
        "kde",
        "qt",
        "glib",
        "gnome",
        "macosx",
        "windows",
        "syslog",
        "rsyslog",
    ]
)
_VERBS = {"job.completed": "completed", "job.failed": "failed", "job.cancelled": "cancelled"}


def check_notifiable(url: str) -> None:
    """Refuse what Apprise does not know, or what is not taken; nothing of the URL is repeated.

    Raises:
        MissingExtraError: Apprise is not installed.
        SupabaseValidationError: It is no address of a service that is taken.
    """
    scheme = url.partition("://")[0].lower()
    if scheme in _NOT_TAKEN or _opened(url) is None:
        allowed = "an address of Apprise, such as mailto://… or slack://…, that reaches people"
        raise refuse("add_webhook", "url", f"{scheme}://(not shown)", allowed)


def notify(url: str, event: str, payload: Mapping[str, Any]) -> Outcome:
    """Tell it, in a thread of its own. Apprise says only whether it worked."""
    scheme = url.partition("://")[0].lower()
    service = None if scheme in _NOT_TAKEN else _opened(url)
    if service is None:
        return Outcome(False, error="not sent: it is no address of Apprise that is taken")
    title, text = wording(event, payload)
    try:
        is_told = bool(service.notify(title=title, body=text))
    except Exception as error:  # noqa: BLE001 # any of a hundred services' own
        return Outcome(False, error=f"the service failed: {type(error).__name__}")
    return Outcome(True) if is_told else Outcome(False, error="the service refused it, or is away")


def wording(event: str, payload: Mapping[str, Any]) -> tuple[str, str]:
    """A title and a text for people."""
    if event == "webhook.test":
        return "videojobs: a test", "Messages of video jobs arrive here."
    data: Mapping[str, Any] = payload.get("data") or {}
    name = data.get("resource_name") or data.get("original_filename") or data.get("job_id")
    title = f"Video job {_VERBS.get(event, event)}: {name}"
    lines = [f"Job {data.get('job_id')} ({data.get('pipeline')})"]
    match event:
        case "job.completed":
            lines.append(f"{len(data.get('output_files') or ())} files are ready.")
        case "job.failed":
            lines.append(f"{data.get('error_code')}: {data.get('error_message')}")
        case _:
            pass
    return title[:200], "\n".join(lines)[:1000]


def _opened(url: str) -> Any:
    try:
        apprise: Any = import_module("apprise")
    except ModuleNotFoundError as error:
        raise MissingExtraError("notify", "A message through Apprise") from error
    # It writes addresses with their passwords into the log.
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
    return apprise.Apprise.instantiate(url, suppress_exceptions=True)
