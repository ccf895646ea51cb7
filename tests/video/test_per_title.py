"""A ladder per title: what a source needs, what is saved and lost, and that it is really so."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import imageio_ffmpeg
import pytest

from videojobs.errors import ProcessingError
from videojobs.pipelines.framing import Rung
from videojobs.pipelines.per_title import (
    per_title_report,
    picked_rungs,
    read_vmaf,
    sample_starts,
)
from videojobs.pipelines.plan import Machine
from videojobs.pipelines.progress import Progress
from videojobs.pipelines.renditions import plan_renditions
from videojobs.pipelines.samples import plan_sample
from videojobs.pipelines.settings import ProcessingSettings
from videojobs.pipelines.source import Complexity, SourceFacts, SourceLimits
from videojobs.processor import VideoProcessor

STILL = "color=0x336699:size=854x480:rate=12:duration=6,drawbox=x=99:y=99:w=300:h=200:color=red"
#: One sample will do: noise is slow to encode.
NOISE = "testsrc2=size=854x480:rate=12:duration=4,noise=alls=60:allf=t"


def rung(name: str, ceiling_kbps: int) -> Rung:
    return Rung(
        name=name,
        width=2,
        height=2,
        max_video_bitrate_kbps=ceiling_kbps,
        audio_bitrate_kbps=96,
        codecs=("h264",),
    )


LADDER = (rung("1080p", 5000), rung("720p", 2800), rung("480p", 1400), rung("360p", 800))


@pytest.mark.parametrize(
    ("kbps", "kept"),
    [
        # Sports: each rung is worth its place.
        ((5000, 2800, 1400, 800), ["1080p 5000", "720p 2800", "480p 1400", "360p 800"]),
        # A talk: simpler, but with the same steps between the rungs.
        ((1200, 700, 400, 250), ["1080p 1800", "720p 1050", "480p 600", "360p 375"]),
        # 1080p costs a fifth more than 720p: who can have the one can have the other.
        ((600, 500, 300, 200), ["1080p 900", "480p 450", "360p 300"]),
        # Slides: 480p suits the slowest connection, and nobody needs less.
        ((400, 220, 120, 80), ["1080p 600", "720p 330", "480p 180"]),
        # A still picture: the largest suits everybody.
        ((90, 60, 40, 30), ["1080p 135"]),
    ],
)
def test_a_title_gets_the_rungs_that_it_needs(kbps: tuple[int, ...], kept: list[str]):
    """The largest always, so that nobody sees less; ceilings half above the hardest sample."""
    measured = dict(zip(("1080p", "720p", "480p", "360p"), kbps, strict=True))

    picked = picked_rungs(LADDER, measured)

    assert [f"{each.name} {each.max_video_bitrate_kbps}" for each in picked] == kept


def test_bits_saved_and_quality_lost_are_told():
    """Against the usual ladder of constant rates."""
    complexity = Complexity(
        kbps={"1080p": 600, "720p": 500, "480p": 300, "360p": 200}, vmaf=95.1, fixed_vmaf=97.4
    )

    told = per_title_report(LADDER, picked_rungs(LADDER, complexity.kbps), complexity)
    blind = per_title_report(LADDER, LADDER, replace(complexity, vmaf=None))
    hard = replace(complexity, kbps=dict.fromkeys(complexity.kbps, 6000), vmaf=98.0)

    assert told == (
        "per title: 3 of 4 rungs (1080p, 480p, 360p) save 8,900 of the fixed ladder's "
        "10,000 kbit/s, and lose 2.3 of VMAF 97.4 at 1080p"
    )
    assert blind.endswith("this ffmpeg cannot measure VMAF")
    assert per_title_report(LADDER, LADDER, hard) == (
        "per title: 4 of 4 rungs (1080p, 720p, 480p, 360p) save 0 of the fixed ladder's "
        "10,000 kbit/s, and lose 0.0 of VMAF 97.4 at 1080p"
    )


def test_the_cost_of_the_probe_does_not_grow_with_the_source():
    """Three samples of 2 s from a film, one from what is shorter than three."""
    assert sample_starts(7200.0) == (1199.0, 3599.0, 5999.0)
    assert sample_starts(6.0) == (0.0, 2.0, 4.0)
    assert sample_starts(5.0) == (0.0,)


def test_a_sample_is_sought_and_compared_from_the_same_place(facts: SourceFacts):
    """Every rung at the preset's quality, the largest also at a constant rate, both against the source."""
    settings = ProcessingSettings(pipeline="hls")

    sample = plan_sample(
        facts, settings, machine=Machine(), limits=SourceLimits(), start_seconds=9.0, seconds=2.0
    )

    told = " ".join(sample.run.arguments)
    names = [output.name for output in sample.run.outputs]
    assert names == ["1080p", "720p", "480p", "360p", "fixed"]
    assert (told.count("-ss 8.0"), told.count("-crf 22"), told.count("-b:v 5000k")) == (1, 4, 1)
    for comparison, name in zip(sample.comparisons, ("1080p", "fixed"), strict=True):
        words = " ".join(comparison)
        assert f"file:{name}.mp4.part" in words
        assert "-ss 8.0" in words
        assert "trim=end_frame=90:start_frame=30" in words
        assert "libvmaf=n_subsample=5" in words


