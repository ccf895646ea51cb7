"""Makes an HLS package of what ffmpeg left: cuts segments, writes playlists, and verifies it all."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from videojobs.errors import ProcessingError
from videojobs.pipelines.hls import (
    PACKAGE_FOLDER,
    PlannedPackage,
    PlannedStream,
    StreamFacts,
    package_error,
)
from videojobs.pipelines.playlists import (
    INIT_NAME,
    MEDIA_PLAYLIST,
    PICTURE_PLAYLIST,
    AudioTrack,
    Rates,
    Segment,
    SubtitleTrack,
    Variant,
    codec_string,
    grouped,
    master_playlist,
    media_playlist,
    picture_playlist,
    rates,
    read_media_playlist,
    subtitle_playlist,
    target_duration,
)
from videojobs.pipelines.verification import OutputFacts

if TYPE_CHECKING:
    from pathlib import Path

    from videojobs.media.inspector import FragmentedStream, Inspector

_SUBTITLES_NAME = "subtitles.vtt"


@dataclass(frozen=True, slots=True, kw_only=True)
class MadePackage:
    """A verified package, below its folder."""

    facts: OutputFacts
    """Of the master playlist."""
    file_names: tuple[str, ...]
    """All files but the master playlist, in the order to publish them."""
    details: Mapping[str, Any]
    """For people: its rungs, the number of segments and the size of it all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stream:
    """One folder of the package, written."""

    planned: PlannedStream
    found: FragmentedStream
    segments: tuple[Segment, ...]

    @property
    def codec(self) -> str:
        return codec_string(self.found.codec, self.found.extradata)

    def file_names(self) -> list[str]:
        return [INIT_NAME, *(segment.name for segment in self.segments)]


def make_package(package: PlannedPackage, *, folder: Path, inspector: Inspector) -> MadePackage:
    """The package is in the folder, verified; the files that it was cut from are gone.

    Raises:
        ProcessingError: ``invalid_output``: it is not what was promised.
        ProcessingCancelledError: It was to stop.
    """
    root = folder / PACKAGE_FOLDER
    root.mkdir()
    streams = [_cut(package, stream, folder, inspector) for stream in package.streams]
    for track in package.subtitles:
        _place_subtitles(track, folder, package.master.duration_seconds)
    variants = [_variant(stream) for stream in streams if stream.found.channels == 0]
    sound = next((stream for stream in streams if stream.found.channels), None)
    master = master_playlist(
        variants,
        audio=_audio(sound) if sound else None,
        subtitles=package.subtitles,
    )
    (folder / package.master.file_name).write_text(master)
    verify_package(package, folder=folder, inspector=inspector)
    return _made(package, streams, variants, folder)


def verify_package(package: PlannedPackage, *, folder: Path, inspector: Inspector) -> None:
    """The package was read back as a player would, and keeps what its playlists promise.

    Raises:
        ProcessingError: ``invalid_output``.
        ProcessingCancelledError: It was to stop.
    """
    master = (folder / package.master.file_name).read_text()
    streams = [_looked_at(stream, folder, inspector) for stream in package.streams]
    if error := package_error(package, streams, master=master):
        raise error


def _cut(
    package: PlannedPackage, stream: PlannedStream, folder: Path, inspector: Inspector
) -> _Stream:
    path = folder / stream.fragments_name
    found = inspector.fragments(path)
    segments = grouped(found.fragments, package.segment_seconds)
    target = folder / PACKAGE_FOLDER / stream.name
    target.mkdir()
    with path.open("rb") as file:
        (target / INIT_NAME).write_bytes(file.read(found.init_bytes))
        for segment in segments:
            file.seek(segment.start)
            (target / segment.name).write_bytes(file.read(segment.size_bytes))
    (target / MEDIA_PLAYLIST).write_text(media_playlist(segments))
    if stream.kind == "video":
        (target / PICTURE_PLAYLIST).write_text(picture_playlist(segments))
    path.unlink()
    return _Stream(planned=stream, found=found, segments=segments)


