"""What a person should know about a plan although it will succeed."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from videojobs.pipelines.plan import Machine
    from videojobs.pipelines.settings import ProcessingSettings
    from videojobs.pipelines.source import SourceFacts, VideoFacts


def source_warnings(
    facts: SourceFacts, video: VideoFacts, settings: ProcessingSettings, machine: Machine
) -> tuple[str, ...]:
    """What the source lacks, what this machine cannot do for it, and what was not understood."""
    warnings: list[str] = []
    if facts.audio is None:
        warnings.append("the source has no sound, and neither have the outputs")
    if video.is_hdr and not machine.has_tone_mapping:
        warnings.append(
            "the source is HDR and this ffmpeg has no zscale filter: colours will look pale; "
            "use the ffmpeg of imageio-ffmpeg"
        )
    longest = settings.clip_seconds if settings.pipeline == "clips" and not settings.cuts else None
    if longest is not None and longest > facts.duration_seconds:
        warnings.append(
            f"the source lasts {facts.duration_seconds:.1f} s, less than the "
            f"clip_seconds={longest:g} that were asked for"
        )
    warnings += [_unknown(name, settings) for name in settings.options]
    warnings += [
        f"the setting {name!r} means nothing to the pipeline {settings.pipeline!r} and was ignored"
        for name in settings.given_for_other_pipelines
    ]
    return tuple(warnings)


def _unknown(name: str, settings: ProcessingSettings) -> str:
    close = get_close_matches(name, type(settings).model_fields, n=1)
    suggestion = f"; did you mean {close[0]!r}?" if close else ""
    return (
        f"the setting {name!r} is not known to the pipeline {settings.pipeline!r} and was "
        f"ignored{suggestion}"
    )
