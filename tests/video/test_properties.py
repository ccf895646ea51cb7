"""What holds for every source and every wish: of all plans, and of a sample of real files."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from videojobs.errors import ProcessingError
from videojobs.models import EnhancementLevel, PlatformTarget, QualityPreset
from videojobs.pipelines.clips import plan_clips
from videojobs.pipelines.plan import Machine, Plan
from videojobs.pipelines.renditions import plan_renditions
from videojobs.pipelines.source import AudioFacts, SourceFacts, SourceLimits, VideoFacts
from videojobs.processor import ProcessingSettings, VideoProcessor

Look = Callable[[Path], dict[str, Any]]

#: The same examples in every run: a failure here is one everywhere.
WIDELY = settings(max_examples=150, derandomize=True, deadline=None)
SPARINGLY = settings(
    max_examples=14,
    derandomize=True,
    deadline=None,
    # The fixtures are the same for all examples on purpose: they cache what was made.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

REFUSALS = {
    *("unsupported_codec", "source_too_large", "source_too_long", "source_too_short"),
    *("corrupt_source", "truncated_source", "no_video_stream"),
}
RATES = st.sampled_from(
    [
        *(Fraction(1), Fraction(10), Fraction(15), Fraction(24000, 1001), Fraction(25)),
        *(Fraction(30), Fraction(2983, 100), Fraction(50), Fraction(60000, 1001), Fraction(240)),
    ]
)

videos = st.builds(
    VideoFacts,
    stream_index=st.integers(0, 5),
    codec=st.sampled_from(["h264", "hevc", "vp9", "av1", "prores", "mpeg2video", "exotic"]),
    width=st.integers(0, 9000),
    height=st.integers(0, 9000),
    frame_rate=RATES,
    sample_aspect_ratio=st.sampled_from([Fraction(1), Fraction(4, 3), Fraction(8, 9)]),
    rotation_degrees=st.sampled_from([0, 90, 180, 270]),
    is_interlaced=st.booleans(),
    is_full_range=st.booleans(),
    transfer=st.sampled_from([None, "bt709", "smpte2084", "arib-std-b67"]),
    matrix=st.sampled_from([None, "bt709", "bt601", "bt2020"]),
)
sounds = st.builds(
    AudioFacts,
    stream_index=st.integers(6, 9),
    codec=st.sampled_from(["aac", "opus", "pcm_s16le"]),
    sample_rate=st.sampled_from([8000, 44100, 48000, 96000]),
    channels=st.integers(1, 8),
)
sources = st.builds(
    SourceFacts,
    container=st.sampled_from(["mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "mpegts", "avi"]),
    size_bytes=st.integers(1000, 10**10),
    duration_seconds=st.one_of(st.floats(-1, 900), st.floats(-1, 900), st.floats(20_000, 30_000)),
    stream_count=st.integers(1, 100),
    video=st.one_of(st.none(), videos, videos, videos),
    audio=st.one_of(st.none(), sounds),
    is_cut_short=st.sampled_from([False, False, False, True]),
)
#: Those that are worked on.
good_videos = st.builds(
    VideoFacts,
    stream_index=st.integers(0, 5),
    codec=st.sampled_from(["h264", "hevc", "vp9", "av1", "prores", "mpeg2video"]),
    width=st.integers(2, 6000),
    height=st.integers(2, 6000),
    frame_rate=RATES,
    sample_aspect_ratio=st.sampled_from([Fraction(1), Fraction(4, 3), Fraction(8, 9)]),
    rotation_degrees=st.sampled_from([0, 90, 180, 270]),
    is_interlaced=st.booleans(),
    transfer=st.sampled_from([None, "bt709", "smpte2084", "arib-std-b67"]),
    matrix=st.sampled_from([None, "bt709", "bt601", "bt2020"]),
)
good_sources = st.builds(
    SourceFacts,
    container=st.sampled_from(["mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "mpegts", "avi"]),
    size_bytes=st.integers(1000, 10**10),
    duration_seconds=st.floats(3.1, 900),
    stream_count=st.integers(1, 64),
    video=good_videos,
    audio=st.one_of(st.none(), sounds),
)
wishes = st.builds(
    ProcessingSettings,
    clip_count=st.integers(1, 12),
    quality_preset=st.sampled_from(QualityPreset),
    enhancement_level=st.sampled_from(EnhancementLevel),
    platform_target=st.one_of(st.none(), st.sampled_from(PlatformTarget)),
)
machines = st.builds(
    Machine,
    cores=st.integers(1, 64),
    ffmpeg_major=st.integers(5, 9),
    has_tone_mapping=st.booleans(),
)
planners = st.sampled_from([plan_clips, plan_renditions])


def planned(planner: Any, facts: SourceFacts, wish: ProcessingSettings, machine: Machine) -> Plan:
    return planner(facts, wish, machine=machine, limits=SourceLimits())


@WIDELY
@given(planners, sources, wishes, machines)
def test_every_source_has_a_plan_or_a_reason(
    planner: Any, facts: SourceFacts, wish: ProcessingSettings, machine: Machine
):
    """Nothing else is ever raised, and a refusal is for good and says what to do."""
    try:
        plan = planner(facts, wish, machine=machine, limits=SourceLimits())
    except ProcessingError as refused:
        assert refused.code in REFUSALS
        assert not refused.retryable
        assert refused.advice
    else:
        assert plan.outputs


@WIDELY
@given(planners, good_sources, wishes, machines)
def test_a_plan_is_a_value(
    planner: Any, facts: SourceFacts, wish: ProcessingSettings, machine: Machine
):
    """The same question has the same answer."""
    plan = planned(planner, facts, wish, machine)

    assert plan == planned(planner, facts, wish, machine)


@WIDELY
@given(planners, good_sources, wishes, machines)
def test_every_input_is_guarded_and_every_output_ends(
    planner: Any, facts: SourceFacts, wish: ProcessingSettings, machine: Machine
):
    """Whitelists before each input, a length for each video, and no name but ours."""
    plan = planned(planner, facts, wish, machine)

    for command in plan.commands():
        assert command.count("-i") == command.count("-protocol_whitelist") >= 1
        assert command.count("-i") == command.count("-format_whitelist")
        assert command.count("file:source") == command.count("-max_pixels")
        named = [word for word in command if "file:" in word]
        assert all("/" not in word and ".." not in word for word in named)
    for run in plan.steps:
        videos_made = [output for output in run.outputs if output.kind == "video"]
        assert run.arguments.count("-t") >= len(videos_made)


@WIDELY
@given(planners, good_sources, wishes, machines)
def test_what_is_promised_can_be_encoded_and_told_apart(
    planner: Any, facts: SourceFacts, wish: ProcessingSettings, machine: Machine
):
    """Even sizes within 4K, a rate that platforms take, and names of their own."""
    plan = planned(planner, facts, wish, machine)

    names = [output.file_name for output in plan.outputs]
    assert len(set(names)) == len(names)
    for output in plan.outputs:
        assert output.width % 2 == output.height % 2 == 0
        assert min(output.width, output.height) >= 2
        assert output.frame_rate is None or 0 < output.frame_rate <= 60
    for run in plan.runs:
        assert run.cost_seconds > 0
        assert run.duration_seconds < run.deadline_seconds < float("inf")


@WIDELY
@given(good_sources, wishes, machines)
def test_clips_lie_within_their_source(
    facts: SourceFacts, wish: ProcessingSettings, machine: Machine
):
    """As long as the platform takes, and as many as were asked for or fewer with a warning."""
    plan = planned(plan_clips, facts, wish, machine)

    clips = [output for output in plan.outputs if output.kind == "video"]
    assert 1 <= len(clips) <= wish.clip_count
    assert len(clips) == wish.clip_count or plan.warnings
    for clip in clips:
        start, end = clip.source_start_seconds or 0.0, clip.source_end_seconds or 0.0
        assert 0 <= start < end <= facts.duration_seconds + 0.06
        assert end - start == pytest.approx(clip.duration_seconds, abs=0.01)
        assert clip.duration_seconds <= wish.platform.max_duration_seconds
        assert clip.has_audio == (facts.audio is not None)


@WIDELY
@given(good_sources, wishes, machines)
def test_no_rendition_is_larger_than_its_source(
    facts: SourceFacts, wish: ProcessingSettings, machine: Machine
):
    """But for the pixel that makes its sides even."""
    plan = planned(plan_renditions, facts, wish, machine)

    assert facts.video is not None
    width, height = facts.video.display_size
    for output in plan.outputs:
        assert output.width <= width + 1
        assert output.height <= height + 1


@dataclass(frozen=True)
class Recipe:
    """What a generated source is."""

    codec: str
    ending: str
    rate: Fraction
    rotation: int
    sound: tuple[int, str] | None
    """Sample rate and channel layout."""
    seconds: Fraction


#: The options for each codec, and the codec of a sound in each container.
VIDEO_CODECS = {
    "h264": ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-bf", "2"),
    "hevc": ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=0"),
    "vp8": ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8"),
    "mpeg4": ("-c:v", "mpeg4"),
    "prores": ("-c:v", "prores_ks", "-profile:v", "0"),
    "ffv1": ("-c:v", "ffv1"),
}
SOUND_CODECS = {"webm": "libvorbis", "avi": "pcm_s16le", "mov": "pcm_s16le", "mkv": "flac"}
ROTATABLE = ("mp4", "mov")

recipes = st.builds(
    lambda kind, **rest: Recipe(*kind, **rest),
    st.sampled_from(
        [
            *(("h264", "mp4"), ("h264", "mkv"), ("h264", "ts"), ("h264", "flv"), ("hevc", "mp4")),
            *(("vp8", "webm"), ("mpeg4", "avi"), ("prores", "mov"), ("ffv1", "mkv")),
        ]
    ),
    rate=st.sampled_from(
        [
            *(Fraction(12), Fraction(24000, 1001), Fraction(25), Fraction(30), Fraction(50)),
            *(Fraction(60), Fraction(120)),
        ]
    ),
    rotation=st.sampled_from([0, 90, 180, 270]),
    sound=st.sampled_from([None, (44100, "mono"), (48000, "stereo"), (48000, "5.1")]),
    seconds=st.sampled_from([Fraction(6, 5), Fraction(2), Fraction(7, 2)]),
).map(lambda recipe: recipe if recipe.ending in ROTATABLE else replace(recipe, rotation=0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keeps the generated sources, for all examples of all tests here."""
    return tmp_path_factory.mktemp("generated")


