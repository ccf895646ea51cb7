"""Long films in segments: each is encoded, verified and kept by itself, then all are joined.

Segments buy that a killed worker's successor goes on where it stopped, and that several workers share
one film. They begin on whole frames of the output, so that the joined file has every frame once.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING

from videojobs.pipelines.graphs import Filter, SourceInput
from videojobs.pipelines.source import can_seek

if TYPE_CHECKING:
    from videojobs.pipelines.source import SourceFacts

#: Sources up to this length are encoded in one piece: there is little to lose.
SHORT_SECONDS = 180.0

#: What a segment of a longer one lasts when nobody says otherwise. On two cores, segments of 8 s cost
#: 3 % and longer ones nothing that could be measured; a minute is little to lose.
USUAL_SECONDS = 60.0

#: How far before its place a stream without an index is read: beyond the usual groups of pictures
#: of 2 to 12 s, with room for a rare one of 25 s. What comes too early is decoded and trimmed.
LEAD_SECONDS = 30.0

#: Any other stream is read from so far before its place: filters that look at earlier pictures, such
#: as the denoiser, come to it as they would in one piece, and no seam is seen.
_WARM_UP_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Segment:
    """Some frames of the output, in one piece."""

    number: int
    """From 1 on."""
    first_frame: int
    frame_count: int
    is_last: bool

    @property
    def name(self) -> str:
        """Of its run: ``segment_0001``."""
        return f"segment_{self.number:04}"


@dataclass(frozen=True, slots=True)
class SegmentInput:
    """Where a segment's pictures come from, and how they are cut to the frame."""

    source: SourceInput
    trim: tuple[Filter, ...]
    """Behind the filter that makes the rate constant, and those that remember earlier pictures."""


def cut_into_segments(
    frame_count: int, rate: Fraction, segment_seconds: float
) -> tuple[Segment, ...]:
    """All frames, each once, in segments of that length; the last is from half to one and a half."""
    length = Fraction(segment_seconds).limit_denominator(1000) * rate
    count = max(1, round(frame_count / length))
    starts = [ceil(number * length) for number in range(count)]
    ends = [*starts[1:], frame_count]
    return tuple(
        Segment(number, start, end - start, is_last=number == count)
        for number, (start, end) in enumerate(zip(starts, ends, strict=True), start=1)
    )


def segment_input(
    segment: Segment,
    facts: SourceFacts,
    *,
    rate: Fraction,
    threads: int | None,
    from_start: bool = False,
) -> SegmentInput:
    """The part of the source that the segment needs: a little more, cut by the count of frames.

    Times are cut on the grid of the output's frames, so that every segment sees the grid that the
    film would have in one piece.
    """
    assert facts.video is not None  # noqa: S101 # no plan is made without a picture
    lead_seconds = _WARM_UP_SECONDS if can_seek(facts) else LEAD_SECONDS
    lead = segment.first_frame if from_start else ceil(lead_seconds * rate)
    begin = max(0, segment.first_frame - lead)
    skipped = segment.first_frame - begin
    # A second more than is needed: the last picture of a source with an uneven rate may come late.
    seconds = float((skipped + segment.frame_count) / rate) + 1.0
    source = SourceInput(
        start_seconds=round(float(begin / rate), 6) or None,
        duration_seconds=round(seconds, 6),
        video_index=facts.video.stream_index,
        threads=threads,
    )
    return SegmentInput(source, _cut_to_frames(skipped, segment.frame_count))


def _cut_to_frames(skipped: int, count: int) -> tuple[Filter, ...]:
    return (
        Filter("trim", {"start_frame": skipped, "end_frame": skipped + count}),
        Filter("setpts", {"expr": "PTS-STARTPTS"}),
    )
