"""From a file to finished files, with the real ffmpeg, and nothing left behind when it fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import pytest

from videojobs.errors import (
    ConfigurationError,
    ProcessingCancelledError,
    ProcessingError,
    SupabaseValidationError,
)
from videojobs.pipelines.clips import plan_clips
from videojobs.pipelines.plan import Plan
from videojobs.processor import ProcessingSettings, Progress, VideoProcessor

Make = Callable[[str], Path]
Look = Callable[[Path], dict[str, Any]]

#: One small upright clip of a second.
SMALL = {
    "clip_count": 1,
    "clip_seconds": 1,
    "clip_width": 90,
    "clip_height": 160,
    "clip_choice": "spread",
}
#: Slow enough to be stopped in the middle on any machine.
SLOW = {"clip_count": 2, "clip_seconds": 2, "quality_preset": "pro", "enhancement_level": "none"}

WORKER = """
import json, pathlib, sys
from videojobs.processor import ProcessingSettings, VideoProcessor
source, work, out, wishes = sys.argv[1:]
VideoProcessor(work_dir=pathlib.Path(work), cores=2).process(
    source, ProcessingSettings(**json.loads(wishes)), output_dir=pathlib.Path(out),
    on_progress=lambda progress: print(progress.percent, flush=True),
)
"""


def small(**settings: object) -> ProcessingSettings:
    return ProcessingSettings(**(SMALL | settings))


def encoders_of(parent: int) -> list[int]:
    """The process ids of the ffmpegs that a process has started."""
    rows = subprocess.run(
        ["ps", "-axww", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    split = [row.split(None, 2) for row in rows]
    return [
        int(pid)
        for pid, ppid, args in split
        if int(ppid) == parent and any(word.endswith(".part") for word in args.split())
    ]


def is_alive(pid: int) -> bool:
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.strip()
    return state not in ("", "Z", "Zs")


def cut(path: Path, into: Path, *, share: float) -> Path:
    whole = path.read_bytes()
    into.write_bytes(whole[: int(len(whole) * share)])
    return into


def test_a_clip_is_what_was_promised(
    processor: VideoProcessor, media: Make, tmp_path: Path, look: Look
):
    """By an independent look: size, codec, rate, length, sound."""
    result = processor.process(media("voice.mp4"), small(), output_dir=tmp_path / "out")

    found = look(tmp_path / "out" / "clip_01.mp4")
    assert (found["size"], found["codec"], found["pixels"]) == ((90, 160), "h264", "yuv420p")
    assert (found["rate"], found["frames"], found["channels"]) == (30, 30, [2])
    assert result.warnings == ()


def test_the_facts_of_an_output_are_told(processor: VideoProcessor, media: Make, tmp_path: Path):
    """Enough to show and to check it, with a path relative to the output folder."""
    result = processor.process(media("voice.mp4"), small(), output_dir=tmp_path)

    output, _ = result.output_files
    assert (output.path, output.kind, output.name) == ("clip_01.mp4", "video", "clip_01")
    assert (output.width, output.height, output.frame_rate) == (90, 160, 30.0)
    assert (output.video_codec, output.audio_codec) == ("h264", "aac")
    assert (output.source_start_seconds, output.source_end_seconds) == (1.5, 2.5)
    assert output.size_bytes == (tmp_path / "clip_01.mp4").stat().st_size
    assert len(output.sha256 or "") == 64
    assert output.duration_seconds == pytest.approx(1.0, abs=0.01)


def test_progress_grows_to_100(processor: VideoProcessor, media: Make, tmp_path: Path):
    """It never goes back, for the whole and for each clip, and ends with the last file in place."""
    told: list[Progress] = []

    processor.process(
        media("voice.mp4"), small(clip_count=3), output_dir=tmp_path, on_progress=told.append
    )

    percents = [progress.percent for progress in told]
    assert (percents[0], percents[-1]) == (0, 100)
    assert percents == sorted(percents)
    assert told[-1].stage == "done"
    assert told[-1].detail == {"clip_01": 100, "clip_02": 100, "clip_03": 100}


def test_renditions_come_from_one_run(
    processor: VideoProcessor, media: Make, tmp_path: Path, look: Look
):
    """A tiny source gives one rendition at its own size and a poster, with a reason."""
    told: list[Progress] = []

    result = processor.process(
        media("voice.mp4"),
        ProcessingSettings(pipeline="renditions", quality_preset="draft"),
        output_dir=tmp_path,
        on_progress=told.append,
    )

    assert [output.path for output in result.output_files] == ["180p.mp4", "poster.jpg"]
    assert look(tmp_path / "180p.mp4")["size"] == (320, 180)
    assert look(tmp_path / "180p.mp4")["frames"] == 120
    assert look(tmp_path / "poster.jpg")["size"] == (320, 180)
    assert "nothing is enlarged" in result.warnings[0]
    assert told[-1].detail == {"180p": 100}


def test_a_turned_video_comes_out_upright(
    processor: VideoProcessor, turned: Path, tmp_path: Path, look: Look
):
    """What was left and right is above and below, and no note to turn it is left."""
    processor.process(turned, small(), output_dir=tmp_path)

    found = look(tmp_path / "clip_01.mp4")
    colours = {tuple(channel > 128 for channel in found[end]) for end in ("top", "bottom")}
    assert colours == {(True, False, False), (False, False, True)}


def test_colours_survive_the_way_to_bt709(
    processor: VideoProcessor, media: Make, tmp_path: Path, look: Look
):
    """An untagged small source is BT.601: its red must not turn orange."""
    processor.process(media("halves.mp4"), small(), output_dir=tmp_path)

    found = look(tmp_path / "clip_01.mp4")
    assert found["left"] == pytest.approx((255, 0, 0), abs=6)
    assert found["right"] == pytest.approx((0, 0, 255), abs=6)


@pytest.mark.parametrize(
    "name",
    [
        "silent.mp4",
        "tall.mp4",
        "odd.mkv",
        "anamorphic.mp4",
        "interlaced.mp4",
        "uneven.mp4",
        "hdr.mp4",
    ],
)
def test_unusual_sources_give_ordinary_clips(
    processor: VideoProcessor, media: Make, tmp_path: Path, look: Look, name: str
):
    """No sound, upright, odd, stretched, interlaced, uneven and HDR: all become the same."""
    processor.process(media(name), small(), output_dir=tmp_path)

    found = look(tmp_path / "clip_01.mp4")
    assert (found["size"], found["pixels"], found["aspect"]) == ((90, 160), "yuv420p", 1)
    assert (found["interlaced"], found["transfer"]) == (False, 1)
    assert 23 <= found["rate"] <= 60
    assert found["seconds"] == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("container", ["mp4", "mkv", "flv", "ts", "mpg", "avi"])
def test_clips_show_the_times_that_they_promise(
    processor: VideoProcessor, media: Make, tmp_path: Path, look: Look, container: str
):
    """First, middle and last picture; broadcast streams have no index and seek badly."""
    source = media(f"clock.{container}")
    settings = small(clip_count=2, clip_seconds=8)

    result = processor.process(source, settings, output_dir=tmp_path)

    # An MPEG program stream's length is an estimate, so its clips begin elsewhere.
    clips = [output for output in result.output_files if output.kind == "video"]
    first, second = (output.source_start_seconds or 0.0 for output in clips)
    assert (first, second) == pytest.approx((11.0, 41.0), abs=2.0)
    assert look(tmp_path / "clip_01.mp4")["clock"] == [int(first + at) for at in (0, 4, 7.9)]
    assert look(tmp_path / "clip_02.mp4")["clock"] == [int(second + at) for at in (0, 4, 7.9)]


def test_a_slow_source_has_its_frames_repeated_and_says_so(
    processor: VideoProcessor, media: Make, tmp_path: Path
):
    """20 frames a second are below every platform's floor, and 40 keep the motion even."""
    result = processor.process(media("slow.mp4"), small(), output_dir=tmp_path)

    assert result.output_files[0].frame_rate == 40.0
    assert result.warnings[0] == (
        "the source has 20 frames a second and the common profile takes 23 or more: each is shown "
        "2 times, at 40"
    )


