"""A backend that creates jobs through the chaos, and repeats each create until it succeeds."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self
from uuid import UUID

from chaos.history import Wish
from chaos.videos import any_source
from videojobs import (
    InvalidTransitionError,
    NewVideoJob,
    SupabaseConnectionError,
    VideoJobManager,
    VideoJobsError,
)

_PATIENCE_SECONDS = 60.0
"""For the last create, after the faults."""
_SHARE_CANCELLED = 0.12
_WIDTHS = (90, 720, 1080)
"""Of the outputs: from half a second of work to several."""
_MAX_ATTEMPTS = 10
"""Enough that no job runs out of them by the faults alone."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """Whose jobs they are."""

    user_id: UUID
    team_id: UUID | None = None


class Client:
    """A thread that creates a job every now and then, and cancels some."""

    def __init__(
        self,
        name: str,
        manager: VideoJobManager,
        tenants: Sequence[Tenant],
        *,
        pause_seconds: float,
        seed: str,
    ) -> None:
        self._name = name
        self._manager = manager
        self._tenants = tenants
        self._pause_seconds = pause_seconds
        self._chance = random.Random(seed)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._wishes: list[Wish] = []
        self.problems: list[str] = []
        self.repeats = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.set()

    @property
    def wishes(self) -> tuple[Wish, ...]:
        """The jobs that it was told are stored."""
        return tuple(self._wishes)

    def finish(self) -> None:
        """The last create has succeeded, and no other follows."""
        self._end.set()
        self._thread.join(_PATIENCE_SECONDS)
        if self._thread.is_alive():
            self.problems.append(f"client {self._name} hangs, with {len(self._wishes)} jobs made")

    def _run(self) -> None:
        while not self._end.wait(self._pause_seconds * self._chance.uniform(0.5, 1.5)):
            self._create()
            if self._chance.random() < _SHARE_CANCELLED:
                self._end.wait(self._chance.uniform(0, 2))
                count = len(self._wishes)
                self._cancel(self._chance.randrange(max(0, count - 4), count))

    def _create(self) -> None:
        source, tenant = any_source(self._chance), self._chance.choice(self._tenants)
        width = self._chance.choice(_WIDTHS)
        job = NewVideoJob(
            user_id=tenant.user_id,
            team_id=tenant.team_id,
            idempotency_key=f"{self._name}-{len(self._wishes)}",
            source_url=source.url,
            clip_count=1,
            quality_preset="draft",
            max_attempts=_MAX_ATTEMPTS,
            settings={"clip_width": width, "clip_height": width * 16 // 9},
        )
        while (job_id := self._tried(lambda: self._manager.create_job(job).id)) is None:
            self.repeats += 1
        self._wishes.append(
            Wish(key=job.idempotency_key, job_id=job_id, expected_error=source.expected_error)
        )

    def _cancel(self, place: int) -> None:
        """Once: whether it arrives, nobody knows, so that any ending is right from now on."""
        wish = self._wishes[place] = replace(self._wishes[place], cancel_was_asked=True)
        with contextlib.suppress(InvalidTransitionError):
            self._tried(lambda: self._manager.cancel_job(wish.job_id, reason="chaos").id)

    def _tried(self, call: Callable[[], UUID]) -> UUID | None:
        """What the call gives; none if it got no answer. Any other error is a problem."""
        try:
            return call()
        except SupabaseConnectionError:
            return None
        except InvalidTransitionError:
            raise
        except VideoJobsError as error:
            self.problems.append(f"client {self._name}: {type(error).__name__}: {error}")
            return None
