"""Which parts become clips: loud, lively, whole sentences, spread out; or what the caller says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import pytest

from videojobs.errors import ProcessingError, SupabaseValidationError
from videojobs.pipelines.analysis import SceneCut, SourceAnalysis, Span
from videojobs.pipelines.choosing import parts_to_refine
from videojobs.pipelines.clips import plan_clips
from videojobs.pipelines.plan import Machine, Plan
from videojobs.pipelines.source import SourceFacts, SourceLimits
from videojobs.processor import (
    ChosenClip,
    ProcessingSettings,
    Progress,
    VideoProcessor,
    choose_clips,
)

Make = Callable[[str], Path]
Look = Callable[[Path], dict[str, Any]]

TINY = {"clip_width": 90, "clip_height": 160}


def source(seconds: float = 60.0, **facts: Any) -> SourceAnalysis:
    """As loud and lively everywhere, with a pause of half a second every four seconds."""
    bins = round(seconds * 2)
    usual: dict[str, Any] = {
        "loudness_lufs": (-23.0,) * bins,
        "motion": (1.0,) * bins,
        "silences": tuple(Span(at, at + 0.5) for at in range(0, int(seconds), 4)),
    }
    return SourceAnalysis(duration_seconds=seconds, **(usual | facts))


def curve(seconds: float, usual: float, *parts: tuple[float, float, float]) -> tuple[float, ...]:
    """A value for each half second: the usual one, but for parts of start, end and value."""
    values = [usual] * round(seconds * 2)
    for start, end, value in parts:
        values[round(start * 2) : round(end * 2)] = [value] * round((end - start) * 2)
    return tuple(values)


def lightness(path: Path, frame: int) -> int:
    with av.open(str(path)) as container:
        return bytes(list(container.decode(video=0))[frame].planes[0])[0]


def choose(analysis: SourceAnalysis, **settings: object) -> Sequence[ChosenClip]:
    return choose_clips(analysis, ProcessingSettings(**settings))


def planned(facts: SourceFacts, analysis: SourceAnalysis | None = None, **settings: object) -> Plan:
    return plan_clips(
        facts,
        ProcessingSettings(**settings),
        machine=Machine(),
        limits=SourceLimits(),
        analysis=analysis,
    )


def test_the_loud_part_is_chosen():
    """Ten louder seconds among sixty."""
    analysis = source(loudness_lufs=curve(60, -23, (32, 42, -11)))

    (clip,) = choose(analysis, clip_count=1, clip_seconds=10)

    assert clip.start_seconds == pytest.approx(32, abs=1.5)
    assert clip.reason.startswith("11 LU louder than the source's median")


def test_the_lively_part_is_chosen():
    """Where the picture moves, when it sounds the same everywhere."""
    analysis = source(motion=curve(60, 0.5, (20, 30, 6.0)))

    (clip,) = choose(analysis, clip_count=1, clip_seconds=10)

    assert clip.start_seconds == pytest.approx(20, abs=1.5)
    assert "much motion" in clip.reason


def test_many_cuts_make_a_part_better():
    """Four shots in ten seconds."""
    cuts = tuple(SceneCut(at, 30.0) for at in (44.2, 46.1, 48.2, 50.1))

    (clip,) = choose(source(cuts=cuts), clip_count=1, clip_seconds=10)

    assert clip.start_seconds < 45
    assert clip.end_seconds > 50
    assert "cuts" in clip.reason


def test_black_and_silent_parts_lose():
    """However lively the rest of them is."""
    analysis = source(
        loudness_lufs=curve(60, -23, (0, 20, -70)),
        motion=curve(60, 1.0, (0, 40, 3.0)),
        silences=(Span(0, 20), *(Span(at, at + 0.5) for at in range(24, 60, 4))),
        black_parts=(Span(20, 40),),
    )

    (clip,) = choose(analysis, clip_count=1, clip_seconds=10)

    assert clip.start_seconds >= 38.5


def test_a_clip_holds_whole_sentences():
    """It begins shortly before a first word, and ends shortly after a last one."""
    analysis = source(loudness_lufs=curve(60, -23, (33, 41, -11)))

    (clip,) = choose(analysis, clip_count=1, clip_seconds=8)

    assert clip.start_seconds == 32.35
    assert clip.end_seconds == 40.25
    assert clip.reason.endswith("begins after a pause, ends at a pause")


def test_no_edge_lies_in_speech_where_a_pause_is_near():
    """Whatever the count, as long as there is room to move."""
    analysis = source(300.0, loudness_lufs=tuple(-23.0 + place % 7 for place in range(600)))

    clips = choose(analysis, clip_count=8, clip_seconds=12)

    edges = [edge for clip in clips for edge in (clip.start_seconds, clip.end_seconds)]
    assert len(clips) == 8
    assert all(analysis.is_silent_at(edge) for edge in edges)


def test_without_pauses_edges_are_cuts():
    """Music goes on under a change of picture."""
    analysis = source(silences=(), cuts=(SceneCut(20.3, 40.0), SceneCut(30.9, 40.0)))

    (clip,) = choose(analysis, clip_count=1, clip_seconds=10)

    assert (clip.start_seconds, clip.end_seconds) == (20.3, 30.9)
    assert clip.reason.endswith("begins at a cut, ends at a cut")


def test_a_cut_within_a_pause_is_the_best_edge():
    """Nothing is torn, neither in the sound nor in the picture."""
    analysis = source(loudness_lufs=curve(60, -23, (33, 41, -11)), cuts=(SceneCut(32.1, 40.0),))

    (clip,) = choose(analysis, clip_count=1, clip_seconds=8)

    assert clip.start_seconds == 32.1


def test_clips_are_spread_over_the_source():
    """All good parts lie in the last third, and yet one clip comes from the first half."""
    analysis = source(120.0, loudness_lufs=curve(120, -23, (80, 120, -15)))

    clips = choose(analysis, clip_count=4, clip_seconds=8)

    assert len(clips) == 4
    assert clips[0].end_seconds < 60
    assert [clip.start_seconds > 75 for clip in clips[1:]] == [True, True, True]


@pytest.mark.parametrize(("count", "seconds"), [(3, 10), (5, 11), (6, 10), (19, 3), (100, 3)])
def test_clips_never_overlap_and_fit_the_source(count: int, seconds: float):
    """Also where they fill it to the brim; and all that there is room for are there."""
    analysis = source(loudness_lufs=tuple(-23.0 + place * 7 % 11 for place in range(120)))

    clips = choose(analysis, clip_count=count, clip_seconds=seconds)

    assert len(clips) == min(count, 60 // seconds)
    edges = [edge for clip in clips for edge in (clip.start_seconds, clip.end_seconds)]
    assert edges == sorted(edges)
    assert (edges[0] >= 0, edges[-1] <= 60) == (True, True)
    assert all(abs(clip.duration_seconds - seconds) <= 1.501 for clip in clips)


def test_a_clip_stays_within_the_platform():
    """A clip of exactly the least length may grow, and not shrink."""
    analysis = source(loudness_lufs=tuple(-23.0 + place * 7 % 11 for place in range(120)))

    clips = choose(analysis, clip_count=9, clip_seconds=3, platform_target="tiktok")

    assert min(clip.duration_seconds for clip in clips) >= 3.0


def test_the_same_input_gives_the_same_clips():
    """Down to the reasons."""
    analysis = source(loudness_lufs=tuple(-23.0 + place * 7 % 11 for place in range(120)))

    assert choose(analysis, clip_count=4) == choose(analysis, clip_count=4)


def test_scores_lie_between_0_and_1():
    """And are told with every clip."""
    analysis = source(loudness_lufs=curve(60, -60, (30, 40, -3)), motion=curve(60, 0, (30, 40, 99)))

    clips = choose(analysis, clip_count=3, clip_seconds=8)

    assert all(0 <= (clip.score or 0) <= 1 for clip in clips)
    assert sorted((clip.score or 0) > 0.7 for clip in clips) == [False, False, True]


def test_a_silent_track_is_no_pause():
    """Nothing is told of pauses where nothing is heard."""
    silent = SourceAnalysis(
        duration_seconds=60.0,
        loudness_lufs=(-70.0,) * 120,
        motion=(1.0,) * 120,
        silences=(Span(0.0, 60.0),),
    )

    clips = choose_clips(silent, ProcessingSettings(clip_count=3, clip_seconds=6))

    assert all("pause" not in clip.reason for clip in clips)


def test_hours_are_weighed_in_seconds(monkeypatch: pytest.MonkeyPatch):
    """The whole source is gone through a few times, not once for each possible clip."""
    looks: list[None] = []
    is_still = SourceAnalysis.is_still.fget
    monkeypatch.setattr(
        SourceAnalysis, "is_still", property(lambda self: looks.append(None) or is_still(self))
    )

    choose_clips(source(), ProcessingSettings(clip_count=5))

    assert len(looks) <= 3


def test_nothing_to_go_by_gives_an_even_spread():
    """A still picture without sound, and the reason says it."""
    analysis = SourceAnalysis(duration_seconds=60.0, motion=(0.0,) * 120)

    clips = choose(analysis, clip_count=2, clip_seconds=10)

    assert [(clip.start_seconds, clip.score) for clip in clips] == [(10.0, None), (40.0, None)]
    assert clips[0].reason == "spread evenly: neither picture nor sound says where to cut"


def test_facts_alone_give_an_even_spread(facts: SourceFacts):
    """Without an analysis nothing is weighed."""
    plan = planned(facts, clip_count=2, clip_seconds=10)

    assert [clip.start_seconds for clip in plan.clips] == [10.0, 40.0]
    assert plan.clips[0].reason == "spread evenly: the source was not analysed"


def test_a_plan_tells_its_clips_with_scores_and_reasons(facts: SourceFacts):
    """And each output of them."""
    plan = planned(facts, source(loudness_lufs=curve(60, -23, (33, 41, -11))), clip_count=1)

    clip, output = plan.clips[0], plan.outputs[0]
    assert (output.score, output.reason) == (clip.score, clip.reason)
    assert (output.source_start_seconds, output.source_end_seconds) == (
        clip.start_seconds,
        clip.end_seconds,
    )


def test_a_count_that_cannot_be_met_is_warned_of(facts: SourceFacts):
    """Thirteen seconds have room for two clips of six."""
    plan = planned(
        replace(facts, duration_seconds=13.0), source(13.0), clip_count=5, clip_seconds=6
    )

    assert len(plan.clips) == 2
    assert plan.warnings[0].startswith("2 of 5 clips were made: a source of 13.0 s has no room")


def test_a_picture_that_ends_early_is_warned_of(facts: SourceFacts):
    """Clips come from where there is a picture."""
    plan = planned(facts, source(40.0), clip_count=2, clip_seconds=10)

    assert plan.clips[-1].end_seconds <= 40.0
    assert plan.warnings == (
        "the picture of the source ends at second 40.0 of 60.0: clips were chosen before it does",
    )


def test_doubtful_cuts_at_edges_are_looked_at_again():
    """From the keyframe before them; parts that meet are one."""
    cuts = (SceneCut(100.0, 30.0, doubt_seconds=10.0), SceneCut(500.0, 30.0, doubt_seconds=10.0))
    analysis = SourceAnalysis(duration_seconds=1000.0, cuts=cuts, is_exact=False)

    parts = parts_to_refine(analysis, [ChosenClip(99.0, 3.0), ChosenClip(300.0, 15.0)])

    assert parts == (Span(89.5, 104.0), Span(298.0, 302.0), Span(313.0, 317.0))


# --- the caller's own cuts ---------------------------------------------------------------------


def test_cuts_of_the_callers_win_over_everything(facts: SourceFacts):
    """To the millisecond, and without an analysis."""
    wish = {
        "cuts": [{"start_seconds": 1.25, "end_seconds": 9}, {"start_seconds": 9, "end_seconds": 12}]
    }

    plan = planned(facts, source(), clip_count=7, clip_seconds=30, **wish)

    assert [(clip.start_seconds, clip.end_seconds) for clip in plan.clips] == [(1.25, 9), (9, 12)]
    assert plan.clips[0].reason == "cut as given by the caller"
    assert plan.warnings == ()
    assert not ProcessingSettings(**wish).wants_analysis


@pytest.mark.parametrize(
    ("cuts", "rule"),
    [
        ([(5, 4)], "the cut 5 to 4 s ends before it begins"),
        ([(0, 5), (4, 9)], "the cuts 0 to 5 s and 4 to 9 s overlap"),
        ([(10, 15), (0, 5)], "not in the order of the source"),
        ([(0, 2)], "lasts 2 s and does not suit TikTok, which takes 3 to 600 seconds"),
        ([(0, 900)], "lasts 900 s and does not suit TikTok"),
        ([(-1, 5)], "greater than or equal to 0"),
        ([(0, float("nan"))], "finite"),
        ([(place, place + 3) for place in range(0, 303, 3)], "at most 100 items"),
    ],
)
def test_bad_cuts_are_refused(cuts: list[tuple[float, float]], rule: str):
    """Before any work, and by what is wrong with them."""
    given = [{"start_seconds": start, "end_seconds": end} for start, end in cuts]

    with pytest.raises(SupabaseValidationError) as refused:
        ProcessingSettings(cuts=given, platform_target="tiktok")

    assert rule in str(refused.value)


def test_cuts_outside_the_source_are_refused(facts: SourceFacts):
    """Only the source's length tells."""
    with pytest.raises(ProcessingError, match=r"ends at 61 s, and the source lasts 60") as refused:
        planned(facts, cuts=[{"start_seconds": 50, "end_seconds": 61}])

    assert (refused.value.code, refused.value.retryable) == ("cuts_outside_source", False)


