"""Small pictures for a player's time line: one sheet of tiles, and a WebVTT that finds them."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor
from typing import TYPE_CHECKING

from videojobs.pipelines.framing import even
from videojobs.pipelines.graphs import Filter, sheet_arguments
from videojobs.pipelines.plan import PlannedOutput, PlannedRun
from videojobs.pipelines.posters import IN_JPEG_COLOURS, STILL_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

TILE_WIDTH = 160
MAX_TILES = 100
_COLUMNS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedThumbnails:
    """A sheet of keyframes of a finished rendition, at even distances."""

    run: PlannedRun
    tile_width: int
    tile_height: int
    columns: int
    tile_count: int
    interval_seconds: float

    @property
    def sheet(self) -> PlannedOutput:
        """The picture of all tiles."""
        return self.run.outputs[0]

    @property
    def track(self) -> PlannedOutput:
        """The WebVTT."""
        return self.run.outputs[1]


def plan_thumbnails(
    outputs: Sequence[PlannedOutput], *, keyframe_seconds: float
) -> PlannedThumbnails:
    """Tiles from the keyframes of the smallest rendition: nothing else is decoded.

    All keyframes up to 100, and then every second, every third, and so on.
    """
    source = min(
        (output for output in outputs if output.kind == "video" and output.video_codec == "h264"),
        key=lambda output: output.width,
    )
    step = ceil(_count(source, keyframe_seconds) / MAX_TILES)
    interval = step * keyframe_seconds
    count = _count(source, interval)
    width = min(TILE_WIDTH, source.width)
    height = even(source.height * width / source.width)
    columns = min(_COLUMNS, count)
    rows = ceil(count / columns)
    sheet = PlannedOutput(
        name="sprite",
        file_name="sprite.jpg",
        kind="sprite",
        width=columns * width,
        height=rows * height,
    )
    track = PlannedOutput(
        name="thumbnails", file_name="thumbnails.vtt", kind="thumbnails", width=0, height=0
    )
    picked = (Filter("select", {"expr": f"not(mod(n,{step}))"}),) if step > 1 else ()
    tiles = (
        *picked,
        Filter("scale", {"w": width, "h": height, "flags": "area"}),
        Filter("tile", {"layout": f"{columns}x{rows}"}),
        *IN_JPEG_COLOURS,
    )
    run = PlannedRun(
        name="thumbnails",
        arguments=sheet_arguments(source.part_name, tiles, sheet.part_name, STILL_OPTIONS),
        outputs=(sheet, track),
        duration_seconds=source.duration_seconds,
        cost_seconds=0.005 * source.duration_seconds * source.weight,
    )
    return PlannedThumbnails(
        run=run,
        tile_width=width,
        tile_height=height,
        columns=columns,
        tile_count=count,
        interval_seconds=interval,
    )


def thumbnail_track(planned: PlannedThumbnails, duration_seconds: float) -> str:
    """The WebVTT: for each tile, from when until when it stands for the film, and where it lies.

    A film that ended sooner than planned has fewer tiles, never a cue beyond its end.
    """
    cues: list[str] = []
    for number in range(planned.tile_count):
        start = number * planned.interval_seconds
        is_last = number == planned.tile_count - 1
        end = duration_seconds if is_last else start + planned.interval_seconds
        if start < duration_seconds:
            cues += ["", f"{_time(start)} --> {_time(min(end, duration_seconds))}"]
            cues += [_place(planned, number)]
    return "\n".join(["WEBVTT", *cues, ""])


def _count(source: PlannedOutput, interval_seconds: float) -> int:
    last_frame_at = (source.frame_count - 1) / float(source.frame_rate or 25)
    return floor(max(0.0, last_frame_at) / interval_seconds) + 1


def _place(planned: PlannedThumbnails, number: int) -> str:
    row, column = divmod(number, planned.columns)
    x, y = column * planned.tile_width, row * planned.tile_height
    where = f"{x},{y},{planned.tile_width},{planned.tile_height}"
    return f"{planned.sheet.file_name}#xywh={where}"


def _time(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}.{rest % 1000:03d}"