@pytest.mark.parametrize("start_seconds", [3, 5])
def test_a_picture_that_becomes_smaller_midway_is_cut_like_any_other(
    processor: VideoProcessor, shrinking: Path, look: Look, tmp_path: Path, start_seconds: float
):
    """The cut-out would not fit into what it became; and the sound does not begin anew there."""
    cut = {"start_seconds": start_seconds, "end_seconds": start_seconds + 2}

    result = processor.process(shrinking, small(cuts=[cut]), output_dir=tmp_path)

    assert look(tmp_path / "clip_01.mp4")["frames"] == 60
    with av.open(str(tmp_path / "clip_01.mp4")) as clip:
        lengths = {packet.duration for packet in clip.demux(audio=0) if packet.size}
    assert min(lengths) > 100
    assert not result.warnings


def test_silence_has_no_loudness(processor: VideoProcessor, media: Make, tmp_path: Path):
    """The meter's floor is not told as if it were one."""
    settings = small(enhancement_level="basic")

    result = processor.process(media("mute.mp4"), settings, output_dir=tmp_path)

    assert result.output_files[0].loudness_lufs is None
    assert result.warnings == ("clip_01 is silent",)


def test_folders_may_be_given_as_text(media: Make, tmp_path: Path):
    """Every name of a path will do."""
    processor = VideoProcessor(work_dir=str(tmp_path / "work"), cores=2)

    processor.process(str(media("silent.mp4")), small(), output_dir=str(tmp_path / "new" / "out"))

    assert (tmp_path / "new" / "out" / "clip_01.mp4").is_file()


