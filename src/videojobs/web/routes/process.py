"""A video comes in, or is named, and becomes a job."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Header, Request, Response
from pydantic_core import from_json

from videojobs.arguments import require_settings
from videojobs.errors import ProcessingError, SupabaseValidationError, VideoJobsError
from videojobs.models import CreatedJob
from videojobs.requests import NewVideoJob, refuse
from videojobs.storage.paths import lies_below
from videojobs.web.caching import json_answer
from videojobs.web.dependencies import SignedIn, Visitor
from videojobs.web.documentation import answers
from videojobs.web.limits import allow_body
from videojobs.web.problems import ProblemError
from videojobs.web.request_ids import REQUEST_ID
from videojobs.web.uploads import FILE_FIELD, ReceivedFile, UploadLimits, receive_form, require_room

logger = logging.getLogger("videojobs.web")

# Of their own: uploads to a far storage take minutes, and everything else that needs a thread does not.
_PUBLISHING = ThreadPoolExecutor(8, thread_name_prefix="videojobs-upload")
_NOT_THEIRS = frozenset({"user_id", "idempotency_key"})
_OVERHEAD_BYTES = 64 * 1024
"""Of a form's boundaries and headers."""
_ROOM_BYTES = 256 * 1024**2
"""Kept free on the disk that uploads pass through."""


def add_routes(api: APIRouter) -> None:
    """The one way in."""
    responses = answers(
        CreatedJob,
        400,
        403,
        409,
        415,
        status=201,
        described="The new job.",
        headers=("Location",),
        has_body=True,
    )
    again = answers(CreatedJob, described="The job that this Idempotency-Key made before.")[200]
    api.add_api_route(
        "/api/v1/process",
        process,
        methods=["POST"],
        summary="Have a video processed",
        status_code=201,
        response_model=None,
        responses={**responses, 200: again},
        openapi_extra={"requestBody": _body()},
        tags=["jobs"],
    )


def _body() -> dict[str, Any]:
    schema = _schema()
    example = {
        "source_url": "00000000-0000-4000-8000-000000000ada/talk.mp4",
        "clip_count": 3,
        "platform_target": "tiktok",
    }
    form = {name: field for name, field in schema["properties"].items() if name != "source_url"}
    form["settings"] = {
        "type": "string",
        "contentMediaType": "application/json",
        "description": "As JSON.",
    }
    form[FILE_FIELD] = {"type": "string", "format": "binary", "description": "The video."}
    return {
        "required": True,
        "content": {
            "application/json": {"schema": schema, "examples": {"clips": {"value": example}}},
            "multipart/form-data": {
                "schema": {"type": "object", "required": [FILE_FIELD], "properties": form}
            },
        },
    }


def _schema() -> dict[str, Any]:
    told = NewVideoJob.model_json_schema()
    definitions = told.pop("$defs", {})
    for name in _NOT_THEIRS:
        del told["properties"][name]
    told = _inlined({**told, "description": "The video and what to make of it."}, definitions)
    return {**told, "required": ["source_url"]}


def _inlined(value: Any, definitions: dict[str, Any]) -> Any:
    match value:
        case {"$ref": str(reference)}:
            return _inlined(definitions[reference.rpartition("/")[2]], definitions)
        case dict():
            return {name: _inlined(each, definitions) for name, each in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] # a JSON schema
        case list():
            return [_inlined(each, definitions) for each in value]  # pyright: ignore[reportUnknownVariableType] # a JSON schema
        case _:
            return value


async def process(
    visitor: SignedIn,
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(
            description="The same again, with the same content, answers with the same job.",
            min_length=1,
            max_length=255,
        ),
    ] = None,
) -> Response:
    """Send a video as `multipart/form-data` in the field `file`, beside the fields of the job; or
    name one in the storage, below the folder of your id or your team's, as JSON.
    """
    match request.headers.get("Content-Type", "").partition(";")[0].strip().lower():
        case "application/json":
            job = await _named(visitor, request, idempotency_key)
        case "multipart/form-data":
            job = await _uploaded(visitor, request, idempotency_key)
        case _:
            raise ProblemError(
                415,
                "unsupported-type",
                "Send the job as application/json, or the video as multipart/form-data.",
            )
    return json_answer(
        job.__pydantic_serializer__.to_json(job),
        status=201 if job.created else 200,
        headers={"Location": f"jobs/{job.id}"},
    )


async def _named(visitor: Visitor, request: Request, key: str | None) -> CreatedJob:
    wish = _wish(_object(await request.body()), idempotency_key=key)
    if wish.source_url is None:
        raise refuse("process", "source_url", None, "a path in the storage; or upload a file")
    _require_own(visitor, wish)
    return await visitor.jobs.create_job(wish)


