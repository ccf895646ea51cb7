"""What ffmpeg notes about a source becomes curves, cuts and pauses."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from videojobs.errors import ProcessingCancelledError, ProcessingError
from videojobs.media.analysing import Analyser
from videojobs.pipelines.analysis import (
    AnalysisRun,
    SceneCut,
    SourceAnalysis,
    Span,
    plan_analysis,
    plan_closer_look,
    read_analysis,
    silences_in,
    with_closer_look,
)
from videojobs.pipelines.settings import ProcessingSettings
from videojobs.pipelines.source import SourceFacts
from videojobs.processor import VideoProcessor

Make = Callable[[str], Path]

#: As ffmpeg 9.0.2 wrote it: a change of picture at 3 s, where it becomes black.
PICTURE = """\
frame:0    pts:0       pts_time:0
lavfi.scd.mafd=0.000
lavfi.scd.score=0.000
frame:89   pts:45568   pts_time:2.96667
lavfi.scd.mafd=1.200
lavfi.scd.score=0.300
frame:90   pts:46080   pts_time:3
lavfi.scd.mafd=29.688
lavfi.scd.score=29.688
lavfi.black_start=3
frame:149  pts:76288   pts_time:4.96667
lavfi.scd.mafd=0.000
lavfi.scd.score=0.000
""".splitlines()

LOUDNESS = """\
frame:0    pts:0       pts_time:0
lavfi.r128.M=-120.691
frame:10   pts:48000   pts_time:1
lavfi.r128.M=-23.500
""".splitlines()

LEVELS = """\
frame:0    pts:0       pts_time:0
lavfi.astats.Overall.RMS_level=-inf
frame:10   pts:24000   pts_time:0.5
lavfi.astats.Overall.RMS_level=-20.047043
frame:11   pts:26400   pts_time:0.55
lavfi.astats.Overall.RMS_level=-20.1
frame:99   pts:237600  pts_time:4.95
lavfi.astats.Overall.RMS_level=-inf
""".splitlines()


def analysed(facts: SourceFacts, seconds: float = 5.0, **settings: object) -> SourceAnalysis:
    source = replace(facts, duration_seconds=seconds)
    run = plan_analysis(source, ProcessingSettings(**settings), threads=2)
    return read_analysis(source, run, picture=PICTURE, loudness=LOUDNESS, levels=LEVELS)


def levels(*parts: tuple[float, float]) -> list[tuple[float, float]]:
    """Pairs of decibels and seconds, as levels of 50 ms."""
    each = [decibels for decibels, seconds in parts for _ in range(round(seconds * 20))]
    return [(place / 20, decibels) for place, decibels in enumerate(each)]


def test_notes_become_an_analysis(facts: SourceFacts):
    """Cuts, motion without them, darkness to the end, loudness and pauses, each at its time."""
    analysis = analysed(facts)

    assert analysis.cuts == (SceneCut(3.0, 29.688),)
    assert analysis.motion[5] == 1.2
    assert analysis.motion[6:] == (0.0, 0.0, 0.0, 0.0)
    assert analysis.black_parts == (Span(3.0, 5.0),)
    assert analysis.loudness_lufs[:2] == (-70.0, -23.5)
    assert analysis.silences == (Span(0.0, 0.5), Span(0.7, 5.0))


def test_darkness_whose_end_is_lost_hides_nothing_else(facts: SourceFacts):
    """Filters that are built anew forget that they saw black begin."""
    run = plan_analysis(facts, ProcessingSettings(), threads=2)
    notes = [
        line
        for at, note in ((0, ""), (2, "start=2"), (6, "start=6"), (8, "end=8"), (9, "start=9"))
        for line in (f"frame:1 pts:1 pts_time:{at}", f"lavfi.black_{note}" if note else "x=1")
    ]
    last = [f"frame:1 pts:1 pts_time:{facts.duration_seconds}"]

    analysis = read_analysis(facts, run, picture=[*notes, *last])

    assert analysis.black_parts == (Span(6.0, 8.0), Span(9.0, facts.duration_seconds))


def test_a_line_that_was_cut_off_does_no_harm(facts: SourceFacts):
    """Notes may end anywhere when a disk is full."""
    run = plan_analysis(replace(facts, duration_seconds=5.0), ProcessingSettings(), threads=2)

    analysis = read_analysis(
        replace(facts, duration_seconds=5.0),
        run,
        picture=[*PICTURE, "frame:150  pts:76800   pts_ti", "lavfi.scd.ma"],
        levels=[*LEVELS, "lavfi.astats.Overall.RMS_level=-"],
    )

    assert analysis.cuts == (SceneCut(3.0, 29.688),)


def test_picture_and_sound_that_end_early_are_a_broken_upload(facts: SourceFacts):
    """Whatever the header says."""
    with pytest.raises(ProcessingError, match=r"lasts 60\.0 s, .* end at second 5\.0") as refused:
        analysed(facts, seconds=60.0)

    assert (refused.value.code, refused.value.retryable) == ("truncated_source", False)


def test_a_picture_that_ends_before_the_sound_ends_the_choice(facts: SourceFacts):
    """Nothing is chosen from where there is only sound."""
    run = plan_analysis(facts, ProcessingSettings(), threads=2)
    sound = [f"frame:1 pts:1 pts_time:{facts.duration_seconds}", "lavfi.astats.x=1"]

    analysis = read_analysis(facts, run, picture=PICTURE, levels=sound)

    assert analysis.duration_seconds == pytest.approx(4.967)


def test_short_breaths_are_no_pauses():
    """A quarter of a second lies between words, half a second between sentences."""
    heard = levels((-20, 2.0), (-60, 0.25), (-20, 2.0), (-60, 0.5), (-20, 2.0))

    pauses = silences_in(heard, 6.75)

    assert pauses == (Span(4.25, 4.75),)


def test_a_noisy_room_has_pauses_too():
    """What counts is how far they lie below the speech around them, not a fixed level."""
    heard = levels((-15, 3.0), (-40, 0.5), (-15, 3.0))

    pauses = silences_in(heard, 6.5)

    assert pauses == (Span(3.0, 3.5),)


def test_a_quiet_talk_after_a_loud_song_is_heard():
    """Each part is measured by its own neighbourhood."""
    heard = levels((-8, 30.0), (-42, 30.0), (-75, 0.5), (-42, 9.5))

    pauses = silences_in(heard, 70.0)

    assert pauses == (Span(60.0, 60.5),)


def test_a_silent_track_is_one_pause():
    """And a noise far below everything else is as good as silence."""
    assert silences_in(levels((-110, 5.0)), 5.0) == (Span(0.0, 5.0),)
    assert silences_in(levels((-15, 5.0), (-65, 60.0)), 65.0) == (Span(5.0, 65.0),)


def test_drafts_and_long_sources_have_only_their_keyframes_decoded(facts: SourceFacts):
    """A fifth of the time; the sound is heard in full."""
    usual = plan_analysis(facts, ProcessingSettings(), threads=2)
    draft = plan_analysis(facts, ProcessingSettings(quality_preset="draft"), threads=2)
    long = plan_analysis(replace(facts, duration_seconds=3600.0), ProcessingSettings(), threads=2)

    assert "-skip_frame:v" not in usual.arguments
    assert "-skip_frame:v nokey" in " ".join(draft.arguments)
    assert "-skip_frame:v nokey" in " ".join(long.arguments)
    assert draft.has_audio


def test_the_source_is_read_with_every_guard(facts: SourceFacts):
    """An upload is as hostile to the analysis as to the encoder."""
    told = " ".join(plan_analysis(facts, ProcessingSettings(), threads=2).arguments)

    assert "-protocol_whitelist file" in told
    assert "-format_whitelist mov,mp4" in told
    assert "-max_pixels 36000000" in told
    assert told.index("-max_pixels") < told.index("-i file:source")


def test_a_closer_look_replaces_the_cuts_of_its_part(facts: SourceFacts):
    """Times count from the part's start, and cuts elsewhere stay."""
    cuts = (SceneCut(2.0, 15.0), SceneCut(51.0, 40.0), SceneCut(90.0, 12.0))
    analysis = SourceAnalysis(duration_seconds=100.0, cuts=cuts, is_exact=False)
    run = plan_closer_look(facts, Span(48.0, 53.0), threads=2)

    refined = with_closer_look(analysis, run, PICTURE)

    assert [cut.at_seconds for cut in refined.cuts] == [2.0, 51.0, 90.0]
    assert refined.cuts[1].score == 29.688
    assert "-ss 48.0 -t 5.0" in " ".join(run.arguments)


