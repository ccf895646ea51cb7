"""A stream of changes as server-sent events."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Header, Query, Response
from sse_starlette.sse import EventSourceResponse, SendTimeoutError

from videojobs.live import Following
from videojobs.web.dependencies import SignedIn
from videojobs.web.documentation import answers
from videojobs.web.live import SEND_SECONDS, LiveQuery, taken

if TYPE_CHECKING:
    from datetime import datetime

    from starlette.types import Message, Receive, Scope, Send

    from videojobs.changes import JobChange

logger = logging.getLogger("videojobs.web")

_RETRY_MILLISECONDS = 2000
_DESCRIPTION = """Changes of your jobs as they happen, as server-sent events.

Each event has an `id`, a type (`changed`, `deleted`, `reset`, `expired`) and JSON: `changed` with the
job as it is now; `deleted` with the `job_id`; on `reset`, which also comes first, read anew what
you show, since what follows comes after that; `expired` when the token ends, and with it the stream.
Every change comes at least once. After a break, send the last `id` as `Last-Event-ID`: what was
missed comes first, or a `reset` if that is too much or too long ago.

A browser's `EventSource` cannot send the `Authorization` header. Use `fetch` and read its body, for
example with `@microsoft/fetch-event-source`, or the WebSocket beside this route.
"""


def add_routes(api: APIRouter) -> None:
    """The stream of a user's jobs."""
    responses = answers(None, described="A stream of events, without end.")
    responses[200]["content"] = {"text/event-stream": {"schema": {"type": "string"}}}
    api.add_api_route(
        "/api/v1/user/jobs/live",
        follow_jobs,
        methods=["GET"],
        summary="Follow your jobs",
        description=_DESCRIPTION,
        response_model=None,
        response_class=Response,
        responses=responses,
        tags=["live"],
    )


async def follow_jobs(
    query: Annotated[LiveQuery, Query()],
    visitor: SignedIn,
    last_event_id: Annotated[str | None, Header(max_length=5000)] = None,
) -> Response:
    """Open the stream; whatever is wrong with the request is told before it begins."""
    streams = await visitor.services.streams()
    opened = AsyncExitStack()
    following = await opened.enter_async_context(
        streams.follow(visitor.caller, query, last_event_id)
    )
    return _Stream(following, visitor.caller.expires_at, opened)


class _Stream(EventSourceResponse):
    def __init__(self, following: Following, expires_at: datetime, opened: AsyncExitStack) -> None:
        # No pings of theirs: one could tell a place before the changes that lead to it are sent.
        super().__init__(  # pyright: ignore[reportUnknownMemberType] # of what it takes besides bytes
            _chunks(following, expires_at), ping=0, send_timeout=SEND_SECONDS, sep="\n"
        )
        self._opened = opened

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_complete = False

        async def watched(message: Message) -> None:
            nonlocal is_complete
            is_complete = message["type"] == "http.response.body" and not message.get("more_body")
            await send(message)

        async with self._opened:
            try:
                await super().__call__(scope, receive, watched)
            except SendTimeoutError:
                logger.info("a stream was dropped: its reader took nothing for %g s", SEND_SECONDS)
                return
            if not is_complete:  # the server shuts down: else it would log an error for each stream
                await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _chunks(following: Following, expires_at: datetime) -> AsyncGenerator[bytes]:
    yield f"retry: {_RETRY_MILLISECONDS}\n\n".encode()
    while (changes := await taken(following, expires_at)) is not None:
        if changes:
            yield b"".join(map(_event, changes))
        elif following.has_ended:
            return
        else:
            # An id without data moves the client's Last-Event-ID on, and fires nothing.
            yield f": alive\nid: {following.cursor}\n\n".encode()
    yield b'event: expired\ndata: {"type":"expired"}\n\n'


def _event(change: JobChange) -> bytes:
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (
        change.id.encode(),
        change.type.encode(),
        change.to_json(),
    )
