"""Files that were made to harm: each ends with a code, in bounded time and memory."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fuzz.trial import Outcome
from videojobs.errors import ProcessingError
from videojobs.processor import ProcessingSettings, VideoProcessor

Make = Callable[[str], Path]
Try = Callable[[Path], Outcome]

TESTS = Path(__file__).parent.parent
PICTURE = ("-f", "lavfi", "-i", "testsrc2=size=320x180:rate=30:duration=4")
FAST = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "30")
SDP = b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
DASH = (
    b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    b'mediaPresentationDuration="PT4S"><Period><AdaptationSet><Representation id="1" '
    b'bandwidth="1"><BaseURL>http://127.0.0.1:1/x.mp4</BaseURL></Representation></AdaptationSet>'
    b"</Period></MPD>"
)
ASS = b"[Script Info]\nScriptType: v4.00+\n[Events]\nDialogue: 0,0:00:00.00,0:00:09.00,,,0,0,0,,x\n"
CAPTIONS = b"1\n00:00:00,000 --> 00:00:09,000\nhello\n\n" * 9
PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
HTML = b"<!DOCTYPE html><html><head><title>404</title></head><body>Not found</body></html>"
FONT = b"\x00\x01\x00\x00\x00\x0c\x00\x80\x00\x03\x00\x40" + bytes(range(256)) * 20

#: Element ids of Matroska.
SEGMENT, CLUSTER = bytes.fromhex("18538067"), bytes.fromhex("1F43B675")
ATTACHMENTS, ATTACHED, DATA = "1941A469", "61A7", "465C"
NAME, TYPE, NUMBER = "466E", "4660", "46AE"


@pytest.fixture(scope="module")
def attempt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Try]:
    """Gives a file to a process that may not have more than 3 GB, nor any of its children."""
    folder = tmp_path_factory.mktemp("limited")
    with subprocess.Popen(
        [sys.executable, "-m", "fuzz.trial", str(folder)],
        cwd=TESTS,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:

        def attempt(path: Path) -> Outcome:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{path}\n")
            process.stdin.flush()
            return Outcome(**json.loads(process.stdout.readline()))

        yield attempt
        process.stdin.close()  # pyright: ignore[reportOptionalMemberAccess]


@pytest.fixture
def recorded(media: Make, ffmpeg: Callable[..., object], tmp_path: Path) -> Make:
    """Makes four seconds with sound, in the container of the name's ending."""

    def make(name: str) -> Path:
        path = tmp_path / name
        codecs = ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus")
        copied = codecs if path.suffix == ".webm" else ("-c", "copy")
        front = ("-movflags", "+faststart") if name == "front.mp4" else ()
        ffmpeg("-i", media("voice.mp4"), *copied, *front, path)
        return path

    return make


def element(number: str, content: bytes) -> bytes:
    return bytes.fromhex(number) + (len(content) | 1 << 56).to_bytes(8, "big") + content


def with_attachments(path: Path, count: int, content: bytes) -> bytes:
    """A Matroska file with so many fonts in it."""
    fonts = b"".join(
        element(
            ATTACHED,
            element(NAME, b"f.ttf")
            + element(TYPE, b"application/x-truetype-font")
            + element(NUMBER, number.to_bytes(8, "big"))
            + element(DATA, content),
        )
        for number in range(1, count + 1)
    )
    whole = path.read_bytes()
    segment, cluster = whole.index(SEGMENT), whole.index(CLUSTER)
    head = whole[: segment + 4] + b"\x01" + b"\xff" * 7 + whole[segment + 12 : cluster]
    return head + element(ATTACHMENTS, fonts) + whole[cluster:]


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("video.mp4", bytes(10 << 20))
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        pytest.param(PLAYLIST, "format_refused", id="playlist"),
        pytest.param(b"ffconcat version 1.0\nfile voice.mp4\n", "format_refused", id="script"),
        pytest.param(SDP, "format_refused", id="session"),
        pytest.param(DASH, "format_refused", id="manifest"),
        pytest.param(CAPTIONS, "format_refused", id="captions"),
        pytest.param(ASS, "format_refused", id="styled captions"),
        pytest.param(HTML, "format_refused", id="error page"),
        pytest.param(FONT, "corrupt_source", id="font"),
        pytest.param(archive(), "format_refused", id="archive"),
        pytest.param(b"my notes\n" * 500, "corrupt_source", id="text"),
        pytest.param(bytes(100_000), "corrupt_source", id="zeros"),
        pytest.param(b"", "corrupt_source", id="nothing"),
    ],
)
def test_what_is_no_video_is_refused(attempt: Try, tmp_path: Path, content: bytes, code: str):
    """What names other files, and what merely bears a video's name."""
    path = tmp_path / "upload.mp4"
    path.write_bytes(content)

    outcome = attempt(path)

    assert (outcome.code, outcome.left_behind) == (code, [])
    assert "Errno" not in outcome.message


