"""A still picture beside a video, taken from the run that encodes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from videojobs.pipelines.graphs import Branch, Filter, Options

if TYPE_CHECKING:
    from videojobs.pipelines.plan import PlannedOutput

STILL_OPTIONS: Options = {"frames:v": 1, "c:v": "mjpeg", "q:v": 3, "update": 1, "f": "image2"}

#: JPEG has no other colours than full-range BT.601.
IN_JPEG_COLOURS = (
    Filter("scale", {"out_color_matrix": "bt601", "out_range": "full"}),
    Filter("format", {"pix_fmts": "yuvj420p"}),
)


def first_picture_branch(poster: PlannedOutput) -> Branch:
    """The first frame as a JPEG, of the picture as it stands at that place in the graph."""
    return Branch(file_name=poster.part_name, options=STILL_OPTIONS, tail=IN_JPEG_COLOURS)


def poster_branch(poster: PlannedOutput, *, at_seconds: float, end_seconds: float) -> Branch:
    """The frame at that time as a JPEG, of the picture as it stands at that place in the graph.

    The first is written too, and is overwritten: ffmpeg tells no progress before each of its outputs
    has had a frame. At *end_seconds* the branch ends, or a source whose times leap would be filled
    with frames that nobody takes.
    """
    is_wanted = f"eq(n,0)+gte(t,{at_seconds})*lt(prev_selected_t,{at_seconds})"
    first_and_wanted = (
        Filter("trim", {"end": end_seconds}),
        Filter("select", {"expr": is_wanted}),
        # Side by side, or the time between the two would be filled with the first.
        Filter("setpts", {"expr": "N"}),
    )
    return Branch(
        file_name=poster.part_name,
        options={**STILL_OPTIONS, "frames:v": 2},
        tail=(*first_and_wanted, *IN_JPEG_COLOURS),
    )
