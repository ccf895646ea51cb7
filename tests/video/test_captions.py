"""Captions: read with care, written anew, burnt in where they may stand, or laid beside the clip."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import av
import pytest

from videojobs.errors import ProcessingCancelledError, ProcessingError
from videojobs.pipelines.captions import (
    Caption,
    burnt_captions,
    caption_box,
    captions_within,
    read_captions,
    sidecar_captions,
)
from videojobs.pipelines.clips import plan_clips
from videojobs.pipelines.plan import Machine
from videojobs.pipelines.renditions import plan_renditions
from videojobs.pipelines.settings import ProcessingSettings
from videojobs.pipelines.source import SourceFacts, SourceLimits
from videojobs.processor import VideoProcessor
from videojobs.profiles import PLATFORMS

Make = Callable[[str], Path]

SRT = """1
00:00:01,000 --> 00:00:02,000
Good morning,
<i>world</i>!

2
00:00:02,500 --> 00:00:03,500
Second
"""
BOX = caption_box(PLATFORMS[None], width=1080, height=1920)


def cue(text: str, second: int = 1) -> bytes:
    minute, second = divmod(second, 60)
    return (
        f"1\n00:{minute:02}:{second:02},000 --> 00:{minute:02}:{second:02},900\n{text}\n".encode()
    )


def dialogues(script: str) -> list[str]:
    """The lines of a script that show something, from their time on."""
    return [
        line.removeprefix("Dialogue: 0,").replace("Caption,,0,0,0,,", "")
        for line in script.splitlines()
        if line.startswith("Dialogue:")
    ]


def bright_boxes(path: Path) -> Iterator[tuple[float, tuple[int, int, int, int] | None]]:
    """For each frame its time, and the smallest box around all that is bright."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            plane = frame.planes[0]
            data, line = bytes(plane), plane.line_size
            rows = [data[y * line : y * line + frame.width] for y in range(frame.height)]
            bright_rows = [y for y, row in enumerate(rows) if max(row) > 160]
            columns = [x for x in range(frame.width) if max(row[x] for row in rows) > 160]
            box = (columns[0], bright_rows[0], columns[-1], bright_rows[-1]) if columns else None
            yield round(float(frame.pts * frame.time_base), 3), box


def test_subrip_is_read():
    """Times in seconds, text without tags, lines as they are."""
    captions = read_captions(SRT.encode())

    assert captions == (
        Caption(1.0, 2.0, "Good morning,\nworld!"),
        Caption(2.5, 3.5, "Second"),
    )


def test_webvtt_is_read():
    """Names, notes, positions, voices and entities are left out or resolved."""
    text = (
        "WEBVTT - a title\n\nSTYLE\n::cue { color: red }\n\nfirst\n"
        "00:01.000 --> 00:02.000 align:start line:0\n<v Ann>Bread &amp; <c.loud>butter</c>\n\n"
        "NOTE nobody reads this\n\nsecond\n00:00:03.000 --> 00:00:04.000\nMore\n"
    )

    captions = read_captions(text.encode())

    assert captions == (Caption(1.0, 2.0, "Bread & butter"), Caption(3.0, 4.0, "More"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_unicode_is_read_in_its_encodings(encoding: str):
    """Windows writes a mark in front, and sometimes two bytes a letter."""
    (caption,) = read_captions(cue("Grüße, 世界").decode().encode(encoding))

    assert caption.text == "Grüße, 世界"


def test_a_long_header_is_no_caption():
    """Styles and notes stand before the first time."""
    styles = b"WEBVTT\n\nSTYLE\n::cue { color: lime }\n\nNOTE " + b"a long story " * 300

    (caption,) = read_captions(styles + b"\n\n00:01.000 --> 00:02.000\nHello\n")

    assert caption.text == "Hello"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no times"),
        (b"\x00\x01\x02" * 50, "zero byte"),
        (cue("a\0b"), "zero byte"),
        (b"\xff\xfe\x00", "not in UTF-8"),
        (cue("Gr\u00fc\u00dfe").decode().encode("cp1252"), "not in UTF-8"),
        (b"[Script Info]\n[Events]\nDialogue: 0,0:00:01.00,0:00:02.00,,,,,,,Hi", "no times"),
        (b"%PDF-1.7\nnothing of use", "no times"),
        (b"x" * 10_000_000, "more than 1,000,000 bytes"),
        (cue("{" * 900_000), "more than 2,000 characters"),
        (cue("<a" * 400_000), "more than 2,000 characters"),
        (cue("a") * 6_000, "at most 5,000"),
        (cue("a") * 9, "more than 8 of them are shown at second"),
        (cue("{\\p1}m 0 0 l 100 0 100 100{\\p0}"), "no text"),
        (b"1\n00:00:02,000 --> 00:00:01,000\nbackwards\n", "no text"),
    ],
)
def test_captions_that_cannot_be_used_are_refused(data: bytes, reason: str):
    """At once, and with what to send instead."""
    with pytest.raises(ProcessingError, match=reason) as refused:
        read_captions(data)

    assert (refused.value.code, refused.value.retryable) == ("bad_captions", False)
    assert "SRT or WebVTT" in str(refused.value)


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (r"{\t(0,99999,\fscx9000\frz36000)}Spin{\r}", "Spin"),
        (r"{\fnEvil\blur99}Blur", "Blur"),
        ("<font color=red>Red</font>", "Red"),
        ("<script>alert(1)</script>", "alert(1)"),
        ("tab\there\x07 bell\x1b[31m", "tab here bell [31m"),
        ("a \u2028 b", "a b"),
        ("&lt;b&gt; &#123;\\b1&#125;", "<b> {\\b1}"),
    ],
)
def test_markup_and_control_characters_are_left_out(given: str, read: str):
    """Only what a viewer is to read is kept."""
    (caption,) = read_captions(cue(given))

    assert caption.text == read