@pytest.mark.parametrize(
    "content",
    [PLAYLIST.replace(b"/etc/passwd", b"secret.mp4"), b"ffconcat version 1.0\nfile secret.mp4\n"],
)
def test_a_neighbours_file_is_never_read(attempt: Try, media: Make, tmp_path: Path, content: bytes):
    """A list in an upload, beside a video that it names: nothing of it comes out."""
    (tmp_path / "secret.mp4").write_bytes(media("voice.mp4").read_bytes())
    (tmp_path / "list.mp4").write_bytes(content)

    outcome = attempt(tmp_path / "list.mp4")

    assert outcome.outputs == []
    assert outcome.code in {"corrupt_source", "format_refused"}


def test_a_picture_among_pictures_is_no_video(
    attempt: Try, ffmpeg: Callable[..., object], tmp_path: Path
):
    """Also under a name that ffmpeg takes for a series."""
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x64", "-frames:v", "1", tmp_path / "01.png")
    (tmp_path / "%02d.mp4").write_bytes((tmp_path / "01.png").read_bytes())

    outcome = attempt(tmp_path / "%02d.mp4")

    assert outcome.code == "format_refused"


def test_a_playlist_hidden_in_subtitles_is_not_followed(
    attempt: Try, ffmpeg: Callable[..., object], media: Make, tmp_path: Path
):
    """An AVI's text track of the kind GAB2 is opened by whatever demuxer knows it."""
    ffmpeg("-i", media("silent.mp4"), "-c:v", "mpeg4", tmp_path / "plain.avi")
    whole = (tmp_path / "plain.avi").read_bytes()
    text = b"GAB2\0\2\0\0\0\0\0\4\0" + len(PLAYLIST).to_bytes(4, "little") + PLAYLIST
    chunk = b"00dc" + len(text).to_bytes(4, "little") + text + b"\0" * (len(text) % 2)
    place = whole.index(b"movi") + 4
    (tmp_path / "upload.avi").write_bytes(whole[:place] + chunk + whole[place:])

    outcome = attempt(tmp_path / "upload.avi")

    assert outcome.fault is None
    assert "passwd" not in outcome.message


@pytest.mark.parametrize(
    ("count", "size"), [(1000, 10), (1, 200 << 20)], ids=["a thousand", "200 MB"]
)
def test_attachments_do_no_harm(attempt: Try, media: Make, tmp_path: Path, count: int, size: int):
    """They are read past: the clip is made, or the file refused, in a few times its size."""
    path = tmp_path / "upload.mkv"
    path.write_bytes(with_attachments(media("stereo.mkv"), count, bytes(size)))

    outcome = attempt(path)

    assert outcome.code in {None, "source_too_large"}
    assert outcome.left_behind == []
    assert outcome.peak_bytes < 1_500_000_000


def test_an_enormous_picture_is_refused(
    attempt: Try, ffmpeg: Callable[..., object], tmp_path: Path
):
    """419 kB that would take a gigabyte to decode, and more to encode."""
    colour = ("-f", "lavfi", "-i", "color=size=16384x8704:rate=1:duration=1")
    ffmpeg(*colour, "-c:v", "libx264", "-preset", "ultrafast", tmp_path / "huge.mp4")

    outcome = attempt(tmp_path / "huge.mp4")

    assert outcome.code == "source_too_large"
    assert "16384x8704" in outcome.message


