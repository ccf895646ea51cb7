"""Filters and encoder options: what a picture and a sound go through on their way to a file."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING

from videojobs.pipelines.graphs import Filter, Options
from videojobs.pipelines.plan import GAIN_TOKEN

if TYPE_CHECKING:
    from videojobs.pipelines.framing import Crop
    from videojobs.pipelines.source import VideoFacts
    from videojobs.profiles import EncoderPreset, Enhancement

#: The limiter works on samples and AAC adds overshoot; this much room keeps the true peak of the
#: finished file below the ceiling.
_LIMITER_MARGIN_DB = 1.0

_ZSCALE_TRANSFERS = {"smpte2084": "smpte2084", "arib-std-b67": "arib-std-b67"}


def output_rate(video: VideoFacts, *, lowest: int = 1, highest: int = 60) -> Fraction:
    """A constant rate near the source's: halved until it is allowed, or repeated evenly.

    20 frames a second become 40, not 24 or 30: each frame is shown twice, and nothing judders.
    TikTok and Instagram take 23 to 60, so that the smallest whole multiple always fits.
    """
    rate = video.nominal_rate
    if rate > highest:
        return rate / ceil(rate / highest)
    return rate * ceil(lowest / rate)


def prepared_picture(video: VideoFacts, rate: Fraction) -> tuple[Filter, ...]:
    """Progressive frames at a constant rate, from time 0 on.

    The picture must start at 0 since the file will have no edit list to say otherwise.
    """
    deinterlace = (Filter("bwdif", {"mode": "send_frame", "deint": "interlaced"}),)
    steady = Filter("fps", {"fps": str(rate), "start_time": 0})
    return (*(deinterlace if video.is_interlaced else ()), steady)


def trimmed_picture(start_seconds: float) -> tuple[Filter, ...]:
    """The picture from that time on, which becomes 0; for sources that cannot be sought in."""
    shift = {"expr": f"PTS-{start_seconds}/TB"}
    return Filter("trim", {"start": start_seconds}), Filter("setpts", shift)


def trimmed_sound(start_seconds: float) -> tuple[Filter, ...]:
    """The sound from that time on, which becomes 0."""
    shift = {"expr": f"PTS-{start_seconds}/TB"}
    return Filter("atrim", {"start": start_seconds}), Filter("asetpts", shift)


def cropped(crop: Crop) -> Filter:
    """The part of the picture that will be seen."""
    return Filter("crop", {"w": crop.width, "h": crop.height, "x": crop.x, "y": crop.y, "exact": 1})


def scaled(width: int, height: int) -> Filter:
    """The picture at another size, its colours untouched."""
    return Filter("scale", {"w": width, "h": height, "flags": "lanczos"})


def denoised() -> Filter:
    """A little less noise. Done before scaling, it pays for itself."""
    return Filter(
        "hqdn3d", {"luma_spatial": 1.5, "chroma_spatial": 1.5, "luma_tmp": 4, "chroma_tmp": 4}
    )


def improved(enhancement: Enhancement) -> tuple[Filter, ...]:
    """What the enhancement level does to a scaled picture."""
    filters: list[Filter] = []
    if enhancement.enrich_colour:
        filters.append(Filter("eq", {"contrast": 1.03, "saturation": 1.1}))
    if enhancement.sharpen:
        filters.append(
            Filter("unsharp", {"luma_msize_x": 5, "luma_msize_y": 5, "luma_amount": 0.4})
        )
    return tuple(filters)


def scaled_to_standard_colours(
    video: VideoFacts, width: int, height: int, *, can_tone_map: bool
) -> tuple[Filter, ...]:
    """The picture at its first size, in 8-bit BT.709, with square pixels and honest tags."""
    scale = _scale_in_bt709(video, width, height)
    mapped = video.is_hdr and can_tone_map
    return (
        *((scaled(width, height), *_tone_mapped(video)) if mapped else (scale,)),
        Filter("format", {"pix_fmts": "yuv420p"}),
        Filter("setsar", {"sar": 1}),
        _tagged_bt709(),
    )


def prepared_sound(
    *, duration_seconds: float, limit_dbtp: float | None = None, pad: bool = True
) -> tuple[Filter, ...]:
    """48 kHz stereo that starts at 0, and with a limit gain and limiter.

    Mono becomes stereo before it is measured: the meter hears it 3 LU louder that way, and so
    does the listener. Gaps and a late start become silence, since there is no edit list.
    """
    sound = [
        Filter("aresample", {"async": 1, "first_pts": 0}),
        Filter("aformat", {"sample_rates": 48000, "channel_layouts": "stereo"}),
    ]
    if limit_dbtp is not None:
        sound += [Filter("volume", {"volume": f"{GAIN_TOKEN}dB"}), _limiter(limit_dbtp)]
    if pad:
        sound.append(Filter("apad", {"whole_dur": duration_seconds}))
    return tuple(sound)


def mp4_options(
    preset: EncoderPreset,
    *,
    rate: Fraction,
    keyframe_seconds: float,
    max_bitrate_kbps: int,
    duration_seconds: float,
    threads: int | None = None,
) -> dict[str, str | int | float]:
    """H.264 High in an MP4 that plays from its first byte and has no edit list.

    Instagram and YouTube ask for files without edit lists; ffmpeg writes two by default. Plain
    ``-use_editlist 0`` moves the picture by 67 ms; with negative composition offsets it stays.
    """
    options: dict[str, str | int | float] = {
        "c:v": "libx264",
        "preset": preset.x264_preset,
        "crf": preset.crf,
        "maxrate": f"{max_bitrate_kbps}k",
        "bufsize": f"{2 * max_bitrate_kbps}k",
        "profile:v": "high",
        "pix_fmt": "yuv420p",
        "bf": 2,
        "g": max(1, round(rate * Fraction(keyframe_seconds))),
        "flags:v": "+cgop",
        **_container_options(duration_seconds),
    }
    return options | ({"threads:v": threads} if threads else {})


def copy_options(*, duration_seconds: float) -> dict[str, str | int | float]:
    """Pictures that are encoded already, in an MP4 like that of `mp4_options`."""
    return {"c:v": "copy", **_container_options(duration_seconds)}


def aac_options(bitrate_kbps: int) -> Options:
    """AAC-LC, which every platform takes."""
    return {"c:a": "aac", "b:a": f"{bitrate_kbps}k"}


def clock_options(clock_name: str) -> Options:
    """Have ffmpeg note the time of every written frame, for a progress of each output.

    ``-progress`` knows only the most advanced output. ffmpeg 6 and later.
    """
    return {"stats_mux_pre:v": f"file:{clock_name}", "stats_mux_pre_fmt:v": "{t}"}


def _container_options(duration_seconds: float) -> Options:
    return {
        "map_metadata": -1,
        "map_chapters": -1,
        "movflags": "+faststart+negative_cts_offsets",
        "use_editlist": 0,
        "t": duration_seconds,
        "f": "mp4",
    }


def _scale_in_bt709(video: VideoFacts, width: int, height: int) -> Filter:
    convert: dict[str, str | int | float] = {}
    matrix = video.matrix or _usual_matrix(video)
    if matrix != "bt709":
        convert |= {"in_color_matrix": matrix, "out_color_matrix": "bt709"}
    if video.is_full_range:
        convert |= {"in_range": "full", "out_range": "limited"}
    plain = scaled(width, height)
    return Filter(plain.name, {**plain.options, **convert})


def _usual_matrix(video: VideoFacts) -> str:
    # What players assume of an untagged picture. ffmpeg itself assumes BT.601 for all sizes,
    # and turns an untagged HD video green.
    return "bt709" if min(video.display_size) >= 720 or max(video.display_size) >= 1280 else "bt601"


def _tone_mapped(video: VideoFacts) -> tuple[Filter, ...]:
    transfer = _ZSCALE_TRANSFERS[str(video.transfer)]
    read = {"transferin": transfer, "matrixin": "2020_ncl", "primariesin": "2020"}
    return (
        Filter("zscale", {**read, "transfer": "linear", "npl": 100}),
        Filter("format", {"pix_fmts": "gbrpf32le"}),
        Filter("zscale", {"primaries": "709"}),
        Filter("tonemap", {"tonemap": "hable", "desat": 0}),
        Filter("zscale", {"transfer": "709", "matrix": "709", "range": "limited"}),
    )


def _tagged_bt709() -> Filter:
    names = ("colorspace", "color_primaries", "color_trc")
    return Filter("setparams", {"range": "limited", **dict.fromkeys(names, "bt709")})


def _limiter(ceiling_dbtp: float) -> Filter:
    limit = 10 ** ((ceiling_dbtp - _LIMITER_MARGIN_DB) / 20)
    # level would raise the result to 0 dB again.
    return Filter("alimiter", {"limit": round(limit, 4), "level": 0})
