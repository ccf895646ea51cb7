"""A picture of one shape in a frame of another: cut out, followed, or before itself blurred."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest

from videojobs.errors import SupabaseValidationError
from videojobs.pipelines.clips import plan_clips
from videojobs.pipelines.plan import Machine, Plan
from videojobs.pipelines.settings import ProcessingSettings
from videojobs.pipelines.source import SourceFacts, SourceLimits
from videojobs.processor import VideoProcessor

Make = Callable[[str], Path]
Look = Callable[[Path], dict[str, Any]]

TWO_CORES = Machine(cores=2, ffmpeg_major=9, has_tone_mapping=True)


def clips(facts: SourceFacts, **settings: object) -> Plan:
    wanted = ProcessingSettings(clip_count=1, clip_seconds=10, **settings)
    return plan_clips(facts, wanted, machine=TWO_CORES, limits=SourceLimits())


def graph(arguments: tuple[str, ...]) -> str:
    return arguments[arguments.index("-filter_complex") + 1]


def small(**settings: object) -> ProcessingSettings:
    size = {
        "clip_count": 1,
        "clip_choice": "spread",
        "clip_seconds": 4,
        "clip_width": 90,
        "clip_height": 160,
    }
    return ProcessingSettings(**(size | settings))


def bright_columns(path: Path) -> list[tuple[int, int]]:
    """For each frame, the first and the last column in which something is bright."""
    found: list[tuple[int, int]] = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            plane = frame.planes[0]
            rows = [
                bytes(plane)[line * plane.line_size : line * plane.line_size + frame.width]
                for line in range(frame.height)
            ]
            columns = [x for x in range(frame.width) if max(row[x] for row in rows) > 140]
            found.append((columns[0], columns[-1]) if columns else (-1, -1))
    return found


@pytest.mark.parametrize(
    ("aspect_ratio", "preset", "size"),
    [
        ("9:16", "standard", (1080, 1920)),
        ("4:5", "standard", (1080, 1350)),
        ("1:1", "standard", (1080, 1080)),
        ("16:9", "standard", (1920, 1080)),
        ("9:16", "draft", (720, 1280)),
        ("4:5", "draft", (720, 900)),
        ("16:9", "draft", (1280, 720)),
    ],
)
def test_each_shape_has_its_size(
    facts: SourceFacts, aspect_ratio: str, preset: str, size: tuple[int, int]
):
    """The platform's shorter side, or the preset's if it is less."""
    output, _ = clips(facts, aspect_ratio=aspect_ratio, quality_preset=preset).outputs

    assert (output.width, output.height) == size


def test_given_pixels_win_over_the_shape(facts: SourceFacts):
    """Who names both sides gets them."""
    output, _ = clips(facts, aspect_ratio="1:1", clip_width=640, clip_height=360).outputs

    assert (output.width, output.height) == (640, 360)


def test_a_frame_that_few_devices_decode_is_warned_of(facts: SourceFacts):
    """It is made all the same, for who asks for it."""
    plan = clips(facts, clip_width=2160, clip_height=3840)

    assert "-level:v 5.1" in " ".join(plan.runs[0].arguments)
    assert "needs H.264 level 5.1" in plan.warnings[0]


@pytest.mark.parametrize("shape", [{"aspect_ratio": "16:9"}, {"clip_width": 90, "clip_height": 64}])
def test_shorts_are_never_wider_than_high(shape: dict[str, object]):
    """YouTube would take them for ordinary videos."""
    with pytest.raises(SupabaseValidationError, match="wider than high"):
        ProcessingSettings(platform_target="youtube_shorts", **shape)


def test_a_blurred_background_is_made_of_the_finished_picture(facts: SourceFacts):
    """Told to ffmpeg in exactly these words: scaled once, then split; the blur sees few pixels."""
    plan = clips(replace(facts, audio=None), framing="blur")

    clip, _, poster = graph(plan.runs[0].arguments).partition(";[s13]split=2[s14][s15];[s15]")
    assert poster.startswith("trim=end=10.0[s16];")
    assert clip == (
        "[0:0]fps=fps=30:start_time=0[s0];"
        "[s0]scale=flags=lanczos:h=608:w=1080[s1];"
        "[s1]format=pix_fmts=yuv420p[s2];"
        "[s2]setsar=sar=1[s3];"
        "[s3]setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=limited[s4];"
        "[s4]split=2[s5][s6];"
        "[s5]crop=h=608:w=342[s7];"
        "[s7]scale=flags=fast_bilinear:h=480:w=270[s8];"
        "[s8]gblur=sigma=8[s9];"
        "[s9]scale=flags=bilinear:h=1920:w=1080[s10];"
        "[s10]setsar=sar=1[s11];"
        "[s11][s6]overlay=x=0:y=656[s12];"
        "[s12]setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=limited[s13]"
    )


def test_a_picture_that_fills_the_frame_has_no_background(facts: SourceFacts):
    """An upright phone video stays as it is."""
    assert facts.video is not None
    upright = replace(facts, video=replace(facts.video, rotation_degrees=90))

    plan = clips(upright, framing="blur")

    assert plan == clips(upright, framing="centre")


def test_following_looks_before_it_cuts_out(facts: SourceFacts):
    """A small grey copy at the clip's own frame rate, its cuts, and five pictures a second."""
    plan = clips(facts, framing="follow")

    watch = plan.runs[0].watch
    assert watch is not None and watch.span is not None
    assert (watch.span.axis, watch.span.size, watch.span.room) == ("x", 608, 1312)
    assert graph(watch.arguments) == (
        "[0:0]fps=fps=30:start_time=0[s0];"
        "[s0]scale=flags=area:h=54:w=96[s1];"
        "[s1]format=pix_fmts=gray[s2];"
        "[s2]scdet=threshold=10[s3];"
        "[s3]metadata=file=clip_01.cuts:key=lavfi.scd.time:mode=print[s4];"
        "[s4]fps=fps=5:start_time=0[s5]"
    )
    assert "crop=exact=1:h=1080:w=608:x=SUBJECT_PLACE:y=0" in graph(plan.runs[0].arguments)
    assert "protocol_whitelist" in " ".join(watch.arguments)