def test_two_pictures_a_day_apart_are_refused(
    attempt: Try, ffmpeg: Callable[..., object], tmp_path: Path
):
    """4 kB that would become three million frames."""
    frames = ("-f", "lavfi", "-i", "testsrc2=size=64x64:rate=1:duration=2")
    spread = ("-vf", "setpts=N*100000/TB", "-fps_mode", "passthrough")
    ffmpeg(*frames, *spread, "-enc_time_base", "1/1000", *FAST, tmp_path / "bomb.mkv")

    outcome = attempt(tmp_path / "bomb.mkv")

    assert outcome.code == "source_too_long"


def test_times_that_jump_make_no_endless_clip(
    attempt: Try, ffmpeg: Callable[..., object], tmp_path: Path
):
    """Within the limit on duration, each output still ends when it was told to."""
    frames = ("-f", "lavfi", "-i", "testsrc2=size=64x64:rate=1:duration=2")
    spread = ("-vf", "setpts=N*20000/TB", "-fps_mode", "passthrough")
    ffmpeg(*frames, *spread, "-enc_time_base", "1/1000", *FAST, tmp_path / "jump.mkv")

    outcome = attempt(tmp_path / "jump.mkv")

    assert outcome.fault is None
    assert outcome.peak_bytes < 1_500_000_000


def test_a_stream_that_begins_again_and_again_is_bounded(
    attempt: Try, recorded: Make, tmp_path: Path
):
    """A hundred times the same transport stream, whose clock leaps back each time."""
    (tmp_path / "loop.ts").write_bytes(recorded("once.ts").read_bytes() * 100)

    outcome = attempt(tmp_path / "loop.ts")

    assert outcome.fault is None


def test_a_pipe_is_no_source(work_dir: Path, tmp_path: Path):
    """It might never end."""
    os.mkfifo(tmp_path / "upload.mp4")

    with pytest.raises(ProcessingError) as refused:
        VideoProcessor(work_dir=work_dir).process(
            tmp_path / "upload.mp4", ProcessingSettings(), output_dir=tmp_path / "out"
        )

    assert refused.value.code == "missing_source"


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_a_thousand_streams_are_not_opened(
    attempt: Try, ffmpeg: Callable[..., object], media: Make, tmp_path: Path, container: str
):
    """MP4 refuses them, and Matroska reads the first 64."""
    ffmpeg("-i", media("voice.mp4"), "-map", "0:a", "-t", "0.1", "-c", "copy", tmp_path / "a.mp4")
    sounds = ("-map", "1:a") * 990
    inputs = ("-i", media("voice.mp4"), "-i", tmp_path / "a.mp4")
    ffmpeg(*inputs, "-map", "0:v", *sounds, "-c", "copy", tmp_path / f"many.{container}")

    outcome = attempt(tmp_path / f"many.{container}")

    assert outcome.code == {"mp4": "source_too_large", "mkv": None}[container]


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("name", ["front.mp4", "end.mp4", "cut.mkv", "cut.ts", "cut.webm"])
def test_an_upload_that_broke_off_ends_with_a_code_of_its_owner(
    attempt: Try, recorded: Make, tmp_path: Path, name: str, share: float
):
    """Or with a whole clip, where it lies before the break; never with a fault of ours."""
    whole = recorded(name).read_bytes()
    (tmp_path / "upload").write_bytes(whole[: int(len(whole) * share)])

    outcome = attempt(tmp_path / "upload")

    allowed = {
        "front.mp4": {"truncated_source"},
        "end.mp4": {"corrupt_source"},
        "cut.mkv": {"truncated_source", "corrupt_source", None},
        "cut.webm": {"truncated_source", "corrupt_source", None},
        "cut.ts": {"source_too_short", "truncated_source", None},
    }
    assert outcome.code in allowed[name]
    assert outcome.left_behind == []