def test_all_machines_find_the_same_ladder(facts: SourceFacts):
    """Else the segments of a film, made by several workers, would not fit together."""
    settings = ProcessingSettings(pipeline="hls")

    samples = [
        plan_sample(
            facts,
            settings,
            machine=Machine(cores=cores),
            limits=SourceLimits(),
            start_seconds=9.0,
            seconds=2.0,
        )
        for cores in (1, 64)
    ]

    assert samples[0].run == samples[1].run


def test_a_sample_of_a_broadcast_is_read_from_the_picture_before(facts: SourceFacts):
    """Such a stream has no index: right after a seek its picture is frozen, and costs nothing."""
    sample = plan_sample(
        replace(facts, container="mpegts", duration_seconds=600.0),
        ProcessingSettings(pipeline="hls"),
        machine=Machine(),
        limits=SourceLimits(),
        start_seconds=300.0,
        seconds=2.0,
    )

    assert "-ss 270.0" in " ".join(sample.run.arguments)
    assert "trim=end_frame=960:start_frame=900" in " ".join(sample.run.arguments)


def test_a_plan_follows_what_was_measured(facts: SourceFacts):
    """It is a pure function of it: no file is needed."""
    complexity = Complexity(
        kbps={"1080p": 600, "720p": 500, "480p": 300}, vmaf=95.0, fixed_vmaf=95.0
    )
    settings = ProcessingSettings(pipeline="renditions", per_title=True)

    plan = plan_renditions(
        replace(facts, complexity=complexity), settings, machine=Machine(), limits=SourceLimits()
    )

    assert [output.name for output in plan.outputs] == ["1080p", "480p", "poster"]
    assert "-maxrate 900k" in " ".join(plan.runs[0].arguments)
    assert plan.warnings[0].startswith("per title: 2 of 3 rungs")


def test_a_score_is_read_from_the_log():
    """And nothing is made up when there is none."""
    assert read_vmaf(["[Parsed_libvmaf_3 @ 0x1] [info] VMAF score: 93.25"]) == 93.25
    assert read_vmaf(["frame= 12"]) is None


def test_a_still_picture_needs_less_than_noise(tmp_path: Path):
    """Fewer rungs, lower rates, and next to no loss; really encoded and really measured."""
    processor = VideoProcessor(work_dir=tmp_path / "work", cores=2)
    settings = ProcessingSettings(
        pipeline="renditions", quality_preset="draft", rendition_heights=(480, 360), per_title=True
    )

    results = {}
    for name, graph in (("still", STILL), ("noise", NOISE)):
        source = tmp_path / f"{name}.mp4"
        _encode(graph, source)
        results[name] = processor.process(source, settings, output_dir=tmp_path / name)

    still, noise = results["still"], results["noise"]
    assert [output.name for output in still.output_files] == ["480p", "poster"]
    assert [output.name for output in noise.output_files] == ["480p", "360p", "poster"]
    assert still.output_files[0].bitrate_kbps < noise.output_files[0].bitrate_kbps / 5
    assert still.source.complexity.vmaf > 90
    assert still.source.complexity.fixed_vmaf - still.source.complexity.vmaf < 3
    assert any("save" in warning and "of VMAF" in warning for warning in still.warnings)