def test_a_source_that_cannot_be_sought_in_is_watched_from_its_start(facts: SourceFacts):
    """As it is encoded then: grey mud after a seek would lead the cut-out astray."""
    watch = clips(facts, framing="follow").runs[0].watch

    assert watch is not None
    slow = watch.arguments_from_start or ()
    assert "-ss" in watch.arguments and "-ss" not in slow
    assert graph(slow).startswith("[0:0]trim=start=25.0[s0];[s0]setpts=expr=PTS-25.0/TB[s1];")


def test_bare_commands_follow_the_middle(facts: SourceFacts):
    """They can be run as they are, without anything being looked at."""
    *_, encode = clips(facts, framing="follow").commands()

    assert "crop=exact=1:h=1080:w=608:x=656:y=0" in " ".join(encode)


def test_nothing_is_followed_where_nothing_is_cut_off(facts: SourceFacts):
    """A picture of the frame's own shape needs no look."""
    plan = clips(facts, framing="follow", aspect_ratio="16:9")

    assert plan.runs[0].watch is None


def test_an_upright_source_is_followed_up_and_down(facts: SourceFacts):
    """When the frame is wider than it."""
    assert facts.video is not None
    upright = replace(facts, video=replace(facts.video, rotation_degrees=90))

    watch = clips(upright, framing="follow", aspect_ratio="1:1").runs[0].watch

    assert watch is not None and watch.span is not None
    assert (watch.span.axis, watch.span.room) == ("y", 840)
    assert (watch.width, watch.height) == (54, 96)


def test_broadcast_streams_are_watched_from_half_a_minute_before(facts: SourceFacts):
    """As they are encoded, so that times agree."""
    watch = clips(replace(facts, container="mpegts"), framing="follow").runs[0].watch

    assert watch is not None
    assert graph(watch.arguments).startswith("[0:0]trim=start=25.0[s0];[s0]setpts=expr=PTS-25.0/TB")


def test_exposure_is_measured_on_keyframes_alone(facts: SourceFacts):
    """A sixth of a decode, from the keyframe before the clip on."""
    watch = clips(facts, enhancement_level="advanced").runs[0].watch

    assert watch is not None
    assert (watch.span, watch.cuts_name) == (None, None)
    assert "-noaccurate_seek" in watch.arguments
    assert " -skip_frame:v nokey " in " ".join(watch.arguments)


def test_exposure_and_following_share_one_look(facts: SourceFacts):
    """Whoever looks at all pictures needs no other look at some."""
    plan = clips(facts, enhancement_level="advanced", framing="follow")

    assert plan.runs[0].watch == clips(facts, framing="follow").runs[0].watch
    assert "eq=contrast=1.03:gamma=EXPOSURE_GAMMA:saturation=1.1" in graph(plan.runs[0].arguments)


def test_what_moves_stays_in_the_frame(processor: VideoProcessor, media: Make, tmp_path: Path):
    """A white square that crosses a wide dark picture is whole in every frame of the clip."""
    processor.process(media("crossing.mp4"), small(framing="follow"), output_dir=tmp_path)

    found = bright_columns(tmp_path / "clip_01.mp4")
    assert len(found) == 120
    # 30 of 102 pixels are 26 of 90; at the edge of the frame, less of it would be seen.
    assert all(25 <= last - first + 1 <= 28 for first, last in found)


def test_the_way_is_smooth(processor: VideoProcessor, media: Make, tmp_path: Path):
    """The square itself moves evenly, so that its steps in the frame are those of the cut-out."""
    processor.process(media("crossing.mp4"), small(framing="follow"), output_dir=tmp_path)

    firsts = [first for first, _ in bright_columns(tmp_path / "clip_01.mp4")]
    assert max(abs(after - before) for before, after in pairwise(firsts)) <= 3


