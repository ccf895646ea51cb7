"""HLS packages: what their playlists say, what players get, and what verification refuses."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import m3u8
import pytest

from videojobs.errors import ProcessingError
from videojobs.media.execution import Execution
from videojobs.media.inspector import Inspector
from videojobs.media.packaging import verify_package
from videojobs.models import OutputFile
from videojobs.pipelines.hls import (
    PlannedPackage,
    SegmentFacts,
    StreamFacts,
    package_problems,
    packaged,
    plan_hls,
    with_subtitles,
)
from videojobs.pipelines.plan import SOURCE_NAME, Machine, Plan
from videojobs.pipelines.playlists import (
    Fragment,
    MediaPlaylist,
    SubtitleTrack,
    codec_string,
    grouped,
    rates,
    read_media_playlist,
)
from videojobs.pipelines.settings import ProcessingSettings
from videojobs.pipelines.source import SourceFacts, SourceLimits, VideoFacts
from videojobs.processor import Progress, VideoProcessor

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
MASTER = "hls/master.m3u8"
#: 13 s of 29.97 pictures a second: segments of 6.006, 6.006 and 1.001 s.
MOVING = "testsrc2=size=640x360:rate=30000/1001:duration=13"
TONE = "sine=frequency=440:sample_rate=48000:duration=13"


def ffmpeg(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    command = [FFMPEG, "-hide_banner", "-loglevel", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True)


def hls(**settings: Any) -> ProcessingSettings:
    return ProcessingSettings(pipeline="hls", quality_preset="draft", **settings)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    ffmpeg(
        *("-f", "lavfi", "-i", MOVING, "-f", "lavfi", "-i", TONE),
        *("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", path),
    )
    return path


@pytest.fixture(scope="module")
def made(film: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A package in two codecs, with the result that tells of it."""
    folder = tmp_path_factory.mktemp("made")
    processor = VideoProcessor(work_dir=folder / "work", cores=2)
    result = processor.process(film, hls(video_codecs=("hevc",)), output_dir=folder / "out")
    return folder / "out", result


def package(made: tuple[Path, Any]) -> PlannedPackage:
    """The plan's view of what was made."""
    plan = plan_hls(
        made[1].source, hls(video_codecs=("hevc",)), machine=Machine(), limits=SourceLimits()
    )
    assert plan.package is not None
    return plan.package


def test_a_package_is_a_copy_of_the_renditions(facts: SourceFacts):
    """One run that decodes nothing, after the one that encodes; the sound is there once."""
    plan = plan_hls(facts, hls(), machine=Machine(), limits=SourceLimits())

    (packaging,) = plan.finishing
    told = " ".join(packaging.arguments)
    assert [output.name for output in plan.outputs] == [
        *("1080p", "720p", "480p", "360p", "poster", "hls"),
    ]
    assert told.count("-c copy") == 5
    assert "-c:v" not in told
    assert told.count("-map 0:a:0") == 1
    assert told.count("-protocol_whitelist file") >= 4


def test_a_segment_that_is_a_job_of_its_own_is_not_packaged(facts: SourceFacts):
    """Its film is, once it is joined; thumbnails are the film's too."""
    wish = {"segment_seconds": 6, "thumbnails": True}

    one, film = (
        plan_hls(facts, hls(**wish, **more), machine=Machine(), limits=SourceLimits())
        for more in ({"only_segment": 2}, {})
    )

    assert [output.name for output in one.outputs] == [
        *("1080p_0002", "720p_0002", "480p_0002", "360p_0002"),
    ]
    assert (one.package, one.thumbnails) == (None, None)
    assert [run.name for run in film.finishing] == ["thumbnails", "hls"]


def test_the_master_playlist_tells_what_is_there(made: tuple[Path, Any]):
    """Codecs, rates, size, frame rate and sound of each variant, as another reader reads them."""
    master = m3u8.load(str(made[0] / MASTER))

    first, second = (variant.stream_info for variant in master.playlists)
    assert [variant.uri for variant in master.playlists] == [
        "360p/playlist.m3u8",
        "360p_hevc/playlist.m3u8",
    ]
    assert (first.resolution, first.frame_rate, first.audio) == ((640, 360), 29.97, "audio")
    assert first.bandwidth >= first.average_bandwidth > 100_000
    assert re.fullmatch(r"avc1\.6400[0-9a-f]{2},mp4a\.40\.2", first.codecs)
    assert re.fullmatch(r"hvc1\.1\.6\.L\d+\.90,mp4a\.40\.2", second.codecs)
    assert [media.uri for media in master.media] == ["audio/playlist.m3u8"]
    assert [pictures.uri for pictures in master.iframe_playlists] == [
        "360p/iframes.m3u8",
        "360p_hevc/iframes.m3u8",
    ]


