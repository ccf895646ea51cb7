"""What callers send: validated in full before anything leaves the process."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Self, TypedDict
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from videojobs.errors import SupabaseValidationError
from videojobs.models import (
    EnhancementLevel,
    JobStatus,
    PlatformTarget,
    QualityPreset,
    ResourceType,
)

#: One call carries at most this many jobs, ids or rows. PostgREST cuts longer answers off at its
#: max-rows (1000 on Supabase) without an error, after the function has run.
BATCH_LIMIT = 500

_SHOWN_VALUE_LENGTH = 80
_JSON_LIMIT_BYTES = 65_536
_JSON_LEVELS = 32
_JSON_LARGEST_NUMBER = 10**308
# An escaped NUL; an even number of backslashes before it would make it plain text.
_NUL_IN_JSON = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def _without_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("text must not contain a NUL character; Postgres cannot store it")
    return text


def _storable_json(value: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        _check_depth_and_numbers(value, _JSON_LEVELS)
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        size = len(text.encode())
    except (TypeError, ValueError) as error:
        raise ValueError(f"must be storable as JSON: {error}") from None
    if _NUL_IN_JSON.search(text):
        raise ValueError("text must not contain a NUL character; Postgres cannot store it")
    if size > _JSON_LIMIT_BYTES:
        raise ValueError(f"at most {_JSON_LIMIT_BYTES} bytes as JSON, not {size}")
    return value


def _check_depth_and_numbers(value: Any, levels: int) -> None:
    if isinstance(value, Mapping | list | tuple):
        if levels == 0:
            raise ValueError(f"more than {_JSON_LEVELS} levels of nesting")
        items: Any = value.values() if isinstance(value, Mapping) else value  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] # any JSON
        for item in items:
            _check_depth_and_numbers(item, levels - 1)
    elif isinstance(value, int | float) and abs(value) > _JSON_LARGEST_NUMBER:
        raise ValueError("a number beyond 1e308, which other readers cannot hold")


def _in_a_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str) or value is None else value


# The lengths stand first, so that an error counts characters and not "items after validation".
ShortText = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_without_nul)]
SourceText = Annotated[str, Field(min_length=1, max_length=2048), AfterValidator(_without_nul)]
Slug = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
JsonObject = Annotated[Mapping[str, Any], AfterValidator(_storable_json)]
"""A JSON object of at most 64 kB, as text with a space behind each comma and colon, and 32 levels."""
SomeStatuses = Annotated[tuple[JobStatus, ...], Field(min_length=1), BeforeValidator(_in_a_tuple)]


class Request(BaseModel):
    """Input that refuses what it does not know, with a `SupabaseValidationError`."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True
    )

    if not TYPE_CHECKING:  # type checkers see the fields as the parameters

        def __init__(self, /, **fields: Any) -> None:
            try:
                super().__init__(**fields)
            except ValidationError as error:
                raise refusal(type(self).__name__, error) from None

    def to_json(self) -> dict[str, Any]:
        """The given fields only, as JSON types."""
        return self.model_dump(mode="json", exclude_none=True)


def refusal(subject: str, error: ValidationError) -> SupabaseValidationError:
    """Put pydantic's findings in our words: field, value, what is allowed."""
    problems = [
        _problem(".".join(map(str, found["loc"])), found["input"], found["msg"])
        for found in error.errors(include_url=False)
    ]
    return _refusal(subject, problems)


def refuse(subject: str, field: str, value: object, allowed: str) -> SupabaseValidationError:
    """The error for one bad argument of a method."""
    return _refusal(subject, [_problem(field, value, allowed)])


def refused_at(place: str, error: SupabaseValidationError) -> SupabaseValidationError:
    """The same refusal, of one item among many."""
    problems = [
        (f"{place}.{field}" if field else place, value, rule)
        for field, value, rule in error.problems
    ]
    return _refusal("create_jobs", problems)


def _refusal(subject: str, problems: list[tuple[str, Any, str]]) -> SupabaseValidationError:
    told = "; ".join(
        f"{field}={_shortened(value)}: {rule}" if field else rule for field, value, rule in problems
    )
    return SupabaseValidationError(f"{subject} was refused: {told}", problems=problems)


def _problem(field: str, value: object, message: str) -> tuple[str, Any, str]:
    # A rule about the whole has no field, and its value would show every other field.
    return field, without_secrets(field, value) if field else None, _allowed(message)


def without_secrets(field: str, value: object) -> object:
    """The value as an error may show it: a signed URL carries its token in the query."""
    if field == "source_url" and isinstance(value, str):
        return value.partition("?")[0].rpartition("@")[2]
    return value


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_VALUE_LENGTH else f"{text[:_SHOWN_VALUE_LENGTH]}…"