def test_many_hostile_captions_are_read_quickly_enough_to_be_read_at_all():
    """Patterns that need the square of a text's length meet short texts only."""
    texts = ["x" + "<a" * 950] * 450 + ["{" * 1900] * 10
    captions = read_captions(b"".join(cue(text, second) for second, text in enumerate(texts)))

    assert len(captions) == 460


def test_captions_are_cut_to_the_clip():
    """In its own time; what ends before it or begins after it is gone."""
    captions = (
        Caption(0, 4, "before"),
        Caption(4, 6, "a"),
        Caption(7, 8, "b"),
        Caption(9, 99, "c"),
    )

    found = captions_within(captions, start_seconds=5.0, duration_seconds=4.5)

    assert found == (Caption(0, 1, "a"), Caption(2, 3, "b"), Caption(4, 4.5, "c"))


def test_a_script_is_wholly_our_own():
    """No brace or backslash of the text reaches libass, which would read commands in them."""
    script = burnt_captions((Caption(1, 2.5, "a {\\t(1)} b"),), BOX)

    assert dialogues(script) == [r"0:00:01.00,0:00:02.50,a (/t(1)) b"]
    assert "Style: Caption,Sans,65," in script
    assert ",2,120,170,440,1" in script


def test_long_lines_are_broken_and_long_captions_shared_out():
    """At most three lines at a time; a word that is too long is broken too."""
    script = burnt_captions((Caption(0, 4, "one two three four five " * 4),), BOX)
    word = burnt_captions((Caption(0, 1, "x" * 45),), BOX)

    first, second = dialogues(script)
    assert first.startswith("0:00:00.00,0:00:02.00,") and first.count(r"\N") == 2
    assert second.startswith("0:00:02.00,0:00:04.00,")
    assert dialogues(word) == [rf"0:00:00.00,0:00:01.00,{'x' * 20}\N{'x' * 20}\N{'x' * 5}"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        # 20 letters a line: greedily, "on" would be left alone.
        ("somebody is walking on", [r"somebody is\Nwalking on"]),
        # Greedily, three lines and then the last word as a part of its own.
        ("I never said that he was here when it began to rain at last",
         [r"I never said\Nthat he was here", r"when it began to\Nrain at last"]),
        # What the caller broke stays broken.
        ("- Yes.\n- No.", [r"- Yes.\N- No."]),
    ],
)  # fmt: skip
def test_no_word_stands_alone(text: str, shown: list[str]):
    """Lines are about as long as each other, and so are parts."""
    script = burnt_captions((Caption(0, 4, text),), BOX)

    assert [line.split(",", 2)[2] for line in dialogues(script)] == shown


