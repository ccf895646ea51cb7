"""A plan: ffmpeg runs as argument lists, and what must be true of the files they leave.

A plan is a value. It names files only by our own short names, relative to a private folder that
holds the source as `SOURCE_NAME`; so it can be compared, stored and run anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from fractions import Fraction

    from videojobs.pipelines.chosen import ChosenClip
    from videojobs.pipelines.hls import PlannedPackage
    from videojobs.pipelines.thumbnails import PlannedThumbnails
    from videojobs.profiles import VideoCodec

#: The source's name in the folder that ffmpeg runs in; never the user's file name, since
#: ffmpeg reads meaning into names (``-x``, ``a:b``, ``%d``).
SOURCE_NAME = "source"

#: Stands in an argument list for the gain, in decibels, that is known once the sound is measured.
GAIN_TOKEN = "GAIN_DECIBELS"  # noqa: S105 # a placeholder, not a secret

#: Stands for the place of a cut-out that follows the subject: a number, or an expression of ``t``.
PLACE_TOKEN = "SUBJECT_PLACE"  # noqa: S105

#: Stands for the gamma that corrects a clip's exposure.
GAMMA_TOKEN = "EXPOSURE_GAMMA"  # noqa: S105

OutputKind = Literal["video", "poster", "captions", "sprite", "thumbnails", "playlist"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the plan may count on."""

    cores: int = 2
    ffmpeg_major: int = 9
    has_tone_mapping: bool = True
    """Whether ffmpeg has zscale (zimg) and tonemap, which HDR sources need."""
    has_vmaf: bool = True
    """Whether ffmpeg has libvmaf, which tells how much a picture lost."""
    lacks_encoders: frozenset[str] = frozenset()
    """Encoders that a plan could ask for and this ffmpeg was built without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedOutput:
    """One file that a run leaves, and what verification demands of it."""

    name: str
    """Short and unique in the plan: ``clip_01``, ``720p``."""
    file_name: str
    """The final name, such as ``clip_01.mp4``."""
    kind: OutputKind = "video"
    text: str | None = None
    """What the file holds, when that is known before anything runs: captions."""
    width: int = 0
    """0 for captions."""
    height: int = 0
    duration_seconds: float = 0.0
    """0 for what does not play."""
    video_codec: VideoCodec = "h264"
    weight: float = 1.0
    """Its share of the run's work, relative to the other files of the run."""
    frame_rate: Fraction | None = None
    has_audio: bool = False
    max_size_bytes: int | None = None
    """The platform's limit."""
    keyframe_seconds: float | None = None
    """Longest allowed distance between two keyframes."""
    source_start_seconds: float | None = None
    source_end_seconds: float | None = None
    segments_key: str | None = None
    """Of a segment that is a job of its own: see `Plan.segments_key`."""
    part_of: str | None = None
    """The name of the output that this is a segment of; ``None`` for a whole one."""
    has_exact_frames: bool = False
    """Whether not one frame may lack: what follows would be shifted."""
    score: float | None = None
    """How good the part of the source is, 0 to 1; ``None`` where nothing was weighed."""
    reason: str | None = None
    """Why this part of the source was chosen."""

    @property
    def part_name(self) -> str:
        """The name while ffmpeg writes it: never mistaken for a finished file."""
        return f"{self.file_name}.part"

    @property
    def clock_name(self) -> str:
        """Where ffmpeg notes how far it has written this file, frame by frame."""
        return f"{self.name}.clock"

    @property
    def frame_count(self) -> int:
        """How many frames the file should hold."""
        return round(self.duration_seconds * (self.frame_rate or 0))


@dataclass(frozen=True, slots=True)
class SegmentList:
    """A script for ffmpeg's concat demuxer, with our own short names only."""

    file_name: str
    segments: tuple[str, ...]

    @property
    def text(self) -> str:
        """What the file holds."""
        lines = (f"file '{name}'" for name in self.segments)
        return "\n".join(("ffconcat version 1.0", *lines, ""))