def test_a_recording_without_duration_is_cut(
    processor: VideoProcessor, without_duration: Path, tmp_path: Path
):
    """Its length is measured first."""
    result = processor.process(without_duration, small(clip_count=2), output_dir=tmp_path)

    clips = [output for output in result.output_files if output.kind == "video"]
    assert [output.source_start_seconds for output in clips] == [0.5, 2.5]


def test_basic_enhancement_reaches_the_loudness(
    processor: VideoProcessor, media: Make, tmp_path: Path
):
    """Within 1 LU of -14 LUFS, measured on the finished file."""
    settings = small(clip_seconds=3, enhancement_level="basic")

    result = processor.process(media("voice.mp4"), settings, output_dir=tmp_path)

    assert result.output_files[0].loudness_lufs == pytest.approx(-14.0, abs=1.0)
    assert result.warnings == ()


def test_a_broken_upload_is_refused_before_any_work(
    processor: VideoProcessor, media: Make, tmp_path: Path
):
    """An MP4 with its index in front tells what is missing."""
    half = cut(media("voice.mp4"), tmp_path / "half.mp4", share=0.5)

    with pytest.raises(ProcessingError) as failed:
        processor.process(half, small(), output_dir=tmp_path / "out")

    assert (failed.value.code, failed.value.retryable) == ("truncated_source", False)
    assert not (tmp_path / "out").exists()


def test_a_source_that_breaks_off_is_not_called_done(
    processor: VideoProcessor, media: Make, tmp_path: Path
):
    """ffmpeg ends with 0 on half a Matroska file; what it made is short, and is thrown away."""
    half = cut(media("stereo.mkv"), tmp_path / "half.mkv", share=0.5)
    settings = ProcessingSettings(pipeline="renditions", quality_preset="draft")

    with pytest.raises(ProcessingError) as failed:
        processor.process(half, settings, output_dir=tmp_path / "out")

    assert failed.value.code == "truncated_source"
    assert "Upload the file again" in str(failed.value)
    assert not (tmp_path / "out").exists()