def test_a_source_with_a_damaged_middle_gets_the_usual_ladder(tmp_path: Path):
    """A sample may hit what the film as a whole bears; that is told, and no reason to fail."""
    source = tmp_path / "damaged.mp4"
    _encode("testsrc2=size=320x180:rate=24:duration=60", source, "-g", "1")
    _damage(source, first=0.485, last=0.515)
    processor = VideoProcessor(work_dir=tmp_path / "work", cores=2)
    settings = ProcessingSettings(
        pipeline="renditions", quality_preset="draft", rendition_heights=(360,), per_title=True
    )

    result = processor.process(source, settings, output_dir=tmp_path / "out")

    told = [warning for warning in result.warnings if warning.startswith("per title: ")]
    assert [warning[:64] for warning in told] == [
        "per title: no sample could be measured, so all is made (sample f"
    ]
    assert result.source.complexity is None
    assert [output.kind for output in result.output_files] == ["video", "poster"]


def test_samples_move_the_bar_and_are_told(tmp_path: Path):
    """They have their share of the percentages; who is told what they found need not sample again."""
    source = tmp_path / "still.mp4"
    _encode(STILL, source)
    processor = VideoProcessor(work_dir=tmp_path / "work", cores=2)
    settings = ProcessingSettings(
        pipeline="renditions", quality_preset="draft", rendition_heights=(480, 360), per_title=True
    )
    seen: list[Progress] = []
    again: list[Progress] = []
    found: list[Complexity] = []

    first = processor.process(
        source,
        settings,
        output_dir=tmp_path / "one",
        on_progress=seen.append,
        on_complexity=found.append,
    )
    second = processor.process(
        source, settings, output_dir=tmp_path / "two", on_progress=again.append, complexity=found[0]
    )

    sampling = [each.percent for each in seen if each.stage == "sampling"]
    percents = [each.percent for each in seen]
    assert sampling[0] == 1
    assert len(sampling) == 4
    assert sampling[-1] > 30
    assert percents == sorted(percents)
    assert "sampling" not in [each.stage for each in again]
    assert first.warnings == second.warnings
    assert [each.sha256 for each in first.output_files] == [
        each.sha256 for each in second.output_files
    ]


def test_told_rates_are_followed(facts: SourceFacts, tmp_path: Path):
    """A segment's job has its film's; what is told of other rungs than there are is refused."""
    source = tmp_path / "still.mp4"
    _encode(STILL, source)
    processor = VideoProcessor(work_dir=tmp_path / "work", cores=2)
    wish = {"pipeline": "renditions", "rendition_heights": (480, 360), "per_title": True}
    told = ProcessingSettings(**wish, quality_preset="draft", rung_kbps={"480p": 90, "360p": 60})
    other = ProcessingSettings(**wish, rung_kbps={"1080p": 90})

    made = processor.process(source, told, output_dir=tmp_path / "out")

    assert [output.name for output in made.output_files] == ["480p", "poster"]
    with pytest.raises(ProcessingError, match="nobody measured what 480p needs") as refused:
        processor.process(source, other, output_dir=tmp_path / "none")
    assert refused.value.code == "invalid_settings"


def test_clips_have_no_ladder_to_pick_from(tmp_path: Path):
    """Nothing is measured that nobody uses."""
    source = tmp_path / "still.mp4"
    _encode(STILL, source)
    seen: list[str] = []

    result = VideoProcessor(work_dir=tmp_path / "work").process(
        source,
        ProcessingSettings(clip_count=1, quality_preset="draft", per_title=True),
        output_dir=tmp_path / "out",
        on_progress=lambda progress: seen.append(progress.stage),
    )

    assert "sampling" not in seen
    assert result.source.complexity is None


def _damage(path: Path, *, first: float, last: float) -> None:
    data = bytearray(path.read_bytes())
    begin, end = (round(len(data) * share) for share in (first, last))
    for place in range(begin, end, 400):
        data[place] ^= 0x55
    path.write_bytes(data)


def _encode(graph: str, path: Path, *more: str) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-f", "lavfi", "-i", graph]
    encoder = ["-c:v", "libx264", "-preset", "ultrafast", "-crf", "18", "-pix_fmt", "yuv420p"]
    subprocess.run([*command, *encoder, *more, str(path)], check=True)