def _allowed(message: str) -> str:
    return message.removeprefix("Value error, ")


class NewVideoJob(Request):
    """A job to create. Either an upload to cut into clips, or a film or episode to render."""

    user_id: UUID | None = None
    """The owner. A service caller must give it; a signed-in user owns what they create."""
    team_id: UUID | None = None
    """A team of the owner's; its members can see the job, its admins can change it."""
    pipeline: Slug = "clips"
    """``clips``, ``renditions``, or a name that your own worker knows."""
    queue: Slug = "default"
    priority: int = Field(default=5, ge=0, le=9)
    """0 to 9; higher goes first."""
    run_at: AwareDatetime | None = None
    """Not before this moment; ``None`` for at once."""
    max_attempts: int = Field(default=3, ge=1, le=25)
    source_url: SourceText | None = Field(default=None, repr=False)
    """Where the video is: a path within the worker's storage, or a URL that it can read."""
    original_filename: ShortText | None = None
    original_filesize: int | None = Field(default=None, ge=0, le=2**53 - 1)
    """Bytes. The ceiling is the largest whole number that JavaScript can hold."""
    clip_count: int | None = Field(default=None, ge=1, le=100)
    """How many clips to cut; for the ``clips`` pipeline."""
    quality_preset: QualityPreset = QualityPreset.STANDARD
    enhancement_level: EnhancementLevel = EnhancementLevel.NONE
    platform_target: PlatformTarget | None = None
    settings: JsonObject = Field(default_factory=dict[str, Any])
    """Anything more that the pipeline understands, as JSON of at most 64 kB."""
    resource_type: ResourceType = ResourceType.UPLOAD
    resource_id: ShortText | None = None
    resource_name: ShortText | None = None
    resource_parent_id: ShortText | None = None
    """The season, for an episode."""
    idempotency_key: ShortText | None = None
    """A name for the wish: creating again with the same key returns the first job."""

    @model_validator(mode="after")
    def _resource_is_whole(self) -> Self:
        if self.resource_type is not ResourceType.UPLOAD and self.resource_id is None:
            raise ValueError(f"a job for a {self.resource_type} needs its resource_id")
        if self.resource_parent_id is not None and self.resource_type is not ResourceType.EPISODE:
            raise ValueError("only an episode has a resource_parent_id, its season")
        return self


class NewVideoJobFields(TypedDict, total=False):
    """The fields of `NewVideoJob`, as keyword arguments."""

    user_id: UUID | str | None
    team_id: UUID | str | None
    pipeline: str
    queue: str
    priority: int
    run_at: datetime | None
    max_attempts: int
    source_url: str | None
    original_filename: str | None
    original_filesize: int | None
    clip_count: int | None
    quality_preset: QualityPreset | str
    enhancement_level: EnhancementLevel | str
    platform_target: PlatformTarget | str | None
    settings: Mapping[str, Any]
    resource_type: ResourceType | str
    resource_id: str | None
    resource_name: str | None
    resource_parent_id: str | None
    idempotency_key: str | None


class JobFilter(Request):
    """Which jobs: every given field must match. An empty filter matches all that one may see."""

    user_id: UUID | None = None
    team_id: UUID | None = None
    status: SomeStatuses | None = None
    """One status, or several."""
    pipeline: Slug | None = None
    queue: Slug | None = None
    platform_target: PlatformTarget | None = None
    quality_preset: QualityPreset | None = None
    resource_type: ResourceType | None = None
    resource_id: ShortText | None = None
    resource_parent_id: ShortText | None = None
    search: ShortText | None = None
    """Text that the file name or the resource name contains; case does not matter."""
    worker_id: ShortText | None = None
    error_code: ShortText | None = None
    created_from: AwareDatetime | None = None
    """From this moment on, inclusive."""
    created_before: AwareDatetime | None = None
    """Up to this moment, exclusive."""

    @model_validator(mode="after")
    def _range_goes_forward(self) -> Self:
        start, end = self.created_from, self.created_before
        if start is not None and end is not None and start >= end:
            raise ValueError(
                f"created_from ({start.isoformat()}) must lie before created_before ({end.isoformat()})"
            )
        return self


class JobChanges(Request):
    """What a bulk update sets. At least one field must be given."""

    status: JobStatus | None = None
    """``cancelled`` stops queued and running jobs, ``queued`` retries failed and cancelled ones."""
    priority: int | None = Field(default=None, ge=0, le=9)
    run_at: AwareDatetime | None = None
    queue: Slug | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.to_json():
            raise ValueError("give one or more of status, priority, run_at and queue")
        if self.status not in (None, JobStatus.CANCELLED, JobStatus.QUEUED):
            raise ValueError(
                f"status may be 'cancelled' or 'queued'; {self.status.value!r} is a worker's to set"
            )
        return self