def _place_subtitles(track: SubtitleTrack, folder: Path, duration_seconds: float) -> None:
    target = folder / PACKAGE_FOLDER / track.folder
    target.mkdir()
    shutil.copyfile(folder / track.file_name, target / _SUBTITLES_NAME)
    playlist = subtitle_playlist(_SUBTITLES_NAME, duration_seconds)
    (target / MEDIA_PLAYLIST).write_text(playlist)


def _variant(stream: _Stream) -> Variant:
    source = stream.planned.source
    pictures = [picture for segment in stream.segments for picture in segment.pictures]
    seconds = [picture.seconds for picture in pictures]
    return Variant(
        name=stream.planned.name,
        codec=stream.codec,
        width=source.width,
        height=source.height,
        frame_rate=source.frame_rate or Fraction(25),
        rates=_rates(stream.segments),
        # Of a playlist of its own, whose target is the distance of the keyframes.
        picture_rates=rates(
            [picture.length for picture in pictures],
            seconds,
            target_seconds=target_duration(seconds),
        ),
    )


def _audio(stream: _Stream) -> AudioTrack:
    return AudioTrack(
        codec=stream.codec,
        channels=stream.found.channels,
        rates=_rates(stream.segments),
    )


def _rates(segments: Sequence[Segment]) -> Rates:
    seconds = [segment.seconds for segment in segments]
    return rates(
        [segment.size_bytes for segment in segments],
        seconds,
        target_seconds=target_duration(seconds),
    )


def _looked_at(stream: PlannedStream, folder: Path, inspector: Inspector) -> StreamFacts:
    place = folder / PACKAGE_FOLDER / stream.name
    try:
        playlist = read_media_playlist((place / MEDIA_PLAYLIST).read_text())
        pictures = (
            read_media_playlist((place / PICTURE_PLAYLIST).read_text())
            if stream.kind == "video"
            else None
        )
    except ValueError as error:
        raise ProcessingError(
            f"a playlist of {stream.name} was made but cannot be read: {error}. Try again",
            code="invalid_output",
            retryable=True,
        ) from error
    ranges = zip(pictures.names, pictures.ranges, strict=True) if pictures else ()
    segments, error = inspector.stream(
        place,
        names=playlist.names,
        pictures=[(name, offset, length) for name, (offset, length) in ranges],
    )
    return StreamFacts(
        name=stream.name,
        kind=stream.kind,
        playlist=playlist,
        segments=segments,
        picture_playlist=pictures,
        error=error,
    )


def _made(
    package: PlannedPackage, streams: Sequence[_Stream], variants: Sequence[Variant], folder: Path
) -> MadePackage:
    master = package.master
    names = tuple(_file_names(package, streams))
    size = (folder / master.file_name).stat().st_size
    return MadePackage(
        file_names=names,
        facts=OutputFacts(
            size_bytes=size,
            width=master.width,
            height=master.height,
            video_codec=master.video_codec,
            audio_codec="aac" if master.has_audio else None,
            duration_seconds=sum(segment.seconds for segment in streams[0].segments),
            frame_rate=master.frame_rate,
        ),
        details={
            "segment_count": sum(len(stream.segments) for stream in streams),
            "package_bytes": size + sum((folder / name).stat().st_size for name in names),
            "rungs": [_rung(variant) for variant in variants],
        },
    )


def _file_names(package: PlannedPackage, streams: Sequence[_Stream]) -> list[str]:
    """Segments before the playlists that name them, so that no reader misses one."""
    names = [f"{stream.planned.name}/{name}" for stream in streams for name in stream.file_names()]
    names += [f"{track.folder}/{_SUBTITLES_NAME}" for track in package.subtitles]
    names += [f"{stream.planned.name}/{MEDIA_PLAYLIST}" for stream in streams]
    names += [f"{track.folder}/{MEDIA_PLAYLIST}" for track in package.subtitles]
    names += [
        f"{stream.planned.name}/{PICTURE_PLAYLIST}"
        for stream in streams
        if stream.planned.kind == "video"
    ]
    return [f"{PACKAGE_FOLDER}/{name}" for name in names]


def _rung(variant: Variant) -> dict[str, Any]:
    return {
        "name": variant.name,
        "width": variant.width,
        "height": variant.height,
        "codec": variant.codec,
        "peak_kbps": round(variant.rates.peak / 1000),
        "average_kbps": round(variant.rates.average / 1000),
    }
