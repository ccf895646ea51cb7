"""A source is looked at by a process of its own, which a bad file may end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import pytest

from videojobs.errors import ProcessingCancelledError, ProcessingError
from videojobs.media.inspector import Inspector

Make = Callable[[str], Path]


@pytest.fixture(scope="module")
def inspector() -> Iterator[Inspector]:
    with Inspector() as inspector:
        yield inspector


def test_picture_and_sound_are_found(inspector: Inspector, media: Make):
    """All that a plan needs."""
    facts = inspector.source(media("voice.mp4"))

    assert facts.video is not None
    assert facts.audio is not None
    assert (facts.video.codec, facts.video.width, facts.video.height) == ("h264", 320, 180)
    assert (facts.video.frame_rate, facts.duration_seconds) == (Fraction(30), 4.0)
    assert (facts.audio.codec, facts.audio.channels) == ("aac", 1)


def test_rotation_is_found(inspector: Inspector, turned: Path):
    """The picture is upright although it is stored lying."""
    facts = inspector.source(turned)

    assert facts.video is not None
    assert facts.video.upright_size == (180, 320)


@pytest.mark.parametrize(
    ("name", "fact", "value"),
    [
        ("anamorphic.mp4", "sample_aspect_ratio", Fraction(4, 3)),
        ("interlaced.mp4", "is_interlaced", True),
        ("voice.mp4", "is_interlaced", False),
        ("hdr.mp4", "transfer", "smpte2084"),
        ("hdr.mp4", "matrix", "bt2020"),
        ("odd.mkv", "width", 321),
    ],
)
def test_what_changes_the_plan_is_found(
    inspector: Inspector, media: Make, name: str, fact: str, value: object
):
    """Pixels' shape, fields, HDR and odd sizes."""
    facts = inspector.source(media(name))

    assert getattr(facts.video, fact) == value


def test_the_delay_of_reordered_pictures_is_no_duration(
    inspector: Inspector, ffmpeg: Callable[..., object], tmp_path: Path
):
    """FLV's header counts it; at 12 frames a second it is a sixth of a second."""
    moving = ("-f", "lavfi", "-i", "testsrc2=size=160x90:rate=12:duration=2")
    ffmpeg(*moving, "-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", tmp_path / "two.flv")

    facts = inspector.source(tmp_path / "two.flv")

    assert facts.duration_seconds == pytest.approx(2.0, abs=0.01)


def test_a_duration_that_the_header_lacks_is_measured(inspector: Inspector, without_duration: Path):
    """Browsers record without knowing how long it will be."""
    facts = inspector.source(without_duration)

    assert facts.duration_seconds == pytest.approx(4.0, abs=0.05)


