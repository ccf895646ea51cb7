"""What samples of a film needed, in its job's checkpoint: no later attempt and no segment samples again."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field, ValidationError

from videojobs.errors import ProcessingCancelledError, ProcessingError
from videojobs.pipelines.source import Complexity

if TYPE_CHECKING:
    from videojobs.attempts import Attempt
    from videojobs.pipelines.settings import ProcessingSettings
    from videojobs.processor import VideoProcessor

logger = logging.getLogger("videojobs.worker")

#: A beat goes out within a second, and is repeated if it got lost.
_PATIENCE_SECONDS = 15.0


class KeptLadder:
    """What the attempts at one job have measured, as its checkpoint tells it."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._known = _told(attempt.checkpoint)

    @property
    def arguments(self) -> Mapping[str, Any]:
        """For `VideoProcessor.process`: what is known, else who wants to know."""
        return {"on_complexity": self.keep} if self._known is None else {"complexity": self._known}

    def keep(self, complexity: Complexity) -> None:
        """The next beat tells the database."""
        self._known = complexity
        others = self._attempt.checkpoint or {}
        self._attempt.save({**others, "complexity": dataclasses.asdict(complexity)})

    def measure(
        self, processor: VideoProcessor, source: Path, settings: ProcessingSettings
    ) -> None:
        """The database knows what each rung needs, to tell it to the jobs of segments.

        If that fails, each of them looks for itself, and finds the same on the same ffmpeg.
        """
        if self._known is not None or settings.rung_kbps is not None:
            return
        try:
            self.keep(processor.measure(source, settings, cancel=self._attempt.stop))
        except ProcessingCancelledError:
            raise
        except ProcessingError as error:
            logger.warning("job %s: no sample was measured: %s", self._attempt.lease.job_id, error)
        else:
            self._attempt.wait_until_kept(_PATIENCE_SECONDS)


class _Told(BaseModel):
    """What a checkpoint says of samples."""

    kbps: dict[str, int] = Field(min_length=1)
    vmaf: float | None = None
    fixed_vmaf: float | None = None


def _told(checkpoint: Mapping[str, Any] | None) -> Complexity | None:
    try:
        told = _Told.model_validate((checkpoint or {}).get("complexity"))
    except ValidationError:  # nothing, or somebody else's checkpoint
        return None
    return Complexity(kbps=told.kbps, vmaf=told.vmaf, fixed_vmaf=told.fixed_vmaf)