def test_a_cut_may_end_with_the_source(facts: SourceFacts):
    """Containers round their duration; a frame more is not outside."""
    plan = planned(facts, cuts=[{"start_seconds": 50, "end_seconds": 60.03}])

    assert plan.clips[0].end_seconds == 60.0


# --- a chooser of one's own ---------------------------------------------------------------------


def test_a_chooser_of_ones_own_decides(media: Make, work_dir: Path):
    """It is asked once, with the analysis; its clips are put in order."""
    asked: list[SourceAnalysis] = []

    def model(analysis: SourceAnalysis, settings: ProcessingSettings, /) -> list[ChosenClip]:
        asked.append(analysis)
        return [ChosenClip(9.0, 3.0, 0.9, "the model liked it"), ChosenClip(1.0, 2.0, 0.5)]

    processor = VideoProcessor(work_dir=work_dir, cores=2, chooser=model)

    plan = processor.plan(media("story.mp4"), ProcessingSettings(clip_count=4))

    assert [clip.start_seconds for clip in plan.clips] == [1.0, 9.0]
    assert plan.outputs[2].reason == "the model liked it"
    assert plan.warnings == ("2 of 4 clips were made: the processor's chooser chose no more",)
    assert [len(analysis.cuts) for analysis in asked] == [3]