async def _uploaded(visitor: Visitor, request: Request, key: str | None) -> CreatedJob:
    services = visitor.services
    limits = UploadLimits(
        services.web.max_upload_bytes, services.web.max_body_bytes, room_bytes=_ROOM_BYTES
    )
    allow_body(request, limits.file_bytes + limits.text_bytes + _OVERHEAD_BYTES)
    parent = services.settings.work_dir or Path(tempfile.gettempdir())
    parent.mkdir(parents=True, exist_ok=True)
    require_room(parent, int(request.headers.get("Content-Length") or 0) + _ROOM_BYTES)
    with tempfile.TemporaryDirectory(prefix="videojobs-upload-", dir=parent) as folder:
        fields, file = await receive_form(request, Path(folder), limits)
        upload = _Upload.of(visitor, fields, file, key)
        _require_own(visitor, upload.wish)
        is_new = await upload.publish()
        return await upload.create(may_remove=is_new)


@dataclass(frozen=True, slots=True)
class _Upload:
    """A received file, and the job that it is for."""

    visitor: Visitor
    wish: NewVideoJob
    file: ReceivedFile
    prefix: str
    is_keyed: bool

    @classmethod
    def of(
        cls, visitor: Visitor, fields: dict[str, str], file: ReceivedFile, key: str | None
    ) -> _Upload:
        """Where the file goes. With a key, the same wish goes to the same place."""
        if "source_url" in fields:
            raise refuse("process", "source_url", None, "left out where a file is uploaded")
        given: dict[str, Any] = dict(fields)
        if "settings" in given:
            given["settings"] = _object(fields["settings"].encode())
        given |= {"original_filename": file.name, "original_filesize": file.size_bytes}
        draft = _wish(given, idempotency_key=key)
        tenant = draft.team_id or visitor.caller.user_id
        place = uuid4() if key is None else _place_of(visitor, draft, file)
        prefix = f"{tenant}/uploads/{place}"
        require_settings(draft)
        wish = draft.model_copy(update={"source_url": f"{prefix}/source{file.suffix}"})
        return cls(visitor, wish, file, prefix, key is not None)

    async def publish(self) -> bool:
        """The file is in the storage; says whether it was put there now."""
        storage, stop = self.visitor.services.storage, threading.Event()
        files = {f"source{self.file.suffix}": self.file.path}
        try:
            await asyncio.get_running_loop().run_in_executor(
                _PUBLISHING, partial(storage.publish, files, self.prefix, cancel=stop)
            )
        except ProcessingError as error:
            if self.is_keyed and error.code == "already_published":
                return False
            logger.error("request %s: an upload could not be stored: %s", REQUEST_ID.get(), error)
            raise ProblemError(
                503,
                "storage-unavailable",
                "The storage is not there, or is full. Try again later.",
                headers={"Retry-After": "60"},
            ) from error
        except asyncio.CancelledError:
            stop.set()
            raise
        return True

    async def create(self, *, may_remove: bool) -> CreatedJob:
        """The job is created, or the file is gone again."""
        try:
            return await self.visitor.jobs.create_job(self.wish)
        except VideoJobsError as error:
            # Where nobody knows, the job may be there, and need its source.
            if may_remove and error.outcome != "unknown":
                await asyncio.to_thread(self.visitor.services.storage.remove, self.prefix)
            raise


def _place_of(visitor: Visitor, draft: NewVideoJob, file: ReceivedFile) -> UUID:
    # Of all that tells two wishes apart: so a refused wish never removes another one's file.
    told = [str(visitor.caller.user_id), draft.to_json(), file.sha256]
    return UUID(bytes=hashlib.sha256(json.dumps(told, sort_keys=True).encode()).digest()[:16])


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = from_json(body)
    except ValueError as error:
        raise ProblemError(400, "unreadable-json", f"The JSON cannot be read: {error}.") from None
    if not isinstance(found, dict):
        raise ProblemError(422, "invalid-input", "The JSON must be an object.")
    return found  # pyright: ignore[reportUnknownVariableType] # any JSON


def _wish(given: dict[str, Any], *, idempotency_key: str | None) -> NewVideoJob:
    for name in sorted(_NOT_THEIRS & given.keys()):
        advice = {
            "user_id": "left out: jobs are your own",
            "idempotency_key": "sent as the header Idempotency-Key",
        }
        raise refuse("process", name, None, advice[name])
    return NewVideoJob(**given, idempotency_key=idempotency_key)


def _require_own(visitor: Visitor, wish: NewVideoJob) -> None:
    """Nothing happens, unless the wish names files of others."""
    if visitor.services.web.source_policy == "any":
        return
    tenant = str(wish.team_id or visitor.caller.user_id)
    named = {"source_url": wish.source_url, "captions_url": wish.settings.get("captions_url")}
    for name, url in named.items():
        if url is not None and not lies_below(str(url), tenant):
            raise _not_below(name, tenant)


def _not_below(name: str, tenant: str) -> SupabaseValidationError:
    rule = f"must be a plain path below {tenant}/, without dots, escapes or a scheme"
    return SupabaseValidationError(
        f"process was refused: {name} {rule}", problems=[(name, None, rule)]
    )
