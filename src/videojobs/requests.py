"""What callers send: validated in full before anything leaves the process."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from datetime import datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypedDict
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
    VideoJob,
)

#: One call carries at most this many jobs, ids or rows. PostgREST cuts longer answers off at its
#: max-rows (1000 on Supabase) without an error, after the function has run.
BATCH_LIMIT = 500

_SHOWN_VALUE_LENGTH = 80
_NOT_A_FIELD = "not a field"
_OUR_WORDS = {"timezone_aware": "a datetime with a time zone, such as datetime.now(UTC)"}
"""What to say instead of pydantic's message, by its type of error."""
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
                raise refusal(type(self).__name__, error, type(self).model_fields) from None

    def to_json(self) -> dict[str, Any]:
        """The given fields only, as JSON types."""
        return self.model_dump(mode="json", exclude_none=True)


def refusal(
    subject: str, error: ValidationError, fields: Collection[str] = ()
) -> SupabaseValidationError:
    """Put pydantic's findings in our words: field, value, what is allowed."""
    problems: list[tuple[str, Any, str]] = []
    for found in error.errors(include_url=False):
        field = ".".join(map(str, found["loc"]))
        rule = _OUR_WORDS.get(found["type"], found["msg"])
        if found["type"] == "extra_forbidden":
            rule = _unknown(field, fields)
        problems.append(_problem(field, found["input"], rule))
    return _refusal(subject, problems)


def _unknown(field: str, fields: Collection[str]) -> str:
    close = get_close_matches(field, fields, n=1)
    return f"{_NOT_A_FIELD}; did you mean {close[0]}?" if close else _NOT_A_FIELD


def refuse(subject: str, field: str, value: object, allowed: str) -> SupabaseValidationError:
    """The error for one bad argument of a method."""
    return _refusal(subject, [_problem(field, value, allowed)])


def refused_at(
    place: str, error: SupabaseValidationError, *, subject: str = "create_jobs"
) -> SupabaseValidationError:
    """The same refusal, of one item among many, or of a part of a whole."""
    problems = [
        (f"{place}.{field}" if field else place, value, rule)
        for field, value, rule in error.problems
    ]
    told = [
        _told(*problem) if field else f"{place}: {problem[2]}"
        for problem, (field, _, _) in zip(problems, error.problems, strict=True)
    ]
    return _refusal(subject, problems, told)


def _refusal(
    subject: str, problems: list[tuple[str, Any, str]], told: list[str] | None = None
) -> SupabaseValidationError:
    words = "; ".join(told or [_told(*problem) for problem in problems])
    return SupabaseValidationError(f"{subject} was refused: {words}", problems=problems)


def _told(field: str, value: object, rule: str) -> str:
    if rule.startswith(_NOT_A_FIELD):
        # Without the value: nobody knows whether a secret stands in a misspelt field.
        return f"{field} is {rule}"
    return f"{field}={_shortened(value)}: {rule}" if field else rule


def _problem(field: str, value: object, message: str) -> tuple[str, Any, str]:
    # A rule about the whole has no field, and its value would show every other field.
    return field, without_secrets(field, value) if field else None, _allowed(message)


def without_secrets(field: str, value: object) -> object:
    """The value as an error may show it: a signed URL carries its token in the query."""
    if field in ("source_url", "captions_url") and isinstance(value, str):
        return value.partition("?")[0].rpartition("@")[2]
    return value


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_VALUE_LENGTH else f"{text[:_SHOWN_VALUE_LENGTH]}…"


def _allowed(message: str) -> str:
    return message.removeprefix("Value error, ")