def test_reading_can_be_ended_soon():
    """Captions made to take long are read in small parts, and between them it may be cancelled."""
    cue = "{0}\n00:{1:02}:{2:02},000 --> 00:{1:02}:{2:02},900\nx<" + " " * 1900 + "\n\n"
    text = "".join(cue.format(number, *divmod(number, 60)) for number in range(200))
    moments: list[float] = []

    def go_on() -> None:
        moments.append(time.process_time())
        if len(moments) == 4:
            raise ProcessingCancelledError

    with pytest.raises(ProcessingCancelledError):
        read_captions(text.encode(), go_on)

    assert max(after - before for before, after in pairwise(moments)) < 1.5


def test_a_sidecar_is_wholly_our_own():
    """Times to the thousandth, and no text that a player could take for a time or a tag."""
    text = sidecar_captions((Caption(0.5, 3661.25, "a --> <b>\nB & C"), Caption(4000, 4001, "d")))

    assert text == (
        "WEBVTT\n\n00:00:00.500 --> 01:01:01.250\na --&gt; &lt;b&gt;\nB &amp; C\n\n"
        "01:06:40.000 --> 01:06:41.000\nd\n"
    )


@pytest.mark.parametrize(
    ("size", "sides"),
    [((1080, 1920), (120, 910, 1480)), ((540, 960), (60, 455, 740)), ((1080, 1080), (65, 1015, 1015)),
     ((1920, 1080), (65, 1855, 1015))],
)  # fmt: skip
def test_captions_stand_in_the_platforms_safe_zone(
    size: tuple[int, int], sides: tuple[int, int, int]
):
    """In an upright frame; platforms draw nothing on the edges of others."""
    box = caption_box(PLATFORMS[None], width=size[0], height=size[1])

    assert (box.left, box.right, box.bottom) == sides


def test_a_plan_holds_the_script_of_each_clip(facts: SourceFacts):
    """Under our own name, drawn last; a clip without captions has none."""
    captioned = replace(facts, captions=(Caption(16, 17, "Hello"),))
    settings = ProcessingSettings(clip_count=2, clip_seconds=5)

    plan = plan_clips(captioned, settings, machine=Machine(), limits=SourceLimits())

    first, second = plan.runs
    assert first.files[0].file_name == "clip_01.ass"
    assert dialogues(first.files[0].text) == ["0:00:03.50,0:00:04.50,Hello"]
    assert "]ass=filename=clip_01.ass[" in " ".join(first.arguments)
    assert "]ass=filename=clip_01.ass[" in " ".join(first.arguments_from_start or ())
    assert (second.files, "ass=" in " ".join(second.arguments)) == ((), False)


def test_renditions_say_that_captions_are_for_clips(facts: SourceFacts):
    """Nobody looks for them in vain."""
    captioned = replace(facts, captions=(Caption(16, 17, "Hello"),))
    settings = ProcessingSettings(pipeline="renditions")

    plan = plan_renditions(captioned, settings, machine=Machine(), limits=SourceLimits())

    assert any("captions" in warning for warning in plan.warnings)


def test_burnt_captions_are_seen_in_their_time_and_place(
    processor: VideoProcessor, media: Make, tmp_path: Path
):
    """Inside of the safe zone, from the first frame of their time to the last, and in no other."""
    given = tmp_path / "captions.srt"
    given.write_text("1\n00:00:01,500 --> 00:00:02,500\nGOOD MORNING, WWWWW WWWWWWW\n", "utf-8")
    settings = ProcessingSettings(
        clip_count=1, clip_seconds=2, clip_width=270, clip_height=480, platform_target=None
    )

    processor.process(media("dusk.mp4"), settings, output_dir=tmp_path, captions=given)

    boxes = list(bright_boxes(tmp_path / "clip_01.mp4"))
    seen = [(time, box) for time, box in boxes if box is not None]
    # The clip is the source's second 1 to 3.
    assert (seen[0][0], seen[-1][0], len(seen)) == (0.5, pytest.approx(1.467, abs=0.001), 30)
    left, top, right, bottom = seen[15][1]
    assert 120 * 0.25 <= left < right <= 910 * 0.25
    assert 250 * 0.25 <= top < bottom <= 1480 * 0.25