@pytest.mark.parametrize("name", ["360p", "360p_hevc"])
def test_the_told_codec_is_the_streams_own(made: tuple[Path, Any], name: str):
    """Profile and level, against what another decoder reads from the stream itself."""
    master = (made[0] / MASTER).read_text()

    with av.open(str(made[0] / f"{name}.mp4")) as container:
        context = container.streams.video[0].codec_context
        profile = int.from_bytes(bytes(context.extradata or b"")[1:2], "big") & 31
    told = re.search(r'CODECS="([^,]+),[^"]+"[^\n]+\n' + name + "/", master)
    assert told is not None
    if name == "360p":
        assert context.profile == "High"
        assert told[1].startswith("avc1.64")
    else:
        assert context.profile == "Main"
        assert told[1].startswith(f"hvc1.{profile}.")


def test_all_streams_are_cut_at_the_same_times(made: tuple[Path, Any]):
    """Segments of 6 s, so that a player changes rungs without a gap."""
    names = ("360p", "360p_hevc", "audio")
    playlists = [m3u8.load(str(made[0] / "hls" / name / "playlist.m3u8")) for name in names]

    lengths = [[segment.duration for segment in playlist.segments] for playlist in playlists]
    assert lengths[0] == lengths[1] == [6.006, 6.006, 1.001]
    assert [round(length) for length in lengths[2]] == [6, 6, 1]
    assert [playlist.target_duration for playlist in playlists] == [6, 6, 6]
    assert all(playlist.is_endlist for playlist in playlists)


def test_each_range_of_the_picture_playlist_shows_a_picture(made: tuple[Path, Any]):
    """A keyframe each 2 s, from the bytes named there and the stream's beginning alone."""
    folder = made[0] / "hls" / "360p"
    pictures = m3u8.load(str(folder / "iframes.m3u8"))

    shown: list[str] = []
    for entry in pictures.segments:
        length, _, offset = entry.byterange.partition("@")
        data = (folder / entry.uri).read_bytes()[int(offset) : int(offset) + int(length)]
        with av.open(io.BytesIO((folder / "init.mp4").read_bytes() + data)) as container:
            packet = next(container.demux(video=0))
            frames = [*packet.decode(), *container.streams.video[0].codec_context.decode(None)]
            shown += [frame.pict_type for frame in frames]
    assert pictures.is_i_frames_only
    assert shown == [av.video.frame.PictureType.I] * 7


def test_a_player_gets_every_picture(made: tuple[Path, Any], tmp_path: Path):
    """From the master playlist: as many pictures as the MP4 has, over the same time, and sound."""
    played = tmp_path / "played.mkv"

    ffmpeg("-allowed_extensions", "ALL", "-i", made[0] / MASTER, "-map", "0:v:0", "-map", "0:a:0",
           "-c", "copy", played)  # fmt: skip

    with av.open(str(played)) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
        times = [float(p.pts * p.time_base) for p in container.demux(video=0) if p.pts is not None]
    assert len(times) == made[1].output_files[0].duration_seconds * 30000 / 1001 == 390
    assert max(times) - min(times) == pytest.approx(389 * 1001 / 30000, abs=0.01)


def test_picture_and_sound_begin_together(made: tuple[Path, Any]):
    """At 0, by the segments' own tables: no edit list and no shift of reordered pictures."""
    beginnings: list[tuple[int, bytes]] = []
    for name in ("360p", "audio"):
        data = (made[0] / "hls" / name / "segment_00001.m4s").read_bytes()
        start = data.index(b"tfdt") + 8
        beginnings.append((int.from_bytes(data[start : start + 8], "big"), name.encode()))
        assert b"elst" not in (made[0] / "hls" / name / "init.mp4").read_bytes()

    assert beginnings == [(0, b"360p"), (0, b"audio")]


def test_a_package_is_one_output_file_and_many_files(made: tuple[Path, Any]):
    """A film has thousands of segments: they are published, but not told one by one."""
    folder, result = made

    last = result.output_files[-1]
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert isinstance(last, OutputFile)
    assert (last.kind, last.path, last.model_extra["segment_count"]) == ("playlist", MASTER, 9)
    assert [rung["name"] for rung in last.model_extra["rungs"]] == ["360p", "360p_hevc"]
    assert set(result.files) == there
    size = sum(path.stat().st_size for path in (folder / "hls").rglob("*") if path.is_file())
    assert last.model_extra["package_bytes"] == size


