"""A transport without a network: answers go in, calls come out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Self
from uuid import UUID

from videojobs.calls import Call
from videojobs.models import Row, Rows
from videojobs.transports import Channel, Token

Answer = Sequence[Row] | Exception


def job_row(job_id: UUID, **said: Any) -> dict[str, Any]:
    """A job as the database would answer with it: queued and fresh, but for what is said."""
    return {
        "id": str(job_id),
        "seq": 1,
        "user_id": "00000000-0000-4000-8000-000000000ada",
        "team_id": None,
        "tenant_id": "00000000-0000-4000-8000-000000000ada",
        "queue": "default",
        "pipeline": "clips",
        "status": "queued",
        "priority": 5,
        "run_at": "2027-01-01T00:00:00+00:00",
        "attempt": 0,
        "max_attempts": 3,
        "lost_count": 0,
        "run_token": 0,
        "progress": 0,
        "progress_detail": {},
        "stage": None,
        "original_filename": None,
        "original_filesize": None,
        "source_url": None,
        "clip_count": None,
        "quality_preset": "standard",
        "enhancement_level": "none",
        "platform_target": None,
        "settings": {},
        "resource_type": "upload",
        "resource_id": None,
        "resource_name": None,
        "resource_parent_id": None,
        "output_files": [],
        "error_code": None,
        "error_message": None,
        "worker_id": None,
        "idempotency_key": None,
        "cancel_requested_at": None,
        "created_at": "2027-01-01T00:00:00+00:00",
        "updated_at": "2027-01-01T00:00:00+00:00",
        "started_at": None,
        "completed_at": None,
        "cancelled_at": None,
        "processing_time": None,
        **said,
    }


class Pauses(list[float]):
    """A listener for whom no time passes: it keeps how long it was to wait."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def wait(self, payloads: Collection[str], seconds: float) -> bool:
        """Nothing was announced."""
        self.append(seconds)
        return False


class AsyncPauses(Pauses):
    """The same for asyncio."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        pass

    async def wait(self, payloads: Collection[str], seconds: float) -> bool:  # pyright: ignore
        """Nothing was announced."""
        self.append(seconds)
        return False


class ScriptedTransport:
    """Gives the next answer to each call, and keeps the calls in `sent`, the waits in `pauses`."""

    can_repeat = True
    batch_size = 500

    def __init__(self, *answers: Answer, is_user: bool = False) -> None:
        self.sent: list[Call[Any]] = []
        self.pauses = Pauses()
        self.is_user = is_user
        self._answers = list(answers)

    def send(self, call: Call[Any]) -> Rows:
        """The next answer."""
        self.sent.append(call)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def listen(self, channel: Channel) -> Pauses:
        """Nothing is ever announced."""
        return self.pauses

    def as_user(self, token: Token) -> ScriptedTransport:
        """The same script, with a user's rights."""
        user = ScriptedTransport(is_user=True)
        user.sent, user.pauses, user._answers = self.sent, self.pauses, self._answers
        return user

    def close(self) -> None:
        """There is nothing to close."""


class AsyncScriptedTransport:
    """The same for asyncio."""

    can_repeat = True
    batch_size = 500

    def __init__(self, *answers: Answer, is_user: bool = False) -> None:
        self._script = ScriptedTransport(*answers, is_user=is_user)
        self.is_user = is_user
        self.pauses = AsyncPauses()

    @property
    def sent(self) -> list[Call[Any]]:
        """The calls."""
        return self._script.sent

    async def send(self, call: Call[Any]) -> Rows:
        """The next answer."""
        return self._script.send(call)

    def listen(self, channel: Channel) -> AsyncPauses:
        """Nothing is ever announced."""
        return self.pauses

    def as_user(self, token: Token) -> AsyncScriptedTransport:
        """The same script, with a user's rights."""
        user = AsyncScriptedTransport(is_user=True)
        user._script, user.pauses = self._script, self.pauses
        return user

    async def close(self) -> None:
        """There is nothing to close."""
