"""From ffmpeg's ``-progress`` to a percentage that never goes back. No clock: callers pass times."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from videojobs.pipelines.plan import Plan, PlannedOutput, PlannedRun

#: Shares of one run's progress, from measured costs: following a subject 12 %, loudness 4 %, cheap
#: verification about 2 %.
_WATCH_SHARE = 0.12
_MEASURE_SHARE = 0.04
_VERIFY_SHARE = 0.02

#: The percentage after the probe, and before the files get their final names.
PROBED_PERCENT, _VERIFIED = 1, 99

_LONGEST_LINE = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a job is. `percent` never goes back, and is 100 only when all files are in place."""

    percent: int
    stage: str
    """``probing``, ``analysing``, ``sampling``, ``encoding``, ``verifying``, ``joining``,
    ``packaging``, ``publishing`` or ``done``."""
    detail: Mapping[str, int] = field(default_factory=dict[str, int])
    """Percent by output name, such as ``{"clip_01": 40}``; a poster from its video's run comes
    with that."""
    speed: float | None = None
    """Seconds of source per second of time, over all runs."""
    eta_seconds: float | None = None
    """A guess of the seconds that remain; ``None`` before there is ground for one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressBlock:
    """One report of ffmpeg's."""

    out_seconds: float
    """The most advanced output's time; 0 before the first frame."""
    frame: int
    total_size: int
    is_last: bool

    @property
    def mark(self) -> tuple[float, int, int]:
        """Changes when, and only when, something was done."""
        return self.out_seconds, self.frame, self.total_size


class ProgressParser:
    """Reads ``key=value`` lines as they come, in pieces of any size."""

    def __init__(self) -> None:
        self._rest = b""
        self._values: dict[str, str] = {}

    def feed(self, data: bytes) -> list[ProgressBlock]:
        """The reports that these bytes complete."""
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[-_LONGEST_LINE:]
        blocks = [self._line(line.decode("ascii", "replace").strip()) for line in lines]
        return [block for block in blocks if block is not None]

    def _line(self, line: str) -> ProgressBlock | None:
        key, _, value = line.partition("=")
        if key != "progress":
            self._values[key] = value.strip()
            return None
        values, self._values = self._values, {}
        return ProgressBlock(
            # out_time_ms holds microseconds too; both are N/A or negative before the first frame.
            out_seconds=max(0, _whole(values.get("out_time_us"))) / 1e6,
            frame=_whole(values.get("frame")),
            total_size=_whole(values.get("total_size")),
            is_last=value == "end",
        )


def _whole(text: str | None) -> int:
    try:
        return int(text or 0)
    except ValueError:
        return 0


@dataclass(slots=True, kw_only=True)
class StallWatch:
    """Notices a run that goes on printing but does not move.

    ffmpeg 7 and later print every half second while stalled: watch the advance, not the lines.
    """

    expected_seconds: float
    first_frame_seconds: float = 120.0
    """Patience until the first advance."""
    advance_seconds: float = 60.0
    """Patience between two advances."""
    _mark: tuple[float, int, int] = (0.0, 0, 0)
    _since: float | None = None

    def saw(self, block: ProgressBlock, *, now: float) -> None:
        """Note a report."""
        if block.mark != self._mark:
            self._mark, self._since = block.mark, now

    def is_stalled(self, *, now: float) -> bool:
        """Whether patience is at its end."""
        if self._since is None:
            self._since = now
        return now - self._since > self._patience

    @property
    def _patience(self) -> float:
        out_seconds, _, total_size = self._mark
        if self._mark == (0.0, 0, 0):
            return self.first_frame_seconds
        if out_seconds >= self.expected_seconds - 1:
            # The file is rewritten to put the index first, without a word: 50 MB/s at the least.
            return self.advance_seconds + total_size / 50e6
        return self.advance_seconds