def test_a_playlist_is_published_after_what_it_names(made: tuple[Path, Any]):
    """Segments, then their playlists, and the master playlist at the very end."""
    names = list(made[1].files)

    segments = [names.index(name) for name in names if name.endswith(".m4s")]
    playlists = [names.index(name) for name in names if name.endswith("playlist.m3u8")]
    assert max(segments) < min(playlists)
    assert names[-1] == MASTER


def test_a_film_without_sound_has_no_sound_in_its_package(
    processor: VideoProcessor, media: Callable[[str], Path], tmp_path: Path
):
    """No group, no codec and no folder for it."""
    processor.process(media("silent.mp4"), hls(), output_dir=tmp_path)

    master = m3u8.load(str(tmp_path / MASTER))
    assert master.media == []
    assert "mp4a" not in master.playlists[0].stream_info.codecs
    assert not (tmp_path / "hls" / "audio").exists()


def test_packaging_has_a_stage_and_a_progress_of_its_own(
    processor: VideoProcessor, media: Callable[[str], Path], tmp_path: Path
):
    """It is told before the files are published, and the package is done when all is."""
    told: list[Progress] = []

    processor.process(media("silent.mp4"), hls(), output_dir=tmp_path, on_progress=told.append)

    stages = list(dict.fromkeys(progress.stage for progress in told))
    assert stages[-3:] == ["packaging", "publishing", "done"]
    assert told[-1].detail == {"180p": 100, "hls": 100}
    assert [progress.percent for progress in told] == sorted(progress.percent for progress in told)


def test_subtitles_of_the_private_folder_come_into_the_package(film: Path, tmp_path: Path):
    """As a group of their own, with language and name."""
    (tmp_path / SOURCE_NAME).symlink_to(film)
    (tmp_path / "captions.vtt").write_text("WEBVTT\n\n00:01.000 --> 00:02.000\nHello\n")
    with Inspector() as inspector:
        facts = inspector.source(tmp_path / SOURCE_NAME)
        plan = plan_hls(facts, hls(), machine=Machine(), limits=SourceLimits())
        track = SubtitleTrack(file_name="captions.vtt", language="en", name="English")
        _perform(with_subtitles(plan, track), tmp_path, inspector)

    master = m3u8.load(str(tmp_path / MASTER))
    (subtitles,) = [media for media in master.media if media.type == "SUBTITLES"]
    assert (subtitles.language, subtitles.name) == ("en", "English")
    assert master.playlists[0].stream_info.subtitles == "subtitles"
    listed = m3u8.load(str(tmp_path / "hls" / subtitles.uri))
    text = (tmp_path / "hls" / "subtitles_en" / listed.segments[0].uri).read_text()
    assert "Hello" in text


def test_captions_become_subtitles(
    processor: VideoProcessor, media: Callable[[str], Path], tmp_path: Path
):
    """The caller's file is written anew, under the language that the settings name."""
    given = tmp_path / "talk.srt"
    given.write_text("1\n00:00:01,000 --> 00:00:02,000\n<b>Olá</b>\n", "utf-8")

    result = processor.process(
        media("silent.mp4"),
        hls(captions_language="pt-BR"),
        output_dir=tmp_path / "out",
        captions=given,
    )

    text = (tmp_path / "out" / "hls" / "subtitles_pt-BR" / "subtitles.vtt").read_text("utf-8")
    assert text.split() == ["WEBVTT", "00:00:01.000", "-->", "00:00:02.000", "Olá"]
    assert 'LANGUAGE="pt-BR"' in (tmp_path / "out" / MASTER).read_text()
    assert "hls/subtitles_pt-BR/subtitles.vtt" in result.files
    assert not any("captions" in warning for warning in result.warnings)


def _perform(plan: Plan, folder: Path, inspector: Inspector) -> None:
    Execution(
        plan,
        ffmpeg=FFMPEG,
        folder=folder,
        inspector=inspector,
        should_stop=lambda: False,
        report=lambda _: None,
    ).perform()


@pytest.mark.parametrize("field", [{"language": 'en"'}, {"name": 'a"b'}, {"name": "a\n#EXT"}])
def test_nothing_can_be_smuggled_into_a_playlist(field: dict[str, str]):
    """A quote or a line break would end the attribute and begin another."""
    with pytest.raises(ValueError, match=r"language tag|line break"):
        SubtitleTrack(file_name="captions.vtt", **field)


