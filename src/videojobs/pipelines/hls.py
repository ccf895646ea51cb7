"""The pipeline ``hls``: renditions, and beside them the same bits as an HLS package (CMAF)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import floor
from typing import TYPE_CHECKING, Literal

from videojobs.errors import ProcessingError
from videojobs.pipelines.captions import sidecar_captions
from videojobs.pipelines.graphs import Options, StreamCopy, copy_arguments
from videojobs.pipelines.plan import Machine, Plan, PlannedOutput, PlannedRun, TextFile
from videojobs.pipelines.playlists import (
    MEDIA_PLAYLIST,
    PICTURE_PLAYLIST,
    MediaPlaylist,
    SubtitleTrack,
    rates,
    read_bandwidths,
)
from videojobs.pipelines.renditions import plan_renditions
from videojobs.pipelines.verification import tolerated_shortage_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from videojobs.pipelines.settings import ProcessingSettings
    from videojobs.pipelines.source import SourceFacts, SourceLimits

#: Apple's HLS authoring specification: "target durations should be 6 seconds".
SEGMENT_SECONDS = 6.0

#: The package's folder, below that of the outputs.
PACKAGE_FOLDER = "hls"

#: One fragment for each group of pictures, so that each keyframe can be had alone; no edit list,
#: as in the MP4s, so that picture and sound begin at 0.
_PICTURE_OPTIONS: Options = {
    "c": "copy",
    "f": "mp4",
    "movflags": "+cmaf+frag_keyframe+empty_moov+default_base_moof+negative_cts_offsets"
    "+skip_trailer",
    "use_editlist": 0,
    "map_metadata": -1,
}
_SOUND_OPTIONS: Options = {
    **_PICTURE_OPTIONS,
    "movflags": "+cmaf+empty_moov+default_base_moof+skip_trailer",
    "frag_duration": 1_000_000,
}

#: Neighbouring streams may differ by less than half of a frame of 60 a second.
_BOUNDARY_SLACK_SECONDS = 0.008


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStream:
    """One folder of the package: a rung's picture in one codec, or the sound."""

    name: str
    kind: Literal["video", "audio"]
    source: PlannedOutput
    """The finished file that it is copied from."""

    @property
    def fragments_name(self) -> str:
        """What ffmpeg leaves: the stream as a fragmented MP4, to be cut into segments."""
        return f"{self.name}.fragments"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPackage:
    """What becomes of finished renditions. No picture is encoded again."""

    run: PlannedRun
    streams: tuple[PlannedStream, ...]
    segment_seconds: float = SEGMENT_SECONDS
    subtitles: tuple[SubtitleTrack, ...] = ()

    @property
    def master(self) -> PlannedOutput:
        """The playlist that a player opens; it is published last."""
        return self.run.outputs[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentFacts:
    """What an independent look at a segment found."""

    size_bytes: int
    seconds: float
    start_seconds: float
    starts_with_keyframe: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFacts:
    """What an independent look at a finished stream found."""

    name: str
    kind: Literal["video", "audio"]
    playlist: MediaPlaylist
    segments: tuple[SegmentFacts, ...]
    picture_playlist: MediaPlaylist | None = None
    error: str | None = None
    """The first thing that did not decode: a keyframe alone, the first or the last segment."""


def plan_hls(
    facts: SourceFacts,
    settings: ProcessingSettings,
    *,
    machine: Machine,
    limits: SourceLimits,
) -> Plan:
    """The renditions, then a package of them by stream copy.

    Raises:
        ProcessingError: The source cannot be used; see `usable_video`.
    """
    plan = plan_renditions(facts, settings, machine=machine, limits=limits)
    if settings.only_segment is not None:  # the film that it is a part of is packaged, once joined
        return plan
    packed = replace(plan, package=packaged(plan.outputs))
    if not facts.captions:
        return packed
    captions = TextFile("captions.vtt", sidecar_captions(facts.captions))
    track = SubtitleTrack(file_name=captions.file_name, language=settings.captions_language)
    return with_subtitles(packed, track, texts=(captions,))


def packaged(outputs: Sequence[PlannedOutput]) -> PlannedPackage:
    """How these finished files become a package; what is no video is left out."""
    videos = [output for output in outputs if output.kind == "video"]
    top = videos[0]
    streams = [PlannedStream(name=video.name, kind="video", source=video) for video in videos]
    if top.has_audio:
        streams.append(PlannedStream(name="audio", kind="audio", source=top))
    master = PlannedOutput(
        name="hls",
        file_name=f"{PACKAGE_FOLDER}/master.m3u8",
        kind="playlist",
        width=top.width,
        height=top.height,
        duration_seconds=top.duration_seconds,
        video_codec=top.video_codec,
        frame_rate=top.frame_rate,
        has_audio=top.has_audio,
    )
    run = PlannedRun(
        name="hls",
        arguments=copy_arguments([_copy(stream) for stream in streams]),
        outputs=(master,),
        duration_seconds=top.duration_seconds,
        # Demuxing, and decoding the keyframes to verify them: about 2 % of an encode.
        cost_seconds=0.01 * top.duration_seconds * sum(video.weight for video in videos),
    )
    return PlannedPackage(run=run, streams=tuple(streams))


def with_subtitles(plan: Plan, *tracks: SubtitleTrack, texts: Sequence[TextFile] = ()) -> Plan:
    """The plan with these WebVTT files of the private folder in its package.

    Those among *texts* are written there first.

    Raises:
        ValueError: Two of them are of one language.
    """
    languages = [track.language.lower() for track in tracks]
    if len(set(languages)) < len(languages):
        raise ValueError("give each subtitle track a language of its own, such as 'en' and 'en-GB'")
    if plan.package is None:
        return plan
    run = replace(plan.package.run, files=(*plan.package.run.files, *texts))
    return replace(plan, package=replace(plan.package, run=run, subtitles=tracks))


def package_error(
    package: PlannedPackage, streams: Sequence[StreamFacts], *, master: str
) -> ProcessingError | None:
    """Why the package must not be published; ``None`` when it is all that was promised."""
    problems = package_problems(package, streams, master=master)
    if not problems:
        return None
    advice = "Try again; if it happens again, report it with the source."
    return ProcessingError(
        f"the HLS package was made but is not what was promised: {'; '.join(problems)}. {advice}",
        code="invalid_output",
        retryable=True,
        advice=advice,
    )


def package_problems(
    package: PlannedPackage, streams: Sequence[StreamFacts], *, master: str
) -> tuple[str, ...]:
    """Every rule that the package breaks, in words."""
    videos = [stream for stream in streams if stream.kind == "video"]
    problems = [problem for stream in streams for problem in _stream_problems(package, stream)]
    problems += [
        f"{stream.name} is not cut where {videos[0].name} is"
        for stream in videos[1:]
        if not _is_cut_alike(stream, videos[0])
    ]
    return (*problems, *_rate_problems(streams, read_bandwidths(master)))


def _copy(stream: PlannedStream) -> StreamCopy:
    is_video = stream.kind == "video"
    # A copy loses the tag that Apple's players ask for.
    tag: Options = {"tag:v": "hvc1"} if is_video and stream.source.video_codec == "hevc" else {}
    return StreamCopy(
        source_name=stream.source.part_name,
        stream="v:0" if is_video else "a:0",
        file_name=stream.fragments_name,
        options={**(_PICTURE_OPTIONS if is_video else _SOUND_OPTIONS), **tag},
    )


def _stream_problems(package: PlannedPackage, stream: StreamFacts) -> tuple[str, ...]:
    playlist, name = stream.playlist, stream.name
    rules = (
        (stream.error is not None, f"{name} does not decode ({stream.error})"),
        (not playlist.is_complete, f"{name} has no end"),
        (len(stream.segments) != len(playlist.names), f"{name} lacks segments"),
        (_has_wrong_length(package, stream), f"{name} lasts {playlist.duration_seconds:.2f} s"),
        (_tells_wrong_lengths(stream), f"{name} has segments of other lengths than it tells"),
        (_exceeds_target(playlist), f"{name} has a segment above its target duration"),
        (
            not all(each.starts_with_keyframe for each in stream.segments),
            f"{name} has a segment that does not begin with a keyframe",
        ),
        (_lacks_pictures(stream), f"{name} has a segment without a keyframe of its own"),
    )
    return tuple(problem for is_broken, problem in rules if is_broken)


def _has_wrong_length(package: PlannedPackage, stream: StreamFacts) -> bool:
    # Sound comes in frames of 21 ms and begins with one that primes the decoder.
    expected = package.master.duration_seconds
    allowed = max(0.2, tolerated_shortage_seconds(expected))
    return abs(stream.playlist.duration_seconds - expected) > allowed


def _tells_wrong_lengths(stream: StreamFacts) -> bool:
    pairs = zip(stream.segments, stream.playlist.seconds, strict=False)
    return any(abs(segment.seconds - told) > 0.05 for segment, told in pairs)


def _exceeds_target(playlist: MediaPlaylist) -> bool:
    return any(floor(seconds + 0.5) > playlist.target_seconds for seconds in playlist.seconds)


def _lacks_pictures(stream: StreamFacts) -> bool:
    if stream.kind == "audio":
        return False
    pictures = stream.picture_playlist
    return pictures is None or set(pictures.names) != set(stream.playlist.names)


def _is_cut_alike(one: StreamFacts, other: StreamFacts) -> bool:
    places = [[each.start_seconds for each in stream.segments] for stream in (one, other)]
    return len(places[0]) == len(places[1]) and all(
        abs(first - second) <= _BOUNDARY_SLACK_SECONDS
        for first, second in zip(*places, strict=True)
    )


def _rate_problems(streams: Sequence[StreamFacts], promised: Mapping[str, int]) -> tuple[str, ...]:
    sound = sum(_measured_peak(stream) for stream in streams if stream.kind == "audio")
    videos = [stream for stream in streams if stream.kind == "video"]
    missing = [
        f"the master playlist does not name {stream.name}/{playlist}"
        for stream in videos
        for playlist in (MEDIA_PLAYLIST, PICTURE_PLAYLIST)
        if f"{stream.name}/{playlist}" not in promised
    ]
    exceeded = [
        f"{stream.name} needs more bandwidth than it tells"
        for stream in videos
        if _measured_peak(stream) + sound
        > promised.get(f"{stream.name}/{MEDIA_PLAYLIST}", float("inf"))
    ]
    pictures = [
        f"the keyframes of {stream.name} need more bandwidth than they tell"
        for stream in videos
        if stream.picture_playlist is not None
        and _picture_peak(stream.picture_playlist)
        > promised.get(f"{stream.name}/{PICTURE_PLAYLIST}", float("inf"))
    ]
    return (*missing, *exceeded, *pictures)


def _picture_peak(playlist: MediaPlaylist) -> int:
    sizes = [length for _, length in playlist.ranges]
    peak = rates(sizes, playlist.seconds, target_seconds=playlist.target_seconds).peak
    return floor(peak * 0.999)


def _measured_peak(stream: StreamFacts) -> int:
    sizes = [segment.size_bytes for segment in stream.segments]
    seconds = [segment.seconds for segment in stream.segments]
    # What is told was rounded up by one bit; lengths are told to the microsecond.
    peak = rates(sizes, seconds, target_seconds=stream.playlist.target_seconds).peak
    return floor(peak * 0.999)