class ProgressTracker:
    """Adds up the runs of a plan, each by its cost, to one `Progress`."""

    def __init__(
        self, plan: Plan, *, started_at: float, first_percent: int = PROBED_PERCENT
    ) -> None:
        self._plan = plan
        self._first_percent = first_percent
        self._started_at = started_at
        self._fractions: dict[str, float] = {run.name: 0.0 for run in plan.steps}
        self._encoded_seconds: dict[str, float] = {}
        self._verified: set[str] = set()
        self._restored_share = 0.0
        self._detail = {output.name: 0 for output in plan.outputs if not _comes_along(output, plan)}
        self._segment_seconds: dict[str, dict[str, float]] = {}
        """How much of each output's segments is done, by their names."""
        self._whole_seconds = {output.name: output.duration_seconds for output in plan.outputs}
        self._percent = first_percent

    def watched(self, run: PlannedRun) -> None:
        """The run's picture was looked at."""
        self._raise(run, _watch_share(run))

    def measured(self, run: PlannedRun) -> None:
        """The run's sound was measured."""
        self._raise(run, _share_before(run))

    def encoded(self, run: PlannedRun, seconds: Mapping[str, float]) -> None:
        """Each output of the run has come so far."""
        done = {name: _fraction(value, run.duration_seconds) for name, value in seconds.items()}
        before = _share_before(run)
        mean = _weighed(run, done)
        self._raise(run, before + mean * (1 - before - _VERIFY_SHARE))
        if run in self._plan.runs:
            self._encoded_seconds[run.name] = mean * run.duration_seconds
        for output in run.outputs:
            self._note(output, done.get(output.name, 0.0))

    def verified(self, run: PlannedRun) -> None:
        """The run's files are all that they should be."""
        self._raise(run, 1.0)
        self._verified.add(run.name)
        for output in run.outputs:
            self._note(output, 1.0, is_verified=True)

    def restored(self, run: PlannedRun) -> None:
        """An earlier attempt had made the run's files."""
        self.verified(run)
        self._restored_share += run.cost_seconds / max(self._plan.cost_seconds, 1e-9)

    def now(self, now: float) -> Progress:
        """The state of things."""
        total = sum(run.cost_seconds * self._fractions[run.name] for run in self._plan.steps)
        share = total / max(self._plan.cost_seconds, 1e-9)
        first = self._first_percent
        self._percent = max(self._percent, int(first + share * (_VERIFIED - first)))
        elapsed = max(now - self._started_at, 1e-6)
        worked = share - self._restored_share
        return Progress(
            percent=self._percent,
            stage=self._stage(),
            detail=dict(self._detail),
            speed=round(sum(self._encoded_seconds.values()) / elapsed, 2) or None,
            eta_seconds=round(elapsed * (1 - share) / worked, 1) if worked > 0.02 else None,
        )

    def finished(self, now: float) -> Progress:
        """Every file has its final name."""
        last = self.now(now)
        return Progress(
            percent=100, stage="done", detail=last.detail, speed=last.speed, eta_seconds=0.0
        )

    def _stage(self) -> str:
        waiting = [run for run in self._plan.steps if run.name not in self._verified]
        if not waiting:
            return "publishing"
        if all(run in self._plan.finishing for run in waiting):
            return "packaging"
        if not any(run in self._plan.runs for run in waiting):
            return "joining"
        waiting = [run for run in waiting if run not in self._plan.finishing]
        encoded = all(self._fractions[run.name] >= 1 - _VERIFY_SHARE - 1e-9 for run in waiting)
        return "verifying" if encoded else "encoding"

    def _raise(self, run: PlannedRun, fraction: float) -> None:
        self._fractions[run.name] = max(self._fractions[run.name], fraction)

    def _note(self, output: PlannedOutput, fraction: float, *, is_verified: bool = False) -> None:
        if output.part_of is None:
            self._raise_detail(output.name, 100 if is_verified else int(fraction * _VERIFIED))
            return
        segments = self._segment_seconds.setdefault(output.part_of, {})
        segments[output.name] = fraction * output.duration_seconds
        share = _fraction(sum(segments.values()), self._whole_seconds[output.part_of])
        self._raise_detail(output.part_of, int(share * _VERIFIED))

    def _raise_detail(self, name: str, percent: int) -> None:
        if name in self._detail:
            self._detail[name] = max(self._detail[name], percent)


def _comes_along(output: PlannedOutput, plan: Plan) -> bool:
    """Whether it is a poster from the run of a video: it is there at once when that is."""
    return output.kind == "poster" and any(
        output in run.outputs and len(run.outputs) > 1 for run in plan.steps
    )


def _share_before(run: PlannedRun) -> float:
    return _watch_share(run) + (_MEASURE_SHARE if run.loudness else 0.0)


def _watch_share(run: PlannedRun) -> float:
    return _WATCH_SHARE if run.watch and run.watch.span else 0.0


def _weighed(run: PlannedRun, done: Mapping[str, float]) -> float:
    """How much of the run's work is done: a large picture counts for more than a small one."""
    weights = {output.name: output.weight for output in run.outputs if output.name in done}
    whole = sum(weights.values())
    return sum(done[name] * weight / whole for name, weight in weights.items())


def _fraction(seconds: float, whole: float) -> float:
    return min(1.0, max(0.0, seconds / whole)) if whole > 0 else 0.0