@pytest.mark.parametrize(
    ("chosen", "problem"),
    [
        ([], "there are 0 of them, and 1 to 2 were asked for"),
        ([ChosenClip(at, 1.0) for at in (1, 3, 5)], "there are 3 of them"),
        ([ChosenClip(0.0, 0.5)], "lasts 0.5 s, and the common profile takes 1 to 600 s"),
        ([ChosenClip(58.0, 5.0)], "58 to 63 s is not inside the source"),
        ([ChosenClip(-1.0, 5.0)], "-1 to 4 s is not inside the source"),
        ([ChosenClip(float("nan"), 5.0)], "the one at nan s lasts nan s"),
        ([ChosenClip(0.0, float("nan"))], "lasts nan s"),
        ([ChosenClip(3.0, 5.0), ChosenClip(0.0, 4.0)], "those at 0 and 3 s overlap"),
        ([ChosenClip(3.0, 5.0, score=7.0)], "the score of the one at 3 s is 7, and not 0 to 1"),
        (None, "a NoneType is no list of clips"),
        ([(3.0, 5.0)], "a tuple among them is no ChosenClip"),
        ([ChosenClip("early", 5.0)], "times and score must be numbers"),
        ([ChosenClip(10**400, 5.0)], "times and score must be numbers"),
    ],
)
def test_a_choice_that_cannot_be_made_is_refused(facts: SourceFacts, chosen: Any, problem: str):
    """With the reason, and whom to ask."""
    with pytest.raises(ProcessingError) as refused:
        plan_clips(
            facts,
            ProcessingSettings(clip_count=2),
            machine=Machine(),
            limits=SourceLimits(),
            analysis=source(),
            chooser=lambda analysis, settings, /: chosen,
        )

    assert problem in str(refused.value)
    assert (refused.value.code, refused.value.retryable) == ("bad_clip_choice", False)
    assert "Correct the chooser" in (refused.value.advice or "")


