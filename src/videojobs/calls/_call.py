from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Generic, TypeVar
from uuid import UUID

from videojobs.errors import JobNotFoundError, VideoJobsError
from videojobs.models import Rows
from videojobs.requests import refuse

T = TypeVar("T")


class Repeatable(Enum):
    """What repeating a call does, when it is not known whether the first try arrived."""

    READ = auto()
    """Nothing: it changes nothing."""
    KEYED = auto()
    """Nothing more: a key, a token or a status guards it, and the answer is the same."""
    ONCE = auto()
    """Perhaps harm. The caller is told that the outcome is unknown."""


@dataclass(frozen=True, slots=True)
class Json:
    """An argument that the function takes as ``jsonb``, where a plain list would be an array."""

    value: Any


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A call of one SQL function, and how to read its rows."""

    function: str
    arguments: Mapping[str, Any]
    decode: Callable[[Rows], T]
    repeatable: Repeatable
    columns: tuple[str, ...] = ()
    """Only these columns of the answer; all of them if empty."""
    gone_is_done: bool = False
    """On a repeat, "no such job" says that the lost try had worked."""

    def was_done_before(self, error: VideoJobsError) -> bool:
        """Whether this refusal of a repeat means that an earlier try had succeeded."""
        return self.gone_is_done and isinstance(error, JobNotFoundError)


def as_id(operation: str, field: str, value: UUID | str) -> UUID:
    """The id, or an error that says which argument is not one."""
    if isinstance(value, UUID):
        return value
    try:
        return UUID(value)
    except (ValueError, AttributeError, TypeError):
        raise refuse(operation, field, value, "must be a UUID") from None


def within(operation: str, field: str, value: float, low: float, high: float) -> None:
    """Refuse what is not a number within the range."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:  # pyright: ignore[reportUnnecessaryIsInstance] # callers may be untyped
        raise refuse(operation, field, value, f"a number from {low} to {high}")


def whole_within(operation: str, field: str, value: int, low: int, high: int) -> None:
    """Refuse what is not a whole number within the range."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:  # pyright: ignore[reportUnnecessaryIsInstance] # callers may be untyped
        raise refuse(operation, field, value, f"a whole number from {low} to {high}")


def storable(text: str) -> str:
    """The text as Postgres can store it. What ffmpeg prints may hold anything, and a report of
    an error must not fail on it."""
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def storable_json(value: Any) -> Any:
    """The same for every text within."""
    match value:
        case str():
            return storable(value)
        case Mapping():
            return {storable(str(key)): storable_json(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] # any JSON
        case list() | tuple():
            return [storable_json(item) for item in value]  # pyright: ignore[reportUnknownVariableType] # any JSON
        case _:
            return value
