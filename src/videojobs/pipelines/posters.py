"""A still picture beside a video, taken from the run that encodes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from videojobs.pipelines.graphs import Branch, Filter, Options

if TYPE_CHECKING:
    from videojobs.pipelines.plan import PlannedOutput

_STILL: Options = {"frames:v": 1, "c:v": "mjpeg", "q:v": 3, "update": 1, "f": "image2"}

#: JPEG has no other colours than full-range BT.601.
_IN_JPEG_COLOURS = (
    Filter("scale", {"out_color_matrix": "bt601", "out_range": "full"}),
    Filter("format", {"pix_fmts": "yuvj420p"}),
)


def poster_branch(poster: PlannedOutput, *, at_seconds: float | None = None) -> Branch:
    """One frame as a JPEG, of the picture as it stands at that place in the graph.

    Without a time it is the first one.
    """
    later = (
        (
            Filter("trim", {"start": at_seconds}),
            Filter("setpts", {"expr": "PTS-STARTPTS"}),
        )
        if at_seconds is not None
        else ()
    )
    return Branch(file_name=poster.part_name, options=_STILL, tail=(*later, *_IN_JPEG_COLOURS))