class NewVideoJob(Request):
    """A job to create: an upload to cut into clips, unless `pipeline` says otherwise.

    To render a film or an episode, set ``pipeline="renditions"``; `resource_type` alone only
    says what the video is.

    Attributes:
        user_id: The owner. A service must give it; a signed-in user owns what they create.
        team_id: A team of the owner's; its members see the job, its admins may change it.
        pipeline: ``clips`` (default), ``renditions``, ``hls``, or a name that your own worker knows.
        queue: Which workers take it: those of ``default``, or of another name.
        priority: 0 to 9, 5 by default; higher goes first.
        run_at: Not before this moment, with a time zone; at once by default.
        max_attempts: 1 to 25, 3 by default.
        max_runtime_seconds: One attempt may take so long, 1 second to 7 days; no limit by default.
        retry_base_seconds: The wait after the first failure, which doubles with each; the
            database's setting (10) by default. Half of each wait is random.
        retry_cap_seconds: The longest wait; the database's setting (3,600) by default.
        source_url: Where the video is, as the worker's storage names it: with the local storage
            a path within its folder, such as ``uploads/talk.mp4``.
        original_filename: For people, and for `JobFilter.search`.
        original_filesize: Bytes.
        clip_count: 1 to 100 clips to cut; the ``clips`` pipeline makes 3 by default.
        quality_preset: ``draft``, ``standard`` (default) or ``pro``.
        enhancement_level: ``none`` (default), ``basic`` or ``advanced``.
        platform_target: ``tiktok``, ``instagram`` or ``youtube_shorts``; none by default, which
            keeps to the limits of all.
        settings: More that the pipeline understands, as JSON of at most 64 kB: fields of
            `videojobs.processor.ProcessingSettings`, such as `clip_seconds`, `cuts`, `framing` or
            `rendition_heights`, and those of a pipeline of your own.
        resource_type: ``upload`` (default), ``film`` or ``episode``.
        resource_id: Your id of the film or episode, which those two need.
        resource_name: Its name, for people and for `JobFilter.search`.
        resource_parent_id: The season, for an episode only.
        idempotency_key: A name for the wish: creating again with the same key returns the first job.
    """

    user_id: UUID | None = None
    team_id: UUID | None = None
    pipeline: Slug = "clips"
    queue: Slug = "default"
    priority: int = Field(default=5, ge=0, le=9)
    run_at: AwareDatetime | None = None
    max_attempts: int = Field(default=3, ge=1, le=25)
    max_runtime_seconds: float | None = Field(default=None, ge=1, le=604_800)
    retry_base_seconds: float | None = Field(default=None, ge=0, le=604_800)
    retry_cap_seconds: float | None = Field(default=None, ge=0, le=604_800)
    source_url: SourceText | None = Field(default=None, repr=False)
    original_filename: ShortText | None = None
    # The largest whole number that JavaScript can hold.
    original_filesize: int | None = Field(default=None, ge=0, le=2**53 - 1)
    clip_count: int | None = Field(default=None, ge=1, le=100)
    quality_preset: QualityPreset = QualityPreset.STANDARD
    enhancement_level: EnhancementLevel = EnhancementLevel.NONE
    platform_target: PlatformTarget | None = None
    settings: JsonObject = Field(default_factory=dict[str, Any])
    resource_type: ResourceType = ResourceType.UPLOAD
    resource_id: ShortText | None = None
    resource_name: ShortText | None = None
    resource_parent_id: ShortText | None = None
    idempotency_key: ShortText | None = None

    @model_validator(mode="after")
    def _resource_is_whole(self) -> Self:
        if self.resource_type is not ResourceType.UPLOAD and self.resource_id is None:
            raise ValueError(f"a job for a {self.resource_type} needs its resource_id")
        if self.resource_parent_id is not None and self.resource_type is not ResourceType.EPISODE:
            raise ValueError("only an episode has a resource_parent_id, its season")
        return self

    @model_validator(mode="after")
    def _waits_grow(self) -> Self:
        base, cap = self.retry_base_seconds, self.retry_cap_seconds
        if base is not None and cap is not None and base > cap:
            raise ValueError(
                f"retry_base_seconds ({base:g}) is the first wait and may not be longer than "
                f"retry_cap_seconds ({cap:g}), the longest"
            )
        return self


class QueueSettingsFields(TypedDict, total=False):
    """What `VideoJobManager.configure` sets; see `videojobs.reports.QueueSettings`."""

    retry_base_seconds: float
    retry_cap_seconds: float
    max_lost: int
    cancel_grace_seconds: float
    max_user_priority: int
    queue_wakeups: str
    announces_changes: bool
    archive_completed_after_days: int | None
    archive_failed_after_days: int | None
    archive_cancelled_after_days: int | None
    drop_archive_after_days: int | None
    drop_events_after_days: int | None


Days = Annotated[int, Field(ge=1, le=36_500)]