def test_a_source_is_seen_and_heard_as_it_was_made(processor: VideoProcessor, media: Make):
    """Three cuts, a loud lively shot, darkness, and pauses to within a twentieth of a second."""
    analysis = processor.analyse(media("story.mp4"), ProcessingSettings())

    assert [cut.at_seconds for cut in analysis.cuts] == [6.0, 12.0, 14.0]
    assert [(part.start_seconds, part.end_seconds) for part in analysis.black_parts] == [(12, 14)]
    heard = [
        edge for pause in analysis.silences for edge in (pause.start_seconds, pause.end_seconds)
    ]
    assert heard == pytest.approx([0, 0.5, 5.5, 6.5, 11.2, 14.4, 19, 19.6, 23.5, 24], abs=0.06)
    assert analysis.loudness_lufs[16] - analysis.loudness_lufs[6] == pytest.approx(20, abs=0.5)
    assert min(analysis.motion[12:24]) > 0.5
    assert max(analysis.motion[24:]) == 0.0


def test_a_draft_finds_cuts_at_keyframes(processor: VideoProcessor, media: Make):
    """Not exact, in order, and inside the source."""
    analysis = processor.analyse(media("story.mp4"), ProcessingSettings(quality_preset="draft"))

    assert not analysis.is_exact
    assert [cut.at_seconds for cut in analysis.cuts] == [6.0, 12.0, 14.0]
    assert len(analysis.silences) == 5