def test_each_subtitle_track_has_a_language_of_its_own(facts: SourceFacts):
    """Else one would take the other's place in the package."""
    plan = plan_hls(facts, hls(), machine=Machine(), limits=SourceLimits())
    tracks = [
        SubtitleTrack(file_name=f"{language}.vtt", language=language) for language in ("en", "EN")
    ]

    with pytest.raises(ValueError, match="language of its own, such as 'en' and 'en-GB'"):
        with_subtitles(plan, *tracks)


def _damaged_segment(folder: Path) -> None:
    path = folder / "hls/360p/segment_00002.m4s"
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 400
    data[start : start + 2000] = bytes(2000)
    path.write_bytes(data)


def _short_segment(folder: Path) -> None:
    path = folder / "hls/360p/segment_00003.m4s"
    path.write_bytes(path.read_bytes()[:-3000])


def _swapped_segments(folder: Path) -> None:
    first, second = (folder / f"hls/360p/segment_0000{n}.m4s" for n in (1, 2))
    data = first.read_bytes()
    shutil.copyfile(second, first)
    second.write_bytes(data)


def _modest_master(folder: Path) -> None:
    path = folder / MASTER
    path.write_text(re.sub(r"(?<![-A-Z])BANDWIDTH=\d+", "BANDWIDTH=1000", path.read_text()))


def _endless_playlist(folder: Path) -> None:
    path = folder / "hls/360p/playlist.m3u8"
    path.write_text(path.read_text().replace("#EXT-X-ENDLIST\n", ""))


def _shifted_range(folder: Path) -> None:
    path = folder / "hls/360p/iframes.m3u8"
    path.write_text(re.sub(r"@0\nsegment_00001", "@9\nsegment_00001", path.read_text()))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_damaged_segment, "360p does not decode"),
        (_short_segment, "360p does not decode"),
        (_swapped_segments, "360p_hevc is not cut where 360p is"),
        (_modest_master, "360p needs more bandwidth than it tells"),
        (_endless_playlist, "360p has no end"),
        (_shifted_range, "360p"),
    ],
)
def test_what_players_would_stumble_over_is_not_published(
    made: tuple[Path, Any], tmp_path: Path, damage: Callable[[Path], None], words: str
):
    """Each fault is found by reading the finished package, and named."""
    shutil.copytree(made[0], tmp_path, dirs_exist_ok=True)
    damage(tmp_path)

    with Inspector() as inspector, pytest.raises(ProcessingError, match=words) as refused:
        verify_package(package(made), folder=tmp_path, inspector=inspector)

    assert refused.value.code == "invalid_output"


def test_a_whole_package_is_found_whole(made: tuple[Path, Any]):
    """The same look that finds the faults finds none here."""
    with Inspector() as inspector:
        verify_package(package(made), folder=made[0], inspector=inspector)

    assert (made[0] / MASTER).exists()


def test_a_segment_without_keyframe_is_named():
    """A player that begins or changes rungs there would show nothing."""
    plan = packaged_sixteen_seconds()
    playlist = MediaPlaylist(("a.m4s", "b.m4s"), (6.0, 10.0), (), 10, is_complete=True)
    looks = tuple(
        SegmentFacts(size_bytes=1000, seconds=s, start_seconds=t, starts_with_keyframe=t == 0)
        for s, t in ((6.0, 0.0), (10.0, 6.0))
    )
    stream = StreamFacts(
        name="720p", kind="video", playlist=playlist, segments=looks, picture_playlist=playlist
    )

    problems = package_problems(
        plan, [stream], master="#EXT-X-STREAM-INF:BANDWIDTH=9999\n720p/playlist.m3u8\n"
    )

    assert problems == (
        "720p has a segment that does not begin with a keyframe",
        "the master playlist does not name 720p/iframes.m3u8",
    )


def packaged_sixteen_seconds() -> PlannedPackage:
    facts = SourceFacts(
        container="mp4", size_bytes=1, duration_seconds=16.0, stream_count=1, video=None, audio=None
    )
    plan = plan_hls(replace(facts, video=_video()), hls(), machine=Machine(), limits=SourceLimits())
    return packaged(plan.outputs)


def _video() -> VideoFacts:
    return VideoFacts(stream_index=0, codec="h264", width=1280, height=720, frame_rate=Fraction(25))