def test_the_cut_out_jumps_with_the_cut(processor: VideoProcessor, media: Make, tmp_path: Path):
    """In the very frame; before and after it stands still, and no frame lacks the square."""
    processor.process(media("two_shots.mp4"), small(framing="follow"), output_dir=tmp_path)

    found = bright_columns(tmp_path / "clip_01.mp4")
    assert len(found) == 120
    assert len(set(found[:61])) == len(set(found[61:])) == 1
    assert all(25 <= last - first + 1 <= 28 for first, last in (found[0], found[-1]))


def test_following_begins_in_the_middle_of_a_source(
    processor: VideoProcessor, media: Make, tmp_path: Path
):
    """Times are the clip's own, after a seek too."""
    processor.process(
        media("two_shots.mp4"), small(framing="follow", clip_seconds=1.5), output_dir=tmp_path
    )

    found = bright_columns(tmp_path / "clip_01.mp4")
    assert all(25 <= last - first + 1 <= 28 for first, last in found)
    assert len(set(found)) == 2


def test_an_upright_source_before_itself_blurred(
    processor: VideoProcessor, media: Make, tmp_path: Path, look: Look
):
    """The middle third is the picture, and what is beside it has its colours."""
    wide = small(framing="blur", clip_width=160, clip_height=90)

    processor.process(media("upright_red.mp4"), wide, output_dir=tmp_path)

    found = look(tmp_path / "clip_01.mp4")
    assert found["size"] == (160, 90)
    assert found["aspect"] == 1
    for place in ("left", "right", "top"):
        red, green, blue = found[place]
        assert red > 150 and max(green, blue) < 90


def test_a_wide_picture_is_whole_before_the_blur(
    processor: VideoProcessor, media: Make, tmp_path: Path
):
    """The square is seen on both of its ways out, where the middle alone would lose it."""
    processor.process(media("crossing.mp4"), small(framing="blur"), output_dir=tmp_path)

    found = bright_columns(tmp_path / "clip_01.mp4")
    # 30 of 320 pixels are 8 of 90.
    assert found[0][0] <= 7
    assert found[-1][1] >= 60


@pytest.mark.parametrize("framing", ["follow", "blur"])
@pytest.mark.parametrize(
    "name",
    ["odd.mkv", "anamorphic.mp4", "interlaced.mp4", "uneven.mp4", "hdr.mp4", "tall.mp4",
     "clock.ts", "silent.mp4"],
)  # fmt: skip
def test_unusual_sources_are_framed(
    processor: VideoProcessor, media: Make, tmp_path: Path, look: Look, name: str, framing: str
):
    """Square pixels, the right size and all frames, whatever comes in."""
    wanted = small(framing=framing, clip_width=128, clip_height=96, clip_seconds=1)

    result = processor.process(media(name), wanted, output_dir=tmp_path)

    found = look(tmp_path / "clip_01.mp4")
    assert (found["size"], found["aspect"]) == ((128, 96), Fraction(1))
    assert found["frames"] == pytest.approx(float(found["rate"]), abs=1)
    assert (found["interlaced"], found["transfer"]) == (False, 1)
    assert result.output_files[0].width == 128


def test_a_turned_source_before_its_blur_is_upright(
    processor: VideoProcessor, turned: Path, tmp_path: Path, look: Look
):
    """What was left and right is above and below."""
    wide = small(framing="blur", clip_width=160, clip_height=90, clip_seconds=1)

    processor.process(turned, wide, output_dir=tmp_path)

    found = look(tmp_path / "clip_01.mp4")
    colours = {tuple(channel > 128 for channel in found[end]) for end in ("top", "bottom")}
    assert colours == {(True, False, False), (False, False, True)}


def test_a_dark_clip_becomes_lighter(
    processor: VideoProcessor, media: Make, tmp_path: Path, look: Look
):
    """With advanced enhancement; with basic it stays as dark as it is."""
    processor.process(
        media("dusk.mp4"), small(enhancement_level="advanced"), output_dir=tmp_path / "lighter"
    )
    processor.process(
        media("dusk.mp4"), small(enhancement_level="basic"), output_dir=tmp_path / "same"
    )

    lighter = look(tmp_path / "lighter" / "clip_01.mp4")["top"]
    same = look(tmp_path / "same" / "clip_01.mp4")["top"]
    assert same == pytest.approx((40, 40, 40), abs=6)
    assert min(lighter) > max(same) + 8


def test_the_usual_one_of_several_sound_tracks_is_used(
    processor: VideoProcessor, media: Make, tmp_path: Path, look: Look
):
    """The marked one, as stereo; the others are left out."""
    result = processor.process(
        media("two_tracks.mkv"),
        small(clip_seconds=1, enhancement_level="basic"),
        output_dir=tmp_path,
    )

    assert look(tmp_path / "clip_01.mp4")["channels"] == [2]
    # The other track is silent, and has no loudness.
    assert result.output_files[0].loudness_lufs == pytest.approx(-14, abs=1)