def test_a_damaged_picture_is_not_called_done(
    processor: VideoProcessor, media: Make, tmp_path: Path
):
    """ffmpeg ends with 0 over grey and green pictures, also when it is told not to seek."""
    damaged = bytearray(media("silent.mp4").read_bytes())
    start = damaged.index(b"mdat") + 2000
    for place in range(start, len(damaged) - 6000, 97):
        damaged[place] ^= 0xFF
    (tmp_path / "damaged.mp4").write_bytes(damaged)

    with pytest.raises(ProcessingError) as failed:
        processor.process(tmp_path / "damaged.mp4", small(), output_dir=tmp_path / "out")

    assert (failed.value.code, failed.value.retryable) == ("corrupt_source", False)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "corrupt_source"),
        (b"no video\n" * 500, "corrupt_source"),
        (b"#EXTM3U\n#EXTINF:9,\nfile:///etc/passwd\n", "format_refused"),
    ],
)
def test_what_is_no_video_is_refused(
    processor: VideoProcessor, tmp_path: Path, content: bytes, code: str
):
    """Also under the name of a video."""
    (tmp_path / "upload.mp4").write_bytes(content)

    with pytest.raises(ProcessingError) as failed:
        processor.process(tmp_path / "upload.mp4", small(), output_dir=tmp_path / "out")

    assert (failed.value.code, failed.value.retryable) == (code, False)


def test_sound_alone_is_refused(processor: VideoProcessor, media: Make, tmp_path: Path):
    """With a code of its own."""
    with pytest.raises(ProcessingError) as failed:
        processor.process(media("music.m4a"), small(), output_dir=tmp_path / "out")

    assert failed.value.code == "no_video_stream"


def test_a_missing_source_is_told(processor: VideoProcessor, tmp_path: Path):
    """By the name that was given."""
    with pytest.raises(ProcessingError, match=r"no video file at '/nowhere\.mp4'") as failed:
        processor.process("/nowhere.mp4", small(), output_dir=tmp_path / "out")

    assert failed.value.code == "missing_source"


def test_names_that_mean_something_to_ffmpeg_are_harmless(
    processor: VideoProcessor, media: Make, tmp_path: Path
):
    """Options, protocols and patterns in a user's file name are never seen by ffmpeg."""
    source = tmp_path / "-i http:%03d'[0]; x.mp4"
    source.write_bytes(media("silent.mp4").read_bytes())

    result = processor.process(source, small(), output_dir=tmp_path / "out")

    assert [output.path for output in result.output_files] == ["clip_01.mp4", "clip_01.jpg"]


def test_a_folder_that_cannot_be_written_is_told_before_encoding(
    processor: VideoProcessor, media: Make, tmp_path: Path
):
    """Another machine may have room."""
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(ProcessingError) as failed:
        processor.process(media("silent.mp4"), small(), output_dir=tmp_path / "file" / "out")

    assert (failed.value.code, failed.value.retryable) == ("output_dir_unwritable", True)


def test_cancelling_ends_everything_within_two_seconds(
    processor: VideoProcessor, media: Make, work_dir: Path, tmp_path: Path
):
    """No process, no temporary file and no output is left."""
    cancel = threading.Event()
    cancelled_at: list[float] = []

    def cancel_when_encoding(progress: Progress) -> None:
        if progress.percent >= 3 and not cancel.is_set():
            cancelled_at.append(time.monotonic())
            cancel.set()

    with pytest.raises(ProcessingCancelledError):
        processor.process(
            media("voice.mp4"),
            ProcessingSettings(**SLOW),
            output_dir=tmp_path / "out",
            on_progress=cancel_when_encoding,
            cancel=cancel,
        )

    assert time.monotonic() - cancelled_at[0] < 2.0
    assert encoders_of(os.getpid()) == []
    assert list(work_dir.iterdir()) == []
    assert not (tmp_path / "out").exists()