def test_captions_lie_beside_their_clips(processor: VideoProcessor, media: Make, tmp_path: Path):
    """As WebVTT in each clip's own time; the picture is left alone."""
    given = tmp_path / "captions.srt"
    given.write_text(SRT, "utf-8")
    settings = ProcessingSettings(
        clip_count=1,
        clip_choice="spread",
        clip_seconds=2,
        clip_width=90,
        clip_height=160,
        captions_mode="sidecar",
    )

    result = processor.process(
        media("dusk.mp4"), settings, output_dir=tmp_path / "out", captions=str(given)
    )

    clip, _, sidecar = result.output_files
    assert (sidecar.path, sidecar.kind, sidecar.name) == (
        "clip_01.vtt", "captions", "clip_01_captions",
    )  # fmt: skip
    assert (sidecar.source_start_seconds, sidecar.width) == (1.0, None)
    assert (tmp_path / "out" / "clip_01.vtt").read_text("utf-8") == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nGood morning,\nworld!\n\n"
        "00:00:01.500 --> 00:00:02.000\nSecond\n"
    )
    assert sidecar.size_bytes == (tmp_path / "out" / "clip_01.vtt").stat().st_size
    assert all(box is None for _, box in bright_boxes(tmp_path / "out" / clip.path))


def test_captions_from_a_pipe_are_not_waited_for(
    processor: VideoProcessor, media: Make, tmp_path: Path
):
    """Nobody might ever write to it."""
    os.mkfifo(tmp_path / "talk.srt")

    with pytest.raises(ProcessingError) as caught:
        processor.process(
            media("silent.mp4"),
            ProcessingSettings(),
            output_dir=tmp_path / "out",
            captions=tmp_path / "talk.srt",
        )

    assert caught.value.code == "bad_captions"
    assert not (tmp_path / "out").exists()


def test_a_missing_captions_file_is_told_before_any_work(
    processor: VideoProcessor, media: Make, tmp_path: Path
):
    """As captions that cannot be used."""
    with pytest.raises(ProcessingError, match="no file that can be read") as refused:
        processor.process(
            media("dusk.mp4"),
            ProcessingSettings(),
            output_dir=tmp_path / "out",
            captions=tmp_path / "none.srt",
        )

    assert refused.value.code == "bad_captions"
    assert not (tmp_path / "out").exists()


def test_a_machine_without_fonts_fails_rather_than_show_nothing(
    processor: VideoProcessor, media: Make, tmp_path: Path
):
    """ffmpeg itself ends with 0 and a picture without captions."""
    given, fonts, ffmpeg = tmp_path / "a.srt", tmp_path / "fonts.conf", tmp_path / "ffmpeg"
    given.write_bytes(cue("Hello"))
    fonts.write_text(f"<fontconfig><dir>{tmp_path}/none</dir></fontconfig>")
    ffmpeg.write_text(f'#!/bin/sh\nFONTCONFIG_FILE={fonts} exec {processor.ffmpeg} "$@"\n')
    ffmpeg.chmod(0o755)
    settings = ProcessingSettings(clip_count=1, clip_seconds=4, clip_width=90, clip_height=160)

    with pytest.raises(ProcessingError, match="fonts-dejavu") as failed:
        VideoProcessor(ffmpeg=str(ffmpeg), work_dir=tmp_path / "work").process(
            media("dusk.mp4"), settings, output_dir=tmp_path / "out", captions=given
        )

    assert failed.value.code == "missing_font"


def test_letters_that_no_font_has_are_told(processor: VideoProcessor, media: Make, tmp_path: Path):
    """They are drawn as empty boxes, which somebody should know: the first, and how many more."""
    given = tmp_path / "captions.srt"
    given.write_bytes(cue("Private \U0010abcd\U0010abcd \U0010abce\U0010abcf"))
    settings = ProcessingSettings(clip_count=1, clip_seconds=4, clip_width=90, clip_height=160)

    result = processor.process(
        media("dusk.mp4"), settings, output_dir=tmp_path / "out", captions=given
    )

    assert any("letters U+10ABCD and at least 2 more of" in each for each in result.warnings)