def test_a_keyframe_that_needs_more_than_is_told_is_named():
    """By the target duration of its own playlist: a peak of 2 s must not vanish in one of 6."""
    segments = MediaPlaylist(("a.m4s", "a.m4s", "a.m4s"), (6.0, 6.0, 4.0), (), 6, is_complete=True)
    looks = tuple(
        SegmentFacts(size_bytes=10, seconds=s, start_seconds=t, starts_with_keyframe=True)
        for s, t in ((6.0, 0.0), (6.0, 6.0), (4.0, 12.0))
    )
    pictures = MediaPlaylist(
        ("a.m4s", "a.m4s", "a.m4s"),
        (2.0, 2.0, 2.0),
        ((0, 100), (0, 1000), (0, 100)),
        2,
        is_complete=True,
    )
    stream = StreamFacts(
        name="720p", kind="video", playlist=segments, segments=looks, picture_playlist=pictures
    )
    master = (
        "#EXT-X-STREAM-INF:BANDWIDTH=9999\n720p/playlist.m3u8\n"
        '#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH={},URI="720p/iframes.m3u8"\n'
    )

    enough, least = (
        package_problems(packaged_sixteen_seconds(), [stream], master=master.format(bandwidth))
        for bandwidth in (4000, 3900)
    )

    assert enough == ()
    assert least == ("the keyframes of 720p need more bandwidth than they tell",)


def test_segments_end_with_the_first_fragment_that_reaches_their_time():
    """Counted from the beginning: the rounding of 29.97 does not add up over a film."""
    fragments = [Fragment(n * 10, n * 10 + 10, 2.002, n * 10 + 3) for n in range(1005)]

    segments = grouped(fragments, 6.0)

    assert [segment.seconds for segment in segments[:2]] == [pytest.approx(6.006)] * 2
    assert sum(segment.seconds for segment in segments) == pytest.approx(1005 * 2.002)
    ends = [sum(each.seconds for each in segments[:count]) for count in (1, 100, 334)]
    assert [end - 6 * count for end, count in zip(ends, (1, 100, 334), strict=True)] == [
        pytest.approx(0.006),
        pytest.approx(0.6),
        pytest.approx(0.002, abs=0.003),
    ]


def test_the_peak_is_the_largest_rate_of_about_one_segment():
    """A short last segment counts together with the one before it, by RFC 8216."""
    found = rates([6000, 12000, 4000], [6.0, 6.0, 1.0], target_seconds=6.0)

    assert found.peak == pytest.approx((12000 + 4000) * 8 / 7, abs=2)
    assert found.average == pytest.approx(22000 * 8 / 13, abs=1)


@pytest.mark.parametrize(
    ("codec", "record", "told"),
    [
        ("h264", "0164001fffe1", "avc1.64001f"),
        ("hevc", "0101600000009000000000007b", "hvc1.1.6.L123.90"),
        ("hevc", "0122200000009000000000009900", "hvc1.2.4.H153.90"),
        ("av1", "81080c00", "av01.0.08M.08"),
        ("av1", "818d4c00", "av01.4.13M.10"),
        ("aac", "1190", "mp4a.40.2"),
    ],
)
def test_a_codec_is_told_by_its_configuration(codec: str, record: str, told: str):
    """As RFC 6381 and the codecs' own documents write it."""
    assert codec_string(codec, bytes.fromhex(record)) == told


def test_a_text_that_is_no_playlist_is_refused():
    """Also one whose entries lack their lengths."""
    with pytest.raises(ValueError, match="EXTM3U"):
        read_media_playlist("<html>")
    with pytest.raises(ValueError, match="lack lengths"):
        read_media_playlist("#EXTM3U\n#EXT-X-TARGETDURATION:6\na.m4s\n")


def test_a_film_of_joined_segments_is_packaged_alike(film: Path, tmp_path: Path):
    """Its renditions are pieces that were joined; players see no difference, in no codec."""
    processor = VideoProcessor(work_dir=tmp_path / "work", cores=2)
    settings = hls(video_codecs=("hevc", "av1"), segment_seconds=6, thumbnails=True)

    result = processor.process(film, settings, output_dir=tmp_path / "out")

    names = ("360p", "360p_hevc", "360p_av1")
    playlists = [m3u8.load(str(tmp_path / "out/hls" / name / "playlist.m3u8")) for name in names]
    lengths = [[segment.duration for segment in playlist.segments] for playlist in playlists]
    assert [output.name for output in result.output_files] == [
        *("360p", "360p_hevc", "360p_av1", "poster", "sprite", "thumbnails", "hls"),
    ]
    assert lengths == [[6.006, 6.006, 1.001]] * 3
    assert b"hvc1" in (tmp_path / "out/360p_hevc.mp4").read_bytes()