def test_a_choosers_reason_becomes_one_line_that_any_database_takes(facts: SourceFacts):
    """Postgres refuses a NUL in JSON, which would fail the job once all its clips were made."""
    chosen = [ChosenClip(0.0, 2.0, reason="loud\x00\n and  \ud800 clear " + "!" * 5000)]

    plan = plan_clips(
        facts,
        ProcessingSettings(clip_count=1),
        machine=Machine(),
        limits=SourceLimits(),
        analysis=source(),
        chooser=lambda analysis, settings, /: chosen,
    )

    assert plan.clips[0].reason.startswith("loud and clear !!!")
    assert len(plan.clips[0].reason) == 1000


def test_a_choosers_times_are_taken_to_the_millisecond(facts: SourceFacts):
    """ffmpeg reads 1e-05 as 1. Clips that meet between two milliseconds do not overlap."""
    chosen = [ChosenClip(1e-5, 2.0006), ChosenClip(2.00061, 3.00009)]

    plan = plan_clips(
        facts,
        ProcessingSettings(clip_count=2),
        machine=Machine(),
        limits=SourceLimits(),
        analysis=source(),
        chooser=lambda analysis, settings, /: chosen,
    )

    assert [(clip.start_seconds, clip.end_seconds) for clip in plan.clips] == [
        (0, 2.001),
        (2.001, 5.001),
    ]
    assert "-ss 2.001 -t 3.0" in " ".join(plan.runs[1].arguments)


