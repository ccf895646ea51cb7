"""Looks through a source with ffmpeg and reads the notes that it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from videojobs.media.notes import kept_notes, note_pipes
from videojobs.media.runner import RunLimits, run_ffmpeg
from videojobs.models import QualityPreset
from videojobs.pipelines.analysis import (
    LEVEL_NOTES,
    LOUDNESS_NOTES,
    PICTURE_NOTES,
    AnalysisRun,
    SourceAnalysis,
    plan_analysis,
    plan_closer_look,
    read_analysis,
    with_closer_look,
)
from videojobs.pipelines.choosing import choose_clips, parts_to_refine
from videojobs.pipelines.failures import StopReason, run_error
from videojobs.pipelines.source import can_seek

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from videojobs.pipelines.settings import ProcessingSettings
    from videojobs.pipelines.source import SourceFacts

#: What the first pass is of the whole, where parts of the source are looked at again.
_FIRST_PASS = 0.8


class Analyser:
    """Analyses one source, which lies as `SOURCE_NAME` in a private folder."""

    def __init__(
        self,
        facts: SourceFacts,
        settings: ProcessingSettings,
        *,
        ffmpeg: str,
        folder: Path,
        threads: int,
        should_stop: Callable[[], bool] = lambda: False,
        on_fraction: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._facts = facts
        self._settings = settings
        self._ffmpeg = ffmpeg
        self._folder = folder
        self._threads = threads
        self._should_stop = should_stop
        self._on_fraction = on_fraction

    @property
    def cost_seconds(self) -> float:
        """An estimate of the CPU time, to weigh it against that of encoding."""
        return self._run.cost_seconds

    def perform(self) -> SourceAnalysis:
        """The source over time.

        A long source has its keyframes looked at first, and then every frame near the edges of
        what `choose_clips` would take.

        Raises:
            ProcessingError: ffmpeg failed on it, or it ends early (``truncated_source``).
            ProcessingCancelledError: It was to stop.
        """
        run = self._run
        looks_again = not run.is_exact and self._is_worth_another_look
        self._take_notes(run, until=_FIRST_PASS if looks_again else 1.0)
        with (
            kept_notes(self._folder, PICTURE_NOTES) as picture,
            kept_notes(self._folder, LOUDNESS_NOTES) as loudness,
            kept_notes(self._folder, LEVEL_NOTES) as levels,
        ):
            analysis = read_analysis(
                self._facts, run, picture=picture, loudness=loudness, levels=levels
            )
        return self._refined(analysis) if looks_again else analysis

    @property
    def _run(self) -> AnalysisRun:
        return plan_analysis(self._facts, self._settings, threads=self._threads)

    @property
    def _is_worth_another_look(self) -> bool:
        is_draft = self._settings.quality_preset is QualityPreset.DRAFT
        return not is_draft and can_seek(self._facts)

    def _refined(self, analysis: SourceAnalysis) -> SourceAnalysis:
        likely = choose_clips(analysis, self._settings)
        spans = parts_to_refine(analysis, likely)
        for number, span in enumerate(spans, start=1):
            run = plan_closer_look(self._facts, span, threads=self._threads)
            self._take_notes(run)
            with kept_notes(self._folder, PICTURE_NOTES) as picture:
                analysis = with_closer_look(analysis, run, picture)
            self._on_fraction(_FIRST_PASS + (1 - _FIRST_PASS) * number / len(spans))
        return analysis

    def _take_notes(self, run: AnalysisRun, *, until: float | None = None) -> None:
        seconds = run.span.duration_seconds
        with note_pipes(self._folder, run.notes, max_bytes=run.max_notes_bytes):
            report = run_ffmpeg(
                (self._ffmpeg, *run.arguments),
                folder=self._folder,
                limits=RunLimits(
                    expected_seconds=seconds,
                    deadline_seconds=run.deadline_seconds,
                    max_output_bytes=run.max_notes_bytes,
                ),
                should_stop=self._should_stop,
                on_block=lambda block: self._tell(block.out_seconds / seconds, until),
            )
        if report.exit_code != 0 or report.stopped is not None:
            raise run_error(
                "the analysis",
                exit_code=report.exit_code,
                stderr=report.stderr,
                stopped=report.stopped or self._late_cancel(),
            )

    def _tell(self, share: float, until: float | None) -> None:
        if until is not None:
            self._on_fraction(until * min(1.0, share))

    def _late_cancel(self) -> StopReason | None:
        # Somebody's Ctrl-C reaches ffmpeg and us; we are asked which of the two it was.
        return StopReason.CANCELLED if self._should_stop() else None
