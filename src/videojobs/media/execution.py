"""Carries out a plan in a private folder: measures, encodes and verifies, run by run."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
import time
from concurrent.futures import FIRST_EXCEPTION, Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from videojobs.errors import ProcessingCancelledError, ProcessingError
from videojobs.media.packaging import make_package
from videojobs.media.runner import RunLimits, RunReport, run_ffmpeg
from videojobs.media.watching import seen_in
from videojobs.pipelines.captions import font_error, glyph_warning
from videojobs.pipelines.failures import StopReason, damage_error, run_error
from videojobs.pipelines.graphs import SourceInput, measure_arguments
from videojobs.pipelines.loudness import (
    Loudness,
    corrected_gain,
    first_gain,
    loudness_error,
    loudness_warning,
    needs_another_look,
    read_loudness,
)
from videojobs.pipelines.plan import (
    Findings,
    LoudnessGoal,
    Plan,
    PlannedOutput,
    PlannedRun,
    Watch,
    with_findings,
)
from videojobs.pipelines.progress import (
    PROBED_PERCENT,
    Progress,
    ProgressBlock,
    ProgressTracker,
)
from videojobs.pipelines.thumbnails import thumbnail_track
from videojobs.pipelines.verification import OutputFacts, is_decoded_whole, output_error

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from pathlib import Path

    from videojobs.media.inspector import Inspector

logger = logging.getLogger("videojobs.processor")


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeOutput:
    """A verified file, still under its private name."""

    planned: PlannedOutput
    path: Path
    size_bytes: int
    facts: OutputFacts | None
    """``None`` for text, of which nothing is to be found out about."""
    sha256: str
    loudness: Loudness | None = None
    companions: tuple[str, ...] = ()
    """Files of the folder that belong to it and are published before it, by their own names."""
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """More facts about it, for people."""

    @property
    def duration_seconds(self) -> float:
        """0 for what does not play."""
        return 0.0 if self.facts is None else self.facts.duration_seconds


class SegmentKeeper(Protocol):
    """Keeps finished segments where a successor of this attempt finds them."""

    def keep(self, key: str, name: str, files: Mapping[str, Path]) -> None:
        """The segment's files are safe. They may still be read at their paths.

        Raises:
            ProcessingError: They are not; the work goes on without.
        """
        ...

    def restore(self, key: str, name: str, files: Mapping[str, Path]) -> bool:
        """Whether the segment was kept under the same *key*; then its files are at these paths.

        Raises:
            ProcessingError: It was, but cannot be had now; it is made again.
        """
        ...


class Execution:
    """One plan being carried out. Everything is stopped when one run fails."""

    def __init__(
        self,
        plan: Plan,
        *,
        ffmpeg: str,
        folder: Path,
        inspector: Inspector,
        should_stop: Callable[[], bool],
        report: Callable[[Progress], None],
        keeper: SegmentKeeper | None = None,
        first_percent: int = PROBED_PERCENT,
    ) -> None:
        self._plan = plan
        self._keeper = keeper
        self._ffmpeg = ffmpeg
        self._folder = folder
        self._inspector = inspector
        self._should_stop = should_stop
        self._report = report
        self._abort = threading.Event()
        self._lock = threading.Lock()
        self._tracker = ProgressTracker(
            plan, started_at=time.monotonic(), first_percent=first_percent
        )
        self._told: Progress | None = None
        self._warnings: list[str] = []

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was noticed on the way."""
        return tuple(sorted(self._warnings))

    def perform(self) -> tuple[MadeOutput, ...]:
        """Every output of the plan, verified, in the plan's order.

        Raises:
            ProcessingError: The first failure; the other runs were ended.
            ProcessingCancelledError: It was to stop.
        """
        made = [*self._perform_all(self._plan.runs), *self._perform_all(self._plan.joins)]
        films = tuple(each for each in made if each.planned.part_of is None)
        return (*films, *self._thumbnails(films), *self._packaged())

    def finish(self) -> None:
        """The files have their final names: tell it."""
        self._tell(self._tracker.finished(time.monotonic()))

    def _perform_all(self, runs: Sequence[PlannedRun]) -> list[MadeOutput]:
        """Runs go on while finished files are verified; the longest begin first.

        A short one that is left for the end keeps the fewest cores idle.
        """
        outcomes = {run.name: Future[tuple[MadeOutput, ...]]() for run in runs}
        with (
            ThreadPoolExecutor(self._checks_at_once, thread_name_prefix="verify") as checkers,
            ThreadPoolExecutor(self._plan.concurrency, thread_name_prefix="encode") as encoders,
        ):
            try:
                for run in sorted(runs, key=lambda run: -run.cost_seconds):
                    encoders.submit(self._perform_run, run, checkers, outcomes[run.name])
                wait(outcomes.values(), return_when=FIRST_EXCEPTION)
            finally:
                if not all(map(_succeeded, outcomes.values())):
                    self._abort.set()
        return [made for outputs in _results(list(outcomes.values())) for made in outputs]

    @property
    def _checks_at_once(self) -> int:
        """Verifying a clip takes less than a tenth of the time of its encode."""
        return max(1, self._plan.concurrency // 2)

    def _perform_run(
        self, run: PlannedRun, checkers: Executor, outcome: Future[tuple[MadeOutput, ...]]
    ) -> None:
        with _told(outcome):
            if run.is_segment and (restored := self._restored(run)):
                self._advance(lambda: self._tracker.restored(run))
                outcome.set_result(restored)
                return
            findings = self._make(run)
            checkers.submit(self._check, run, findings, outcome)

    def _make(self, run: PlannedRun) -> Findings:
        """The run's files are there, to be verified."""
        self._write_texts(run)
        findings = self._findings(run)
        report = self._encode(run, run.arguments, findings)
        if report.damaged_frames and run.arguments_from_start:
            report = self._encode(run, run.arguments_from_start, findings)
        self._judge_damage(run, report)
        self._judge_captions(run, report)
        return findings

    def _check(
        self, run: PlannedRun, findings: Findings, outcome: Future[tuple[MadeOutput, ...]]
    ) -> None:
        with _told(outcome):
            if self._must_stop():
                raise ProcessingCancelledError(f"{run.name} was cancelled")
            made = tuple(self._verified(run, output, findings.gain_db) for output in run.outputs)
            if run.is_segment:
                self._keep(run)
            self._advance(lambda: self._tracker.verified(run))
            outcome.set_result(made)

    def _restored(self, run: PlannedRun) -> tuple[MadeOutput, ...]:
        """The segment of an earlier attempt, if it was kept and is all that it should be."""
        if self._keeper is None or self._must_stop():
            return ()
        try:
            found = self._keeper.restore(self._plan.segments_key, run.name, self._files(run))
            return (
                tuple(self._verified(run, output, 0.0) for output in run.outputs) if found else ()
            )
        except ProcessingError as error:
            logger.warning("%s was kept but cannot be used, it is made again: %s", run.name, error)
            for path in self._files(run).values():
                path.unlink(missing_ok=True)
            return ()

    def _keep(self, run: PlannedRun) -> None:
        if self._keeper is None or self._must_stop():
            return
        try:
            self._keeper.keep(self._plan.segments_key, run.name, self._files(run))
        except ProcessingError as error:
            logger.warning("%s could not be kept for a later attempt: %s", run.name, error)

    def _files(self, run: PlannedRun) -> dict[str, Path]:
        return {output.file_name: self._folder / output.part_name for output in run.outputs}

    def _thumbnails(self, made: tuple[MadeOutput, ...]) -> tuple[MadeOutput, ...]:
        planned = self._plan.thumbnails
        if planned is None:
            return ()
        self._encode(planned.run, planned.run.arguments, Findings())
        sheet = self._verified(planned.run, planned.sheet, 0.0)
        path = self._folder / planned.track.part_name
        path.write_text(thumbnail_track(planned, made[0].duration_seconds))
        self._advance(lambda: self._tracker.verified(planned.run))
        return sheet, _made(planned.track, path)

    def _packaged(self) -> tuple[MadeOutput, ...]:
        package = self._plan.package
        if package is None:
            return ()
        self._write_texts(package.run)
        self._encode(package.run, package.run.arguments, Findings())
        made = make_package(package, folder=self._folder, inspector=self._inspector)
        self._advance(lambda: self._tracker.verified(package.run))
        master = self._folder / package.master.file_name
        return (
            MadeOutput(
                planned=package.master,
                path=master,
                size_bytes=made.facts.size_bytes,
                facts=made.facts,
                sha256=_sha256(master),
                companions=made.file_names,
                details=made.details,
            ),
        )

    def _write_texts(self, run: PlannedRun) -> None:
        for each in (*run.lists, *run.files):
            (self._folder / each.file_name).write_text(each.text, encoding="utf-8")

    def _findings(self, run: PlannedRun) -> Findings:
        """What is measured before the run."""
        watched = Findings()
        if run.watch is not None:
            watched = self._watched(run, run.watch)
        gain_db = self._measured_gain(run, run.loudness) if run.loudness else 0.0
        return replace(watched, gain_db=gain_db)

    def _watched(self, run: PlannedRun, watch: Watch) -> Findings:
        report = self._run(run.name, watch.arguments, limits=_limits(run))
        if report.damaged_frames and watch.arguments_from_start:
            if watch.cuts_name:  # without a cut, it would not be written anew
                (self._folder / watch.cuts_name).unlink(missing_ok=True)
            self._run(run.name, watch.arguments_from_start, limits=_limits(run))
        found = seen_in(self._folder, watch, run.outputs[0], self._must_stop)
        self._advance(lambda: self._tracker.watched(run))
        return found

    def _encode(self, run: PlannedRun, arguments: tuple[str, ...], findings: Findings) -> RunReport:
        return self._run(
            run.name,
            with_findings(arguments, findings),
            limits=_limits(run),
            on_block=lambda block: self._encoded(run, block),
        )

    def _measured_gain(self, run: PlannedRun, goal: LoudnessGoal) -> float:
        measured = self._measure(run.name, with_findings(goal.arguments, Findings()), _limits(run))
        gain_db = first_gain(measured, goal)
        if needs_another_look(measured, goal, gain_db):
            limited = self._measure(
                run.name, with_findings(goal.arguments, Findings(gain_db=gain_db)), _limits(run)
            )
            gain_db = corrected_gain(gain_db, limited, goal)
        self._advance(lambda: self._tracker.measured(run))
        return gain_db

    def _measure(self, name: str, arguments: tuple[str, ...], limits: RunLimits) -> Loudness:
        report = self._run(name, arguments, limits=limits)
        loudness = read_loudness(report.stderr)
        if loudness is None:
            raise run_error(name, exit_code=report.exit_code, stderr=report.stderr)
        return loudness

    def _run(
        self,
        name: str,
        arguments: tuple[str, ...],
        *,
        limits: RunLimits,
        on_block: Callable[[ProgressBlock], None] = lambda _: None,
    ) -> RunReport:
        report = run_ffmpeg(
            (self._ffmpeg, *arguments),
            folder=self._folder,
            limits=limits,
            should_stop=self._must_stop,
            on_block=on_block,
        )
        if report.exit_code != 0 or report.stopped is not None:
            raise run_error(
                name,
                exit_code=report.exit_code,
                stderr=report.stderr,
                stopped=report.stopped or self._late_cancel(),
            )
        return report

    def _verified(self, run: PlannedRun, output: PlannedOutput, gain_db: float) -> MadeOutput:
        path = self._folder / output.part_name
        if output.text is not None:
            path.write_text(output.text, encoding="utf-8")
            return _made(output, path)
        if not path.exists():
            raise ProcessingError(
                f"ffmpeg ended well but did not write {output.file_name}. Try again",
                code="invalid_output",
                retryable=True,
            )
        decode_seconds = output.duration_seconds if is_decoded_whole(output) else None
        facts = self._inspector.output(path, output.kind, decode_seconds=decode_seconds)
        if error := output_error(output, facts):
            raise error
        loudness = self._achieved(output, run.loudness, gain_db) if run.loudness else None
        return _made(output, path, facts=facts, loudness=loudness)

    def _achieved(
        self, output: PlannedOutput, goal: LoudnessGoal, gain_db: float
    ) -> Loudness | None:
        """The loudness of the finished file, by the same meter; ``None`` when it is silent."""
        if not output.has_audio:
            return None
        source = SourceInput(duration_seconds=output.duration_seconds + 1, audio_index=1)
        arguments = measure_arguments(source, audio=(), file_name=output.part_name)
        achieved = self._measure(output.name, arguments, _audio_limits(output))
        if error := loudness_error(output.name, achieved, goal, gain_db):
            raise error
        if warning := loudness_warning(output.name, achieved, goal):
            self._warn(warning)
        # The meter's floor of -70 LUFS is no loudness.
        return None if achieved.is_silent else achieved

    def _encoded(self, run: PlannedRun, block: ProgressBlock) -> None:
        seconds = {
            output.name: self._clock(run, output, block)
            for output in run.outputs
            if output.kind != "poster"
        }
        self._advance(lambda: self._tracker.encoded(run, seconds))

    def _clock(self, run: PlannedRun, output: PlannedOutput, block: ProgressBlock) -> float:
        if not run.has_clocks:
            return block.out_seconds
        return _last_number(self._folder / output.clock_name)

    def _advance(self, change: Callable[[], None]) -> None:
        with self._lock:
            change()
            self._tell(self._tracker.now(time.monotonic()))

    def _tell(self, progress: Progress) -> None:
        if self._told is None or _news(progress) != _news(self._told):
            self._told = progress
            self._report(progress)

    def _judge_damage(self, run: PlannedRun, report: RunReport) -> None:
        if damage := damage_error(run, report.damaged_frames, report.stderr):
            raise damage
        if report.damaged_frames:
            self._warn(
                f"{run.name}: {report.damaged_frames} pictures of the source are damaged and may "
                "show errors"
            )

    def _judge_captions(self, run: PlannedRun, report: RunReport) -> None:
        if error := font_error(run.name, report.stderr):
            raise error
        if warning := glyph_warning(run.name, report.stderr):
            self._warn(warning)

    def _warn(self, warning: str) -> None:
        with self._lock:
            self._warnings.append(warning)

    def _must_stop(self) -> bool:
        return self._abort.is_set() or self._should_stop()

    def _late_cancel(self) -> StopReason | None:
        # Somebody's Ctrl-C reaches ffmpeg and us; we are asked which of the two it was.
        return StopReason.CANCELLED if self._must_stop() else None


@contextlib.contextmanager
def _told(outcome: Future[tuple[MadeOutput, ...]]) -> Generator[None]:
    """Whoever waits for the outcome is told of a failure."""
    try:
        yield
    except BaseException as error:  # noqa: BLE001 # raised where the outcome is read
        outcome.set_exception(error)


def _made(
    output: PlannedOutput,
    path: Path,
    *,
    facts: OutputFacts | None = None,
    loudness: Loudness | None = None,
) -> MadeOutput:
    return MadeOutput(
        planned=output,
        path=path,
        size_bytes=path.stat().st_size,
        facts=facts,
        sha256=_sha256(path),
        loudness=loudness,
    )


def _results(
    futures: list[Future[tuple[MadeOutput, ...]]],
) -> list[tuple[MadeOutput, ...]]:
    errors = [error for future in futures if (error := future.exception()) is not None]
    # The runs that were ended on account of the first failure report a cancellation.
    causes = [error for error in errors if not isinstance(error, ProcessingCancelledError)]
    for error in (*causes, *errors):
        raise error
    return [future.result() for future in futures]


def _succeeded(future: Future[tuple[MadeOutput, ...]]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _limits(run: PlannedRun) -> RunLimits:
    return RunLimits(
        expected_seconds=run.duration_seconds,
        deadline_seconds=run.deadline_seconds + _decoded_before(run),
        max_output_bytes=run.max_output_bytes,
    )


def _decoded_before(run: PlannedRun) -> float:
    """Time for all that lies before the run, should the source not decode after a seek."""
    return max(output.source_start_seconds or 0.0 for output in run.outputs)


def _audio_limits(output: PlannedOutput) -> RunLimits:
    return RunLimits(
        expected_seconds=output.duration_seconds,
        deadline_seconds=60 + output.duration_seconds,
        max_output_bytes=1_000_000,
    )


def _news(progress: Progress) -> tuple[int, str, Mapping[str, int]]:
    return progress.percent, progress.stage, progress.detail


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _last_number(path: Path) -> float:
    """The last whole line of a file that is being written; 0 before the first."""
    with contextlib.suppress(OSError, ValueError), path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 64))
        lines = file.read().split(b"\n")
        return float(lines[-2]) if len(lines) > 1 else 0.0
    return 0.0