def test_a_source_without_sound_has_no_pauses(processor: VideoProcessor, media: Make):
    """Silence is nothing to go by where nothing can be heard."""
    analysis = processor.analyse(media("story_mute.mp4"), ProcessingSettings())

    assert (analysis.silences, analysis.loudness_lufs, analysis.has_sound) == ((), (), False)
    assert [cut.at_seconds for cut in analysis.cuts] == [6.0, 12.0, 14.0]


def test_a_long_source_is_looked_at_again_near_the_edges(
    processor: VideoProcessor, media: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A cut between two keyframes is found to the frame, where a clip would begin or end."""
    monkeypatch.setattr("videojobs.pipelines.analysis.LONG_SOURCE_SECONDS", 30.0)
    source = media("sparse.mp4")
    (tmp_path / "source").symlink_to(source)
    told: list[float] = []

    analysis = Analyser(
        processor.probe(source),
        ProcessingSettings(clip_count=1, clip_seconds=4),
        ffmpeg=processor.ffmpeg,
        folder=tmp_path,
        threads=2,
        on_fraction=told.append,
    ).perform()

    assert not analysis.is_exact
    assert 25.0 in [cut.at_seconds for cut in analysis.cuts]
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1.0)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_source_that_changes_midway_is_seen_and_heard_in_full(
    processor: VideoProcessor, changing: Path
):
    """ffmpeg builds its filters anew where size or sound layout change; their notes go on."""
    analysis = processor.analyse(changing, ProcessingSettings())

    assert min(analysis.loudness_lufs[1:7]) > -30
    assert min(analysis.loudness_lufs[9:15]) > -30
    assert min(analysis.motion[:15]) > 0.2
    assert analysis.silences == ()


def test_a_draft_of_a_recorded_call_is_whole(processor: VideoProcessor, media: Make):
    """One keyframe does not tell when the picture ends."""
    analysis = processor.analyse(media("call.mp4"), ProcessingSettings(quality_preset="draft"))

    assert analysis.duration_seconds == pytest.approx(40.0)


def test_too_many_notes_end_the_analysis_and_not_the_disk(
    processor: VideoProcessor,
    media: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """Clips are then spread evenly, and a warning says why; no notes are left."""
    monkeypatch.setattr(AnalysisRun, "max_notes_bytes", 1000)
    settings = ProcessingSettings(clip_count=1, clip_seconds=1, clip_width=90, clip_height=160)

    result = processor.process(media("story.mp4"), settings, output_dir=tmp_path / "out")

    assert "had more to tell" in result.warnings[0]
    assert result.output_files[0].reason == "spread evenly: the source was not analysed"
    assert list((tmp_path / "work").rglob("*.notes*")) == []


def test_an_analysis_can_be_cancelled(processor: VideoProcessor, media: Make, tmp_path: Path):
    """It is an ffmpeg run like any other."""
    source = media("story.mp4")
    (tmp_path / "source").symlink_to(source)
    cancel = threading.Event()
    cancel.set()
    analyser = Analyser(
        processor.probe(source),
        ProcessingSettings(),
        ffmpeg=processor.ffmpeg,
        folder=tmp_path,
        threads=2,
        should_stop=cancel.is_set,
    )

    with pytest.raises(ProcessingCancelledError):
        analyser.perform()
