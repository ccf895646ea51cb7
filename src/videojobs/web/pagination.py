"""Pages of jobs: what is asked for in the query, and the links to the pages beside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import ConfigDict, Field, WithJsonSchema

from videojobs.calls.jobs import OFFSET_LIMIT
from videojobs.calls.many import GroupBy
from videojobs.models import JobStatus, Page, VideoJob
from videojobs.requests import BATCH_LIMIT, JobFilter, SomeStatuses
from videojobs.web.caching import json_answer

if TYPE_CHECKING:
    from starlette.datastructures import URL
    from starlette.requests import Request
    from starlette.responses import Response

_STATUSES: dict[str, Any] = {
    "type": "array",
    "minItems": 1,
    "items": {"type": "string", "enum": [status.value for status in JobStatus]},
}


class FilterQuery(JobFilter):
    """Which jobs; every given field must match."""

    # Built now: FastAPI cannot build what was put off.
    model_config = ConfigDict(defer_build=False)

    status: Annotated[SomeStatuses, WithJsonSchema(_STATUSES)] | None = None

    _beside: ClassVar[frozenset[str]] = frozenset()
    """Fields that say no more about which jobs."""

    def filter(self) -> JobFilter:
        """Which jobs."""
        given = {name: getattr(self, name) for name in self.model_fields_set - self._beside}
        return JobFilter.model_construct(_fields_set=set(given), **given)


class PageQuery(FilterQuery):
    """Which jobs, and which page of them, newest first."""

    limit: int = Field(default=50, ge=1, le=BATCH_LIMIT, description="Jobs on a page.")
    offset: int = Field(
        default=0,
        ge=0,
        le=OFFSET_LIMIT,
        description="How many to skip; gets slower with its size. Use cursors for far pages.",
    )
    cursor: str | None = Field(
        default=None,
        max_length=512,
        description="The `next_cursor` of the page before, with the same filters.",
    )

    _beside: ClassVar[frozenset[str]] = frozenset({"limit", "offset", "cursor"})


class StatsQuery(FilterQuery):
    """Over which jobs, and by what."""

    group_by: GroupBy | None = Field(default=None, description="Also the figures by this.")

    _beside: ClassVar[frozenset[str]] = frozenset({"group_by"})


def page_answer(request: Request, query: PageQuery, page: Page[VideoJob]) -> Response:
    """The page, and links to those beside it."""
    headers = {"Link": links} if (links := _links(request.url, query, page)) else {}
    return json_answer(page.__pydantic_serializer__.to_json(page), headers=headers)


def _links(url: URL, query: PageQuery, page: Page[VideoJob]) -> str:
    # Relative, so that no Host header and no proxy's path can lead them elsewhere.
    here = url.remove_query_params(["cursor", "offset"])
    places: dict[str, URL] = {}
    if query.cursor is not None or query.offset:
        places["first"] = here
    if query.offset:
        places["prev"] = here.include_query_params(offset=max(0, query.offset - query.limit))
    if page.next_cursor is not None:
        places["next"] = here.include_query_params(cursor=page.next_cursor)
    return ", ".join(f'<?{place.query}>; rel="{name}"' for name, place in places.items())
