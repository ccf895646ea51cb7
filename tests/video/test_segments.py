"""Long films are encoded in segments: what is finished is kept, and no seam is seen or heard."""

from __future__ import annotations

import itertools
import subprocess
import threading
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videojobs.errors import ProcessingCancelledError, ProcessingError, SupabaseValidationError
from videojobs.media.ffmpeg import find_ffmpeg
from videojobs.pipelines.plan import Machine
from videojobs.pipelines.renditions import plan_renditions
from videojobs.pipelines.segments import cut_into_segments
from videojobs.pipelines.settings import ProcessingSettings
from videojobs.pipelines.source import SourceFacts, SourceLimits
from videojobs.processor import VideoProcessor

LIMITS = SourceLimits()
TWO_CORES = Machine(cores=2)


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 s of moving bars at 25 fps with few keyframes, and a tone that would show any gap."""
    path = tmp_path_factory.mktemp("films") / "film.mp4"
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=size=160x90:rate=25:duration=20"),
        *("-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration=20"),
        *("-c:v", "libx264", "-preset", "ultrafast", "-g", "110", "-bf", "2", "-c:a", "aac", path),
    )
    return path


def ffmpeg(*arguments: str | Path) -> None:
    command = [find_ffmpeg(), "-hide_banner", "-loglevel", "error", "-y"]
    subprocess.run([*command, *map(str, arguments)], check=True, capture_output=True)


def in_segments(**fields: object) -> ProcessingSettings:
    return ProcessingSettings(pipeline="renditions", segment_seconds=6, **fields)


class Kept:
    """Keeps segments in a folder, as a storage would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.restored: list[str] = []
        self.changed = threading.Event()

    def keep(self, key: str, name: str, files: Mapping[str, Path]) -> None:
        target = self.folder / key / name
        target.mkdir(parents=True, exist_ok=True)
        for file_name, path in files.items():
            (target / file_name).write_bytes(path.read_bytes())
        self.changed.set()

    def restore(self, key: str, name: str, files: Mapping[str, Path]) -> bool:
        source = self.folder / key / name
        if not source.is_dir():
            return False
        for file_name, path in files.items():
            path.write_bytes((source / file_name).read_bytes())
        self.restored.append(name)
        return True

    @property
    def names(self) -> set[str]:
        return {path.name for path in self.folder.glob("*/*")}


def shades(path: Path) -> list[bytes]:
    """Every picture, as the lightness of its pixels."""
    with av.open(str(path)) as container:
        return [bytes(frame.planes[0]) for frame in container.decode(video=0)]


def difference(one: bytes, other: bytes) -> float:
    """Of two pictures, in mean shades a pixel."""
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one)


@settings(deadline=None, derandomize=True)
@given(
    frames=st.integers(1, 400_000),
    rate=st.sampled_from(
        [Fraction(24000, 1001), Fraction(25), Fraction(60000, 1001), Fraction(7, 3)]
    ),
    seconds=st.sampled_from([6, 12, 60, 600]),
)
def test_every_frame_is_in_one_segment(frames: int, rate: Fraction, seconds: int):
    """No frame is missed and none comes twice, at any rate; segments are near their length."""
    segments = cut_into_segments(frames, rate, seconds)

    ends = [segment.first_frame + segment.frame_count for segment in segments]
    assert [segment.first_frame for segment in segments] == [0, *ends[:-1]]
    assert ends[-1] == frames
    assert [segment.is_last for segment in segments] == [False] * (len(segments) - 1) + [True]
    assert all(segment.frame_count <= 1.5 * seconds * rate + 1 for segment in segments)


def test_short_sources_stay_in_one_piece(facts: SourceFacts):
    """Three minutes are little to lose; a film is cut into minutes."""
    wanted = ProcessingSettings(pipeline="renditions")
    long = SourceFacts(**{**_fields(facts), "duration_seconds": 600.0})

    short_plan = plan_renditions(facts, wanted, machine=TWO_CORES, limits=LIMITS)
    long_plan = plan_renditions(long, wanted, machine=TWO_CORES, limits=LIMITS)

    assert [run.name for run in short_plan.steps] == ["renditions"]
    assert [run.name for run in long_plan.runs][-1] == "segment_0010"
    assert [run.name for run in long_plan.joins] == ["join", "poster"]
    assert [output.name for output in long_plan.outputs] == ["1080p", "720p", "480p", "poster"]


def test_segments_of_other_settings_have_another_key(facts: SourceFacts):
    """A segment of an earlier attempt is used only where it would be made again just so."""
    keys = {
        plan_renditions(facts, in_segments(**fields), machine=TWO_CORES, limits=LIMITS).segments_key
        for fields in ({}, {"quality_preset": "draft"}, {"rendition_heights": (480,)}, {})
    }

    assert len(keys) == 3


def test_a_segments_own_job_has_the_films_key(facts: SourceFacts):
    """On any machine; another file under the same name, or another ffmpeg, has another."""
    long = SourceFacts(**{**_fields(facts), "duration_seconds": 60.0})

    def key(facts: SourceFacts = long, machine: Machine = TWO_CORES, **fields: object) -> str:
        wanted = in_segments(**fields)
        return plan_renditions(facts, wanted, machine=machine, limits=LIMITS).segments_key

    assert key() == key(only_segment=3) == key(machine=Machine(cores=16))
    other_file = SourceFacts(**{**_fields(long), "fingerprint": "c0ffee"})
    assert key() != key(other_file)
    assert key() != key(machine=Machine(cores=2, ffmpeg_major=8))