class QueueSettingsChanges(Request):
    """What to set in the database's settings; only what is given is set."""

    retry_base_seconds: float = Field(default=10, gt=0, le=604_800)
    retry_cap_seconds: float = Field(default=3600, gt=0, le=604_800)
    max_lost: int = Field(default=3, ge=1, le=1000)
    cancel_grace_seconds: float = Field(default=30, gt=0, le=604_800)
    max_user_priority: int = Field(default=5, ge=5, le=9)
    queue_wakeups: Literal["coalesced", "each", "off"] = "coalesced"
    announces_changes: bool = True
    archive_completed_after_days: Days | None = None
    archive_failed_after_days: Days | None = None
    archive_cancelled_after_days: Days | None = None
    drop_archive_after_days: Days | None = None
    drop_events_after_days: Days | None = None


class NewVideoJobFields(TypedDict, total=False):
    """The fields of `NewVideoJob`, as keyword arguments."""

    user_id: UUID | str | None
    team_id: UUID | str | None
    pipeline: str
    queue: str
    priority: int
    run_at: datetime | None
    max_attempts: int
    max_runtime_seconds: float | None
    retry_base_seconds: float | None
    retry_cap_seconds: float | None
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
    """Which jobs: every given field must match. An empty filter matches all that one may see.

    Attributes:
        user_id: Whose.
        team_id: Of which team.
        status: One status, or several.
        pipeline: ``clips``, ``renditions``, ``hls``, or a name of your own.
        queue: Its exact name.
        platform_target: ``tiktok``, ``instagram`` or ``youtube_shorts``.
        quality_preset: ``draft``, ``standard`` or ``pro``.
        resource_type: ``upload``, ``film`` or ``episode``.
        resource_id: Your id of the film or episode.
        resource_parent_id: The season's.
        parent_job_id: The job whose segments are meant; without it, no segments are listed.
        search: Text that the file name or the resource name contains; case does not matter.
        worker_id: Who works on it, or worked on it last.
        error_code: Such as ``corrupt_source``.
        created_from: From this moment on, inclusive; with a time zone.
        created_before: Up to this moment, exclusive; with a time zone.
    """

    user_id: UUID | None = None
    team_id: UUID | None = None
    status: SomeStatuses | None = None
    pipeline: Slug | None = None
    queue: Slug | None = None
    platform_target: PlatformTarget | None = None
    quality_preset: QualityPreset | None = None
    resource_type: ResourceType | None = None
    resource_id: ShortText | None = None
    resource_parent_id: ShortText | None = None
    parent_job_id: UUID | None = None
    search: ShortText | None = None
    worker_id: ShortText | None = None
    error_code: ShortText | None = None
    created_from: AwareDatetime | None = None
    created_before: AwareDatetime | None = None

    @model_validator(mode="after")
    def _range_goes_forward(self) -> Self:
        start, end = self.created_from, self.created_before
        if start is not None and end is not None and start >= end:
            raise ValueError(
                f"created_from ({start.isoformat()}) must lie before created_before ({end.isoformat()})"
            )
        return self

    def may_match(self, job: VideoJob) -> bool:
        """Whether the job matches in all that a job keeps for life.

        Its status, queue, worker and error may change: by those it can come and go.
        """
        start, end = self.created_from, self.created_before
        return (
            job.parent_job_id == self.parent_job_id
            and all(getattr(self, name) in (None, getattr(job, name)) for name in _LASTING)
            and (start is None or job.created_at >= start)
            and (end is None or job.created_at < end)
            and (self.search is None or self._names(job, self.search.casefold()))
        )

    def matches(self, job: VideoJob) -> bool:
        """Whether a list with this filter would have the job, as it is now."""
        return (
            self.may_match(job)
            and (self.status is None or job.status in self.status)
            and all(getattr(self, name) in (None, getattr(job, name)) for name in _PASSING)
        )

    @staticmethod
    def _names(job: VideoJob, part: str) -> bool:
        names = (job.original_filename, job.resource_name)
        return any(name is not None and part in name.casefold() for name in names)


_LASTING = (
    "user_id",
    "team_id",
    "pipeline",
    "platform_target",
    "quality_preset",
    "resource_type",
    "resource_id",
    "resource_parent_id",
)
_PASSING = ("queue", "worker_id", "error_code")


class JobChanges(Request):
    """What a bulk update sets. At least one field must be given.

    Attributes:
        status: ``cancelled`` stops queued and running jobs, ``queued`` retries failed and
            cancelled ones.
        priority: 0 to 9; higher goes first.
        run_at: Not before this moment, with a time zone.
        queue: The queue to move to.
    """

    status: JobStatus | None = None
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