@dataclass(frozen=True, slots=True)
class TextFile:
    """A small file of our own that ffmpeg reads, or that is an output as it is."""

    file_name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CropRange:
    """How far a cut-out can move within the picture, in stored pixels."""

    axis: Literal["x", "y"]
    size: int
    """Of the cut-out, along the axis."""
    room: int
    """The last place at which it is still inside."""

    @property
    def middle(self) -> int:
        """The even place nearest to the middle."""
        return self.room // 4 * 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """A run that looks at a small grey copy of the picture before it is encoded."""

    arguments: tuple[str, ...]
    frames_name: str
    """Where it leaves the pictures, one byte a pixel and nothing else."""
    cuts_name: str | None
    """Where it notes the times at which the source cuts."""
    width: int
    height: int
    span: CropRange | None
    """What is to follow the subject; ``None`` when only the exposure is wanted."""
    arguments_from_start: tuple[str, ...] | None = None
    """The same without seeking, for sources that decode badly after a seek."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What was measured before a run, and goes into its arguments."""

    gain_db: float = 0.0
    place: str = "0"
    gamma: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoudnessGoal:
    """The sound that a run aims at, and how it is measured first."""

    arguments: tuple[str, ...]
    """An ffmpeg run over the same sound with the same gain and limiter, that only measures."""
    target_lufs: float
    ceiling_dbtp: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRun:
    """One ffmpeg process."""

    name: str
    arguments: tuple[str, ...]
    """Without the executable. May hold `GAIN_TOKEN` when there is a loudness goal, and `PLACE_TOKEN`
    or `GAMMA_TOKEN` when there is a watch."""
    outputs: tuple[PlannedOutput, ...]
    duration_seconds: float
    """How much of the source it goes through."""
    cost_seconds: float
    """An estimate of its CPU time, to weigh its progress against that of other runs."""
    arguments_from_start: tuple[str, ...] | None = None
    """The same files without seeking: slow, for sources that decode badly after a seek.

    ffmpeg knows from the first frame of an H.264 4:4:4 file which fault of old x264 versions to
    make up for; after a seek it does not, and gives green pictures and exit code 0.
    """
    loudness: LoudnessGoal | None = None
    watch: Watch | None = None
    files: tuple[TextFile, ...] = ()
    """Written into the private folder before anything runs."""
    has_clocks: bool = False
    """Whether each output's progress can be read from its own clock file."""
    is_segment: bool = False
    """Whether its files are segments, which are kept for a successor and joined in the end."""
    lists: tuple[SegmentList, ...] = ()
    """What a joining run reads."""

    @property
    def frame_count(self) -> int:
        """How many frames its longest output should hold."""
        return max(output.frame_count for output in self.outputs)

    @property
    def deadline_seconds(self) -> float:
        """Wall time after which it is stopped: generous, since a busy machine is no error."""
        return 60.0 + 20.0 * self.cost_seconds + 2.0 * self.duration_seconds

    @property
    def max_output_bytes(self) -> int:
        """No output may grow beyond this: 100 Mbit/s, and room for a short one."""
        return 64_000_000 + round(self.duration_seconds * 12_500_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that will be done to one source."""

    pipeline: str
    runs: tuple[PlannedRun, ...]
    joins: tuple[PlannedRun, ...] = ()
    """What begins when all runs are done."""
    concurrency: int = 1
    """How many runs go on at the same time."""
    warnings: tuple[str, ...] = ()
    segments_key: str = ""
    """Names what the segments of a long film are: those of an equal key fit together."""
    clips: tuple[ChosenClip, ...] = ()
    """Which parts of the source become clips, with scores and reasons, in the source's order."""
    thumbnails: PlannedThumbnails | None = None
    package: PlannedPackage | None = None
    """What becomes of the films of `runs`, or of `joins`, once they are verified."""

    @property
    def finishing(self) -> tuple[PlannedRun, ...]:
        """The runs that work on the verified films, one after the other."""
        return tuple(each.run for each in (self.thumbnails, self.package) if each is not None)

    @property
    def steps(self) -> tuple[PlannedRun, ...]:
        """Every run, then what joins their files, and then `finishing`."""
        return (*self.runs, *self.joins, *self.finishing)

    @property
    def outputs(self) -> tuple[PlannedOutput, ...]:
        """Every file that will be there in the end, in order; a package by its first playlist."""
        return tuple(output for run in self.steps if not run.is_segment for output in run.outputs)

    @property
    def cost_seconds(self) -> float:
        """An estimate of the CPU time of all runs."""
        return sum(run.cost_seconds for run in self.steps)

    @property
    def segment_numbers(self) -> tuple[int, ...]:
        """Those that the runs make, from 1 on; none where all is made in one piece."""
        return tuple(number for number, run in enumerate(self.runs, start=1) if run.is_segment)

    def commands(
        self, ffmpeg: str = "ffmpeg", *, gain_db: float = 0.0
    ) -> tuple[tuple[str, ...], ...]:
        """The bare command lines, in order, to be run in a folder that holds `SOURCE_NAME`.

        What a watch would find is taken as the middle of the picture and an exposure that is right.
        """
        return tuple(
            (ffmpeg, *with_findings(arguments, Findings(gain_db=gain_db, place=_middle(run))))
            for run in self.steps
            for arguments in _all_arguments(run)
        )


def runs_at_once(machine: Machine, runs: int) -> int:
    """Two at a time with one thread each beat one with two threads by 12 %; beyond, half the cores."""
    return max(1, min(runs, max(min(machine.cores, 2), machine.cores // 2)))


def with_findings(arguments: tuple[str, ...], findings: Findings) -> tuple[str, ...]:
    """The argument list with what was measured in place of the tokens."""
    return tuple(
        argument.replace(GAIN_TOKEN, f"{findings.gain_db:.2f}")
        .replace(PLACE_TOKEN, findings.place)
        .replace(GAMMA_TOKEN, f"{findings.gamma:.3f}")
        for argument in arguments
    )


def _middle(run: PlannedRun) -> str:
    return str(run.watch.span.middle if run.watch and run.watch.span else 0)


def _all_arguments(run: PlannedRun) -> tuple[tuple[str, ...], ...]:
    looks = (*((run.watch,) if run.watch else ()), *((run.loudness,) if run.loudness else ()))
    return (*(look.arguments for look in looks), run.arguments)