def test_a_segment_has_whole_segments_of_hls():
    with pytest.raises(SupabaseValidationError, match="multiple of 6"):
        ProcessingSettings(pipeline="hls", segment_seconds=10)


def test_the_joined_film_is_that_of_one_piece(
    processor: VideoProcessor, film: Path, tmp_path: Path
):
    """Each frame once and in its place, keyframes at the same times, and a sound without a gap."""
    whole = ProcessingSettings(pipeline="renditions", segment_seconds=0)

    processor.process(film, whole, output_dir=tmp_path / "whole")
    processor.process(film, in_segments(), output_dir=tmp_path / "joined")

    (one,), (other,) = ((tmp_path / name).glob("*.mp4") for name in ("whole", "joined"))
    assert _keyframes(other) == _keyframes(one) == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]
    pictures, joined = shades(one), shades(other)
    assert len(joined) == len(pictures) == 500
    assert max(map(difference, pictures, joined)) < 2
    assert _sound_steps(other) == {1024}


def test_a_film_with_an_uneven_rate_has_every_frame(
    processor: VideoProcessor, film: Path, tmp_path: Path
):
    """Segments see the grid of frames that the film has in one piece, at 30000/1001 from 25 too."""
    uneven = tmp_path / "uneven.mkv"
    ffmpeg("-i", film, "-vf", "fps=30000/1001", "-c:v", "libx264", "-preset", "ultrafast", uneven)

    result = processor.process(uneven, in_segments(), output_dir=tmp_path / "joined")

    (joined,) = (tmp_path / "joined").glob("*.mp4")
    assert len(shades(joined)) == round(20 * 30000 / 1001)
    assert result.warnings[0].startswith("the ladder begins at 90p")


def test_a_successor_makes_no_finished_segment_again(
    film: Path, tmp_path: Path, work_dir: Path, caplog: pytest.LogCaptureFixture
):
    """What a stopped attempt had finished is used by the next: ffmpeg is not called for it."""
    caplog.set_level("DEBUG", "videojobs.ffmpeg")
    kept, stop = Kept(tmp_path / "kept"), threading.Event()
    processor = VideoProcessor(work_dir=work_dir, cores=1)

    def stop_after_one(_: object) -> None:
        if kept.changed.is_set():
            stop.set()

    with pytest.raises(ProcessingCancelledError):
        processor.process(
            film,
            in_segments(),
            output_dir=tmp_path / "first",
            on_progress=stop_after_one,
            cancel=stop,
            keeper=kept,
        )
    finished = kept.names
    caplog.clear()
    processor.process(film, in_segments(), output_dir=tmp_path / "second", keeper=kept)

    assert finished
    assert set(kept.restored) == finished
    numbers = [name.removeprefix("segment_") for name in sorted(kept.names)]
    made = {number for number in numbers if f"90p_{number}.mp4.part" in caplog.text}
    assert made == set(numbers) - {name.removeprefix("segment_") for name in finished}
    (joined,) = (tmp_path / "second").glob("*.mp4")
    assert len(shades(joined)) == 500


def test_a_damaged_kept_segment_is_made_again(
    processor: VideoProcessor, film: Path, tmp_path: Path
):
    """What is restored is verified like what was just made."""
    kept = Kept(tmp_path / "kept")
    processor.process(film, in_segments(), output_dir=tmp_path / "first", keeper=kept)
    (damaged,) = kept.folder.glob("*/segment_0002/*.mp4")
    whole = damaged.stat().st_size
    damaged.write_bytes(damaged.read_bytes()[:-2000])

    processor.process(film, in_segments(), output_dir=tmp_path / "second", keeper=kept)

    assert sorted(kept.restored) == ["segment_0001", "segment_0002", "segment_0003"]
    assert damaged.stat().st_size == whole
    (joined,) = (tmp_path / "second").glob("*.mp4")
    assert len(shades(joined)) == 500


def test_a_keeper_that_fails_costs_no_attempt(
    processor: VideoProcessor, film: Path, tmp_path: Path
):
    """To keep a segment is a help; a storage that is away for a moment does not end the work."""

    class Broken(Kept):
        def keep(self, key: str, name: str, files: Mapping[str, Path]) -> None:
            raise ProcessingError("the storage is away", code="storage_failed", retryable=True)

    result = processor.process(
        film, in_segments(), output_dir=tmp_path / "out", keeper=Broken(tmp_path / "kept")
    )

    assert [output.name for output in result.output_files] == ["90p", "poster"]


def test_progress_counts_segments_for_each_rendition(
    processor: VideoProcessor, film: Path, tmp_path: Path
):
    """The detail names renditions and not segments, never goes back, and the stage says when all is joined."""
    seen = []

    processor.process(film, in_segments(), output_dir=tmp_path / "out", on_progress=seen.append)

    details = [progress.detail["90p"] for progress in seen if progress.detail]
    assert details == sorted(details)
    assert details[-1] == 100
    assert {name for progress in seen for name in progress.detail} == {"90p", "poster"}
    assert "joining" in [progress.stage for progress in seen]


def _fields(facts: SourceFacts) -> dict[str, object]:
    return {name: getattr(facts, name) for name in SourceFacts.__dataclass_fields__}


def _keyframes(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.is_keyframe]
        return [float(packet.pts * packet.time_base) for packet in packets]


def _sound_steps(path: Path) -> set[int]:
    with av.open(str(path)) as container:
        times = [packet.pts for packet in container.demux(audio=0) if packet.pts is not None]
    return {after - before for before, after in itertools.pairwise(times)}