def made(recipe: Recipe, folder: Path, ffmpeg: Callable[..., object]) -> Path:
    """The source of a recipe; made once."""
    name = "-".join(re.sub(r"\W+", "_", str(value)) for value in vars(recipe).values())
    path = folder / f"{name}.{recipe.ending}"
    if path.exists():
        return path
    length = float(recipe.seconds)
    inputs = ["-f", "lavfi", "-i", f"testsrc2=size=160x90:rate={recipe.rate}:duration={length}"]
    codecs = list(VIDEO_CODECS[recipe.codec])
    if recipe.sound is not None:
        sample_rate, layout = recipe.sound
        voice = f"sine=f=440:r={sample_rate}:d={length},volume=0.3,aformat=channel_layouts={layout}"
        inputs += ["-f", "lavfi", "-i", voice]
        codecs += ["-c:a", SOUND_CODECS.get(recipe.ending, "aac")]
    ffmpeg(*inputs, *codecs, path)
    if recipe.rotation:
        lying = path.with_stem(f"{path.stem}-lying")
        path.rename(lying)
        ffmpeg("-display_rotation", recipe.rotation, "-i", lying, "-c", "copy", path)
    return path


def track_seconds(path: Path) -> dict[str, float]:
    """How long each track's packets last."""
    with av.open(str(path)) as container:
        lengths = {stream.type: 0.0 for stream in container.streams}
        for packet in container.demux():
            lengths[packet.stream.type] += float((packet.duration or 0) * packet.time_base)
    return lengths