# --- with the real ffmpeg -----------------------------------------------------------------------


def test_the_loud_lively_shot_is_cut_at_its_pauses(processor: VideoProcessor, media: Make):
    """Its tone goes from 6.5 to 11.2 s, between a still shot and darkness."""
    plan = processor.plan(media("story.mp4"), ProcessingSettings(clip_count=1, clip_seconds=5))

    (clip,) = plan.clips
    assert clip.start_seconds == pytest.approx(6.35, abs=0.06)
    assert clip.end_seconds == pytest.approx(11.45, abs=0.06)
    assert "much motion" in clip.reason


def test_the_same_source_gives_the_same_plan(processor: VideoProcessor, media: Make):
    """Two looks at it see the same."""
    settings = ProcessingSettings(clip_count=3)

    first, second = (processor.plan(media("story.mp4"), settings) for _ in range(2))

    assert first == second


def test_without_sound_the_picture_decides(processor: VideoProcessor, media: Make):
    """The lively shot from cut to cut, or as much of it as was asked for."""
    plan = processor.plan(media("story_mute.mp4"), ProcessingSettings(clip_count=1, clip_seconds=5))

    assert (plan.clips[0].start_seconds, plan.clips[0].end_seconds) == (6.0, 12.0)


@pytest.mark.parametrize("name", ["still.mp4", "mute.mp4", "blink.mp4", "odd.mkv", "uneven.mp4"])
@pytest.mark.parametrize("preset", ["standard", "draft"])
def test_poor_sources_give_clips_too(
    processor: VideoProcessor, media: Make, name: str, preset: str
):
    """Still, silent, very short, odd or uneven: there is always one clip, and a reason."""
    settings = ProcessingSettings(clip_count=1, clip_seconds=1, quality_preset=preset)

    plan = processor.plan(media(name), settings)

    assert len(plan.clips) == 1
    assert plan.clips[0].reason


def test_a_given_analysis_is_not_made_again(processor: VideoProcessor, media: Make):
    """Who plans twice looks once."""
    settings = ProcessingSettings(clip_count=1, clip_seconds=2)
    analysis = source(4.0, silences=(Span(0.8, 1.0), Span(3.0, 3.2)))

    plan = processor.plan(media("voice.mp4"), settings, analysis=analysis)

    assert (plan.clips[0].start_seconds, plan.clips[0].end_seconds) == (0.85, 3.2)