def test_an_error_of_the_listener_ends_the_work(
    processor: VideoProcessor, media: Make, work_dir: Path, tmp_path: Path
):
    """A worker that lost its lease raises it in its listener."""

    def lose_the_lease(progress: Progress) -> None:
        if progress.percent >= 3:
            raise LookupError("the lease is lost")

    with pytest.raises(LookupError, match="the lease is lost"):
        processor.process(
            media("voice.mp4"),
            ProcessingSettings(**SLOW),
            output_dir=tmp_path / "out",
            on_progress=lose_the_lease,
        )

    assert encoders_of(os.getpid()) == []
    assert list(work_dir.iterdir()) == []


def test_a_killed_worker_takes_its_ffmpeg_along(media: Make, work_dir: Path, tmp_path: Path):
    """And its successor finds and removes what it left."""
    wishes = '{"clip_count": 2, "clip_seconds": 2, "quality_preset": "pro"}'
    arguments = [str(media("voice.mp4")), str(work_dir), str(tmp_path / "out"), wishes]
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, *arguments], stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout is not None
        next(line for line in worker.stdout if int(line) >= 3)
        encoders = encoders_of(worker.pid)
        worker.send_signal(signal.SIGKILL)
        worker.wait()

    assert encoders
    deadline = time.monotonic() + 5
    while any(map(is_alive, encoders)) and time.monotonic() < deadline:
        pass
    assert not any(map(is_alive, encoders))
    VideoProcessor(work_dir=work_dir).process(
        media("silent.mp4"), small(), output_dir=tmp_path / "next"
    )
    assert list(work_dir.iterdir()) == []


def test_a_plan_can_be_had_without_encoding(processor: VideoProcessor, media: Make):
    """As a value, and as command lines for the ffmpeg in use."""
    plan = processor.plan(media("voice.mp4"), small(clip_count=2))

    assert [run.name for run in plan.runs] == ["clip_01", "clip_02"]
    assert [command[0] for command in plan.commands(processor.ffmpeg)] == [processor.ffmpeg] * 2


def test_a_pipeline_of_ones_own_is_used_by_name(media: Make, work_dir: Path, tmp_path: Path):
    """It may build on one of ours."""

    def teaser(facts, settings, /, *, machine, limits) -> Plan:
        one = settings.model_copy(update={"clip_count": 1})
        return replace(plan_clips(facts, one, machine=machine, limits=limits), warnings=("mine",))

    processor = VideoProcessor(work_dir=work_dir, pipelines={"teaser": teaser})

    result = processor.process(
        media("silent.mp4"), small(pipeline="teaser", clip_count=3), output_dir=tmp_path / "out"
    )

    assert [output.path for output in result.output_files] == ["clip_01.mp4", "clip_01.jpg"]
    assert result.warnings == ("mine",)


def test_an_unknown_pipeline_is_refused(processor: VideoProcessor, media: Make, tmp_path: Path):
    """The message names those that are known."""
    with pytest.raises(ProcessingError, match=r"\['clips', 'hls', 'renditions'\]") as failed:
        processor.process(media("silent.mp4"), small(pipeline="dash"), output_dir=tmp_path / "out")

    assert failed.value.code == "unknown_pipeline"


def test_a_wrong_path_of_ffmpeg_is_told_at_once():
    """With the variable that holds it."""
    with pytest.raises(ConfigurationError, match="VIDEOJOBS_FFMPEG"):
        VideoProcessor(ffmpeg="/nowhere/ffmpeg")


def test_importing_the_processor_loads_no_optional_package():
    """PyAV and ffmpeg-python are loaded when they are used."""
    code = "import sys, videojobs.processor; print(*{'av', 'ffmpeg', 'imageio_ffmpeg'} & set(sys.modules))"

    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()

    assert loaded == []


def test_captions_that_nobody_fetched_are_asked_for(processor, media: Make, tmp_path: Path):
    """Only a worker fetches what captions_url names."""
    settings = ProcessingSettings(captions_url="talk.srt")

    with pytest.raises(SupabaseValidationError, match="give captions, a path"):
        processor.process(media("silent.mp4"), settings, output_dir=tmp_path / "out")