@SPARINGLY
@given(recipe=recipes)
def test_a_clip_of_any_source_is_what_was_promised(
    recipe: Recipe,
    processor: VideoProcessor,
    ffmpeg: Callable[..., object],
    look: Look,
    folder: Path,
    tmp_path: Path,
):
    """Codec, container, rotation, rate, sound and length vary; the result does not."""
    source = made(recipe, folder, ffmpeg)
    wish = ProcessingSettings(
        clip_count=1, clip_seconds=1, clip_width=90, clip_height=160, enhancement_level="basic"
    )

    result = processor.process(source, wish, output_dir=tmp_path / "out")

    output, poster = result.output_files
    path = tmp_path / "out" / output.path
    found, lengths = look(path), track_seconds(path)
    assert (found["size"], found["codec"], found["pixels"]) == ((90, 160), "h264", "yuv420p")
    assert 23 <= found["rate"] <= 60
    seconds = output.duration_seconds
    assert 1.0 <= seconds <= min(float(recipe.seconds), 2.5) + 0.1
    assert found["frames"] == pytest.approx(seconds * float(found["rate"]), abs=1)
    assert lengths["video"] == pytest.approx(seconds, abs=0.05)
    assert (poster.kind, poster.width, poster.height) == ("poster", 90, 160)
    assert b"elst" not in path.read_bytes()
    assert ("audio" in lengths) == (recipe.sound is not None)
    assert lengths.get("audio", seconds) == pytest.approx(seconds, abs=0.1)
    assert (output.loudness_lufs is not None) == (recipe.sound is not None)


@SPARINGLY
@given(recipe=recipes)
def test_a_rendition_of_any_source_is_as_long_as_it(
    recipe: Recipe,
    processor: VideoProcessor,
    ffmpeg: Callable[..., object],
    look: Look,
    folder: Path,
    tmp_path: Path,
):
    """Upright, at its own size, with all of its time."""
    source = made(recipe, folder, ffmpeg)
    wish = ProcessingSettings(pipeline="renditions", quality_preset="draft")

    result = processor.process(source, wish, output_dir=tmp_path / "out")

    path = tmp_path / "out" / result.output_files[0].path
    found, lengths = look(path), track_seconds(path)
    # FLV's sound begins before the reordered pictures, which then last as long.
    slack = max(0.15, 3 / float(recipe.rate))
    assert found["size"] == ((90, 160) if recipe.rotation % 180 else (160, 90))
    assert lengths["video"] == pytest.approx(float(recipe.seconds), abs=slack)
    assert lengths.get("audio", lengths["video"]) == pytest.approx(lengths["video"], abs=slack)
    assert b"elst" not in path.read_bytes()