def test_a_broken_upload_is_known_by_its_index(inspector: Inspector, media: Make, tmp_path: Path):
    """The index at the front names bytes that never came."""
    whole = media("voice.mp4").read_bytes()
    (tmp_path / "half.mp4").write_bytes(whole[: len(whole) // 2])

    facts = inspector.source(tmp_path / "half.mp4")

    assert facts.is_cut_short


def test_codecs_have_their_own_names(inspector: Inspector, media: Make):
    """Not those of ffmpeg's decoders, such as mp3float."""
    facts = inspector.source(media("mp3.mp4"))

    assert facts.audio is not None
    assert facts.audio.codec == "mp3"


def test_sound_alone_has_no_video(inspector: Inspector, media: Make):
    """It is a fact, not an error, of the probe."""
    facts = inspector.source(media("music.m4a"))

    assert facts.video is None


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("notes.mp4", b"these are my notes, and no video at all\n" * 100, "corrupt_source"),
        ("zeros.mp4", bytes(100_000), "corrupt_source"),
        (
            "list.mp4",
            b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n",
            "format_refused",
        ),
        ("list.ffconcat", b"ffconcat version 1.0\nfile voice.mp4\n", "format_refused"),
        ("list.sdp", b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n", "format_refused"),
    ],
)
def test_what_is_no_video_is_refused(
    inspector: Inspector, tmp_path: Path, name: str, content: bytes, code: str
):
    """Playlists and scripts name other files; no name makes them videos."""
    (tmp_path / name).write_bytes(content)

    with pytest.raises(ProcessingError) as refused:
        inspector.source(tmp_path / name)

    assert (refused.value.code, refused.value.retryable) == (code, False)
    assert refused.value.advice in str(refused.value)
    assert "Errno" not in str(refused.value)


@pytest.mark.parametrize(
    ("options", "name", "kind"),
    [
        (("-f", "lavfi", "-i", "testsrc2=s=64x64", "-frames:v", "1"), "a.png", "a PNG picture"),
        (("-f", "lavfi", "-i", "testsrc2=s=64x64", "-frames:v", "1"), "a.jpg", "a JPEG picture"),
        (("-f", "lavfi", "-i", "testsrc2=s=64x64", "-t", "1"), "a.gif", "a GIF picture"),
        (("-f", "lavfi", "-i", "testsrc2=s=64x64", "-frames:v", "1"), "a.webp", "a WebP picture"),
        (("-f", "lavfi", "-i", "sine", "-t", "1"), "a.wav", "a WAV sound file"),
        (("-f", "lavfi", "-i", "sine", "-t", "1"), "a.mp3", "an MP3 sound file"),
        (("-f", "lavfi", "-i", "sine", "-t", "1", "-id3v2_version", "0"), "b.mp3", "an MP3 sound file"),
        (("-f", "lavfi", "-i", "sine", "-t", "1"), "a.aac", "an AAC sound file"),
        (("-f", "lavfi", "-i", "sine", "-t", "1"), "a.flac", "a FLAC sound file"),
    ],
)  # fmt: skip
def test_what_is_no_video_is_named(
    inspector: Inspector,
    ffmpeg: Callable[..., object],
    tmp_path: Path,
    options: tuple[str, ...],
    name: str,
    kind: str,
):
    """So that whoever sent it knows what he sent, whatever he called it."""
    ffmpeg(*options, tmp_path / name)
    (tmp_path / name).rename(tmp_path / "upload.mp4")

    with pytest.raises(ProcessingError, match=f"the source is {kind}, and no video") as refused:
        inspector.source(tmp_path / "upload.mp4")

    assert (refused.value.code, refused.value.retryable) == ("format_refused", False)


def test_a_damaged_video_behind_a_tag_is_no_sound(inspector: Inspector, tmp_path: Path):
    """Recordings of broadcasts may begin with the tag that MP3 files begin with."""
    tag = b"ID3\x04\x00\x00" + bytes([0, 0, 1, 0]) + bytes(128)
    (tmp_path / "upload.ts").write_bytes(tag + (b"\x47\x1f\xff\x10" + bytes(184)) * 9)

    with pytest.raises(ProcessingError) as refused:
        inspector.source(tmp_path / "upload.ts")

    assert refused.value.code == "corrupt_source"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n", "a playlist"),
        (b"\xef\xbb\xbfWEBVTT\n\n00:01.000 --> 00:02.000\nHello\n", "a file of captions"),
        (b"1\r\n00:00:01,000 --> 00:00:02,000\r\nHello\r\n", "a file of captions"),
        (b"\n<!DOCTYPE html><title>Gone</title>", "a web page"),
        (b'<?xml version="1.0"?>\n<MPD xmlns="x"/>', "a manifest"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "an XML document"),
        (b'{"message": "not found"}', "a JSON document"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"PK\x03\x04\x14\x00", "a ZIP archive"),
    ],
)
def test_what_was_fetched_instead_of_a_video_is_named(
    inspector: Inspector, tmp_path: Path, content: bytes, kind: str
):
    """Such as the page that an expired address leads to."""
    (tmp_path / "upload.mp4").write_bytes(content)

    with pytest.raises(ProcessingError, match=f"the source is {kind}"):
        inspector.source(tmp_path / "upload.mp4")


def test_a_file_that_ends_its_reader_is_refused_and_the_next_is_read(
    inspector: Inspector, media: Make
):
    """The worker lives on, and so does the inspector."""
    inspector.source(media("silent.mp4"))
    [process] = inspector._idle
    os.kill(process.pid, signal.SIGSEGV)
    process.wait()

    facts = inspector.source(media("silent.mp4"))

    assert facts.duration_seconds == 4.0


def test_a_look_ends_when_it_is_to_stop(media: Make):
    """A cancellation does not wait for a slow file."""
    with Inspector(should_stop=lambda: True) as inspector:
        with pytest.raises(ProcessingCancelledError):
            inspector.source(media("silent.mp4"))

        assert inspector._idle == []