def test_a_job_goes_from_analysis_to_verified_clips(
    processor: VideoProcessor, media: Make, tmp_path: Path, look: Look
):
    """With a poster for each, every fact told, and a stage of its own that never goes back."""
    told: list[Progress] = []
    settings = ProcessingSettings(clip_count=1, clip_seconds=5, **TINY)

    result = processor.process(
        media("story.mp4"), settings, output_dir=tmp_path, on_progress=told.append
    )

    clip, poster = result.output_files
    assert clip.source_start_seconds == pytest.approx(6.35, abs=0.06)
    assert clip.score == pytest.approx(0.68, abs=0.1)
    assert "ends at a pause" in (clip.reason or "")
    assert (clip.video_codec, clip.audio_codec, clip.kind) == ("h264", "aac", "video")
    assert (clip.size_bytes or 0, clip.bitrate_kbps or 0) > (0, 0)
    assert (poster.path, poster.kind, poster.name) == ("clip_01.jpg", "poster", "clip_01_poster")
    assert look(tmp_path / "clip_01.jpg")["size"] == (90, 160)
    stages = list(dict.fromkeys(progress.stage for progress in told))
    assert stages[:3] == ["probing", "analysing", "encoding"]
    percents = [progress.percent for progress in told]
    assert percents == sorted(percents)


def test_a_poster_shows_its_own_clip(processor: VideoProcessor, media: Make, tmp_path: Path):
    """A third into it, as the clip itself does: no second look at the source."""
    cuts = [{"start_seconds": 12, "end_seconds": 15}, {"start_seconds": 40, "end_seconds": 46}]

    processor.process(
        media("clock.mp4"), ProcessingSettings(cuts=cuts, **TINY), output_dir=tmp_path
    )

    shown = [lightness(tmp_path / name, 0) for name in ("clip_01.jpg", "clip_02.jpg")]
    first, second = lightness(tmp_path / "clip_01.mp4", 30), lightness(tmp_path / "clip_02.mp4", 60)
    # A JPEG has the full range; a second is 3.5 shades of it.
    assert shown == pytest.approx([(first - 16) * 255 / 219, (second - 16) * 255 / 219], abs=1.74)


def test_a_broken_off_source_is_found_by_the_analysis(
    processor: VideoProcessor, media: Make, tmp_path: Path
):
    """Before anything is encoded."""
    whole = media("stereo.mkv").read_bytes()
    (tmp_path / "half.mkv").write_bytes(whole[: len(whole) // 3])
    told: list[Progress] = []

    with pytest.raises(ProcessingError) as failed:
        processor.process(
            tmp_path / "half.mkv",
            ProcessingSettings(clip_count=1, clip_seconds=1, **TINY),
            output_dir=tmp_path / "out",
            on_progress=told.append,
        )

    assert failed.value.code == "truncated_source"
    assert "encoding" not in [progress.stage for progress in told]


def test_a_pipeline_of_ones_own_is_given_an_analysis_when_it_has_a_place_for_it(
    media: Make, work_dir: Path
):
    """By the name of its parameter; those without one are called as ever."""
    seen: list[SourceAnalysis | None] = []

    def mine(facts, settings, /, *, machine, limits, analysis=None) -> Plan:
        seen.append(analysis)
        return plan_clips(facts, settings, machine=machine, limits=limits, analysis=analysis)

    processor = VideoProcessor(work_dir=work_dir, cores=2, pipelines={"mine": mine})

    plan = processor.plan(media("story.mp4"), ProcessingSettings(pipeline="mine", clip_count=1))

    assert [analysis is None for analysis in seen] == [True, False]
    assert plan.clips[0].score is not None


def test_a_spread_is_made_without_a_look(processor: VideoProcessor, media: Make, tmp_path: Path):
    """The source is decoded for the clips alone."""
    told: list[Progress] = []
    settings = ProcessingSettings(clip_count=1, clip_seconds=1, clip_choice="spread", **TINY)

    result = processor.process(
        media("story.mp4"), settings, output_dir=tmp_path, on_progress=told.append
    )

    assert "analysing" not in [progress.stage for progress in told]
    assert result.output_files[0].reason == "spread evenly, as asked for"
    assert result.output_files[0].source_start_seconds == 11.5
