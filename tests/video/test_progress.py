"""Progress and stalls, from what ffmpeg prints; time is given, never waited for."""

from __future__ import annotations

from videojobs.pipelines.clips import plan_clips
from videojobs.pipelines.plan import Machine, Plan
from videojobs.pipelines.progress import (
    ProgressBlock,
    ProgressParser,
    ProgressTracker,
    StallWatch,
)
from videojobs.pipelines.settings import ProcessingSettings
from videojobs.pipelines.source import SourceFacts, SourceLimits


def two_clips(facts: SourceFacts, level: str = "none") -> Plan:
    settings = ProcessingSettings(clip_count=2, clip_seconds=10, enhancement_level=level)
    return plan_clips(facts, settings, machine=Machine(), limits=SourceLimits())


def block(seconds: float, frame: int = 1, size: int = 0) -> ProgressBlock:
    return ProgressBlock(out_seconds=seconds, frame=frame, total_size=size, is_last=False)


def test_reports_are_read_in_pieces_of_any_size():
    """A report may arrive byte by byte."""
    parser = ProgressParser()
    told = b"frame=90\nout_time_us=3000000\ntotal_size=48\nprogress=continue\n"

    blocks = [found for byte in told for found in parser.feed(bytes([byte]))]

    assert blocks == [
        ProgressBlock(out_seconds=3.0, frame=90, total_size=48, is_last=False),
    ]


def test_times_before_the_first_frame_count_as_zero():
    """ffmpeg prints N/A or a negative time until it has a frame."""
    parser = ProgressParser()

    first, second = parser.feed(
        b"out_time_us=N/A\nprogress=continue\nout_time_us=-23220\nprogress=end\n"
    )

    assert (first.out_seconds, second.out_seconds, second.is_last) == (0, 0, True)


def test_an_endless_line_is_not_kept():
    """Memory stays bounded whatever comes."""
    parser = ProgressParser()

    parser.feed(b"x" * 1_000_000)

    assert parser.feed(b"\nout_time_us=1000000\nprogress=end\n")[0].out_seconds == 1.0


def test_printing_without_moving_is_a_stall():
    """ffmpeg 7 and later print every half second while stalled."""
    watch = StallWatch(expected_seconds=100)
    watch.saw(block(5.0), now=0)

    watch.saw(block(5.0), now=59)

    assert not watch.is_stalled(now=59)
    assert watch.is_stalled(now=61)


def test_a_growing_file_is_an_advance():
    """Even when the time stands still."""
    watch = StallWatch(expected_seconds=100)
    watch.saw(block(5.0, size=10), now=0)

    watch.saw(block(5.0, size=11), now=50)

    assert not watch.is_stalled(now=100)


def test_the_first_frame_may_take_longer():
    """Two minutes, since a source may have to be searched."""
    watch = StallWatch(expected_seconds=100)

    assert not watch.is_stalled(now=0)
    assert not watch.is_stalled(now=119)
    assert watch.is_stalled(now=121)


def test_rewriting_a_large_file_is_no_stall():
    """faststart moves 50 GB at 50 MB/s without a word."""
    watch = StallWatch(expected_seconds=100)
    watch.saw(block(99.5, size=50_000_000_000), now=0)

    assert not watch.is_stalled(now=1000)
    assert watch.is_stalled(now=1100)


def test_the_whole_is_the_mean_of_equal_clips(facts: SourceFacts):
    """Half of one of two clips is a quarter, of what lies between probe and publishing."""
    plan = two_clips(facts)
    tracker = ProgressTracker(plan, started_at=0.0)

    tracker.encoded(plan.runs[0], {"clip_01": 5.0})
    progress = tracker.now(10.0)

    assert (progress.percent, progress.stage) == (25, "encoding")
    assert progress.detail == {"clip_01": 49, "clip_02": 0}
    assert progress.speed == 0.5
    assert progress.eta_seconds == 30.8


def test_progress_never_goes_back(facts: SourceFacts):
    """ffmpeg's time does, when the faster of two outputs is finished."""
    plan = two_clips(facts)
    tracker = ProgressTracker(plan, started_at=0.0)
    tracker.encoded(plan.runs[0], {"clip_01": 8.0})
    before = tracker.now(1.0)

    tracker.encoded(plan.runs[0], {"clip_01": 7.0})

    assert tracker.now(2.0).percent == before.percent
    assert tracker.now(2.0).detail == before.detail


def test_verified_files_that_are_not_published_stand_at_99(facts: SourceFacts):
    """100 is for files in their place."""
    plan = two_clips(facts)
    tracker = ProgressTracker(plan, started_at=0.0)

    for run in plan.runs:
        tracker.encoded(run, {run.name: 10.0})
        tracker.verified(run)

    assert (tracker.now(5.0).percent, tracker.now(5.0).stage) == (99, "publishing")
    assert (tracker.finished(6.0).percent, tracker.finished(6.0).stage) == (100, "done")


def test_looking_for_the_subject_counts_for_an_eighth(facts: SourceFacts):
    """12 % of a run, and encoding goes on from there."""
    settings = ProcessingSettings(clip_count=1, clip_seconds=10, framing="follow")
    plan = plan_clips(facts, settings, machine=Machine(cores=2), limits=SourceLimits())
    tracker = ProgressTracker(plan, started_at=0.0)

    tracker.watched(plan.runs[0])
    before = tracker.now(1.0).percent
    tracker.encoded(plan.runs[0], {"clip_01": 0.1})

    assert before == 12
    assert before <= tracker.now(1.0).percent <= 14


def test_measuring_loudness_counts_for_little(facts: SourceFacts):
    """4 % of a run, as measured."""
    plan = two_clips(facts, "basic")
    tracker = ProgressTracker(plan, started_at=0.0)

    tracker.measured(plan.runs[0])
    tracker.measured(plan.runs[1])

    assert tracker.now(1.0).percent == 4
