"""What a job made: players, pictures, and files to download."""

from __future__ import annotations

from pathlib import PurePosixPath

from videojobs.dashboard import assets
from videojobs.dashboard.parts import box, text
from videojobs.dashboard.rows import file_url
from videojobs.dashboard.wording import output_facts
from videojobs.models import JobStatus, OutputFile, VideoJob

_PLAYED = {".mp4", ".m4v", ".webm", ".mov"}
_SHOWN = {".jpg", ".jpeg", ".png", ".webp"}


def draw_outputs(job: VideoJob, base: str) -> None:
    """A card for each output, videos first."""
    with box("vj-panel-head"):
        text("Outputs", "", "h2")
        if job.output_files:
            text(f"{len(job.output_files)} files", "vj-under")
    if not job.output_files:
        told = "They appear here when the job has completed."
        text(told if not job.is_final else "This job left none.", "vj-under", "p")
        return
    with box("vj-outputs"):
        for number, output in _videos_first(job):
            _draw(job, number, output, base)
    if job.status is JobStatus.COMPLETED:
        folder = PurePosixPath(job.output_files[0].path).parent
        with box("vj-under vj-folder", "p"):
            text("In the storage: ")
            text(str(folder), "mono")


def _videos_first(job: VideoJob) -> list[tuple[int, OutputFile]]:
    def rank(pair: tuple[int, OutputFile]) -> tuple[int, int]:
        number, output = pair
        suffix = PurePosixPath(output.path).suffix.lower()
        return 0 if suffix in _PLAYED else 1 if suffix in _SHOWN else 2, number

    return sorted(enumerate(job.output_files), key=rank)


def _draw(job: VideoJob, number: int, output: OutputFile, base: str) -> None:
    path = PurePosixPath(output.path)
    address = file_url(job, number, base)
    name = output.name or path.name
    with box(f"vj-output {output.kind}", "article", aria_label=path.name):
        if path.suffix.lower() in _PLAYED:
            _draw_player(job, output, address, base, name)
        elif path.suffix.lower() in _SHOWN:
            box("vj-picture", "img", src=address, alt=f"{output.kind} {name}", loading="lazy")
        with box("vj-output-text"):
            text(path.name, "vj-output-name", title=path.name)
            text(" · ".join(output_facts(output)) or output.kind, "vj-under")
            if output.reason:
                text(output.reason, "vj-under")
        with box(
            "vj-button quiet square",
            "a",
            href=f"{address}&download=true",
            download=path.name,
            aria_label=f"Download {path.name}",
            title="Download",
        ):
            assets.icon("download")


def _draw_player(job: VideoJob, output: OutputFile, address: str, base: str, name: str) -> None:
    player = box(
        "vj-player",
        "video",
        src=address,
        controls="controls",
        preload="metadata",
        playsinline="playsinline",
        aria_label=f"Play {name}",
    )
    poster = _poster_of(job, output)
    if poster is not None:
        player.props["poster"] = file_url(job, poster, base)
        player.props["preload"] = "none"
    if output.width and output.height:
        player.style(f"aspect-ratio: {output.width} / {output.height}")


def _poster_of(job: VideoJob, output: OutputFile) -> int | None:
    """The picture of the same name, else the first one."""
    stem = PurePosixPath(output.path).stem
    posters = [
        (number, PurePosixPath(one.path).stem)
        for number, one in enumerate(job.output_files)
        if one.kind == "poster"
    ]
    same = [number for number, name in posters if name == stem]
    return next(iter(same or [number for number, _ in posters]), None)