def test_a_finished_file_that_lost_its_end_is_noticed(
    inspector: Inspector, media: Make, tmp_path: Path
):
    """Its index, in front, is whole; its data is not."""
    whole = media("voice.mp4").read_bytes()
    (tmp_path / "clip_01.mp4.part").write_bytes(whole[:-1000])

    facts = inspector.output(tmp_path / "clip_01.mp4.part", "video")

    assert not facts.is_whole


def test_a_finished_file_that_is_damaged_does_not_decode(
    inspector: Inspector, media: Make, tmp_path: Path
):
    """Flipped bytes in a keyframe are found although the container is fine."""
    damaged = bytearray(media("silent.mp4").read_bytes())
    start = damaged.index(b"mdat") + 1000
    damaged[start : start + 600] = bytes(byte ^ 0xFF for byte in damaged[start : start + 600])
    (tmp_path / "clip_01.mp4.part").write_bytes(damaged)

    facts = inspector.output(tmp_path / "clip_01.mp4.part", "video")

    assert facts.is_whole
    assert facts.decode_error


@pytest.fixture
def damaged_between(media: Make, tmp_path: Path) -> Path:
    """Flipped bytes amid the second of four groups of pictures, in no keyframe."""
    whole = bytearray(media("silent.mp4").read_bytes())
    with av.open(str(media("silent.mp4"))) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    hit = packets[45]
    assert not hit.is_keyframe
    whole[hit.pos + 8 : hit.pos + hit.size] = bytes(hit.size - 8)
    path = tmp_path / "clip_01.mp4.part"
    path.write_bytes(whole)
    return path


def test_a_damaged_picture_amid_a_clip_is_found(inspector: Inspector, damaged_between: Path):
    """All of a clip is decoded; the keyframes alone would not tell."""
    clip = inspector.output(damaged_between, "video", decode_seconds=4.0)
    film = inspector.output(damaged_between, "video")

    assert clip.decode_error
    assert film.decode_error is None


@pytest.mark.parametrize("place", [5, 115])
def test_the_first_and_the_last_second_of_a_film_are_decoded(
    inspector: Inspector, media: Make, tmp_path: Path, place: int
):
    """Where a viewer looks first, and where an encoder breaks off."""
    whole = bytearray(media("silent.mp4").read_bytes())
    with av.open(str(media("silent.mp4"))) as container:
        hit = [packet for packet in container.demux(video=0) if packet.size][place]
    whole[hit.pos + 8 : hit.pos + hit.size] = bytes(hit.size - 8)
    (tmp_path / "720p.mp4.part").write_bytes(whole)

    facts = inspector.output(tmp_path / "720p.mp4.part", "video")

    assert facts.decode_error


def test_damaged_sound_is_found(inspector: Inspector, media: Make, tmp_path: Path):
    """The picture of the same file is whole."""
    whole = bytearray(media("voice.mp4").read_bytes())
    with av.open(str(media("voice.mp4"))) as container:
        hit = [packet for packet in container.demux(audio=0) if packet.size][40]
    whole[hit.pos : hit.pos + hit.size] = b"\xff" * hit.size
    (tmp_path / "clip_01.mp4.part").write_bytes(whole)

    facts = inspector.output(tmp_path / "clip_01.mp4.part", "video", decode_seconds=4.0)

    assert facts.decode_error


def test_the_probe_has_no_network_and_writes_no_file(inspector: Inspector, media: Make):
    """It is closed off as ffmpeg is."""
    inspector.source(media("silent.mp4"))
    [process] = inspector._idle

    status = Path(f"/proc/{process.pid}/status").read_text()
    limits = Path(f"/proc/{process.pid}/limits").read_text()

    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status
    assert "Max file size             0 " in limits


def test_a_file_without_any_picture_tells_that_the_source_ended(
    inspector: Inspector, ffmpeg: Callable[..., object], media: Make, tmp_path: Path
):
    """ffmpeg ends with 0 when a clip begins behind the end of its source."""
    late = ("-ss", "60", "-i", media("silent.mp4"))
    ffmpeg(*late, "-c:v", "libx264", "-f", "mp4", tmp_path / "clip_01.mp4.part")

    with pytest.raises(ProcessingError, match=r"nothing for clip_01\.mp4") as failed:
        inspector.output(tmp_path / "clip_01.mp4.part", "video")

    assert (failed.value.code, failed.value.retryable) == ("truncated_source", False)
