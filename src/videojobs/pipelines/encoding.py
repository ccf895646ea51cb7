"""Filters and encoder options: what a picture and a sound go through on their way to a file."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import ceil
from types import MappingProxyType
from typing import TYPE_CHECKING

from videojobs.pipelines.graphs import Filter, Layers, Options
from videojobs.pipelines.plan import GAIN_TOKEN, GAMMA_TOKEN, PLACE_TOKEN

if TYPE_CHECKING:
    from videojobs.models import QualityPreset
    from videojobs.pipelines.framing import Crop
    from videojobs.pipelines.plan import CropRange
    from videojobs.pipelines.source import VideoFacts
    from videojobs.profiles import CodecProfile, EncoderPreset, Enhancement, VideoCodec

#: The limiter works on samples and AAC adds overshoot; this much room keeps the true peak of the
#: finished file below the ceiling.
_LIMITER_MARGIN_DB = 1.0

#: Of ITU-T H.264, table A-1: the level, its macroblocks a second and a frame, and High's kbit/s.
_LEVELS = (
    ("3.1", 108_000, 3_600, 17_500),
    ("4.0", 245_760, 8_192, 25_000),
    ("4.2", 522_240, 8_704, 62_500),
    ("5.1", 983_040, 36_864, 300_000),
    ("5.2", 2_073_600, 36_864, 300_000),
)

#: No keyframes besides those that are asked for, and no pictures that lean on the group before.
_OWN_OPTIONS: Mapping[VideoCodec, Options] = MappingProxyType(
    {
        "hevc": {
            "profile:v": "main",
            "tag:v": "hvc1",
            "forced-idr": 1,
            "x265-params": "log-level=error:scenecut=0:open-gop=0:bframes=2",
        },
        "av1": {"svtav1-params": "scd=0"},
    }
)

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


def steadied(video: VideoFacts) -> Filter:
    """The picture at the size that it had at first, or no cut-out would fit.

    Calls and shared screens are recorded with a size that changes. Where it does not, this costs
    nothing: the filter hands on what needs no change.
    """
    width, height = video.upright_size
    return Filter("scale", {"w": width, "h": height})


def cropped(crop: Crop) -> Filter:
    """The part of the picture that will be seen."""
    return Filter("crop", {"w": crop.width, "h": crop.height, "x": crop.x, "y": crop.y, "exact": 1})


def followed(crop: Crop, span: CropRange) -> Filter:
    """The part of the picture that follows the subject, once it is known where that is."""
    still = cropped(crop)
    return Filter(still.name, {**still.options, span.axis: PLACE_TOKEN})


def on_blurred_self(
    size: tuple[int, int], *, width: int, height: int
) -> tuple[Filter | Layers, ...]:
    """The picture of that size amid the frame, before itself enlarged, blurred and cropped.

    The blur works on a sixteenth of the pixels, so that all of it costs less than cropping saves.
    """
    cut = _cut_like(size, width=width, height=height)
    small = scaled(max(16, width // 8 * 2), max(16, height // 8 * 2), flags="fast_bilinear")
    background = (
        Filter("crop", {"w": cut[0], "h": cut[1]}),
        small,
        Filter("gblur", {"sigma": 8}),
        scaled(width, height, flags="bilinear"),
        Filter("setsar", {"sar": 1}),
    )
    place = {"x": (width - size[0]) // 4 * 2, "y": (height - size[1]) // 4 * 2}
    return Layers(background, Filter("overlay", place)), _tagged_bt709()


def captioned(file_name: str) -> Filter:
    """The captions of a file of our own making, drawn by libass."""
    return Filter("ass", {"filename": file_name})


def shrunk_to_grey(width: int, height: int) -> tuple[Filter, ...]:
    """A small copy of the picture to look at, each pixel the mean of what it stands for."""
    return scaled(width, height, flags="area"), Filter("format", {"pix_fmts": "gray"})


def noted_cuts(file_name: str) -> tuple[Filter, ...]:
    """The times of the source's own cuts, to the frame, noted in that file."""
    note = {"mode": "print", "key": "lavfi.scd.time", "file": file_name}
    return Filter("scdet", {"threshold": 10}), Filter("metadata", note)


def sampled(per_second: int) -> Filter:
    """So many pictures a second, the first at 0."""
    return Filter("fps", {"fps": per_second, "start_time": 0})


def scaled(width: int, height: int, *, flags: str = "lanczos") -> Filter:
    """The picture at another size, its colours untouched."""
    return Filter("scale", {"w": width, "h": height, "flags": flags})


def denoised() -> Filter:
    """A little less noise. Done before scaling, it pays for itself."""
    return Filter(
        "hqdn3d", {"luma_spatial": 1.5, "chroma_spatial": 1.5, "luma_tmp": 4, "chroma_tmp": 4}
    )


def improved(enhancement: Enhancement, *, knows_exposure: bool = False) -> tuple[Filter, ...]:
    """What the enhancement level does to a scaled picture.

    Gamma rides in the filter that enriches colours, and costs nothing there.
    """
    filters: list[Filter] = []
    gamma = {"gamma": GAMMA_TOKEN} if enhancement.correct_exposure and knows_exposure else {}
    if enhancement.enrich_colour:
        filters.append(Filter("eq", {"contrast": 1.03, "saturation": 1.1, **gamma}))
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
    *,
    duration_seconds: float,
    limit_dbtp: float | None = None,
    denoise: bool = False,
    pad: bool = True,
) -> tuple[Filter, ...]:
    """48 kHz stereo that starts at 0, and with a limit gain and limiter.

    Mono becomes stereo before it is measured: the meter hears it 3 LU louder that way, and so
    does the listener. Gaps and a late start become silence, since there is no edit list.
    """
    sound = [
        Filter("aresample", {"async": 1, "first_pts": 0}),
        Filter("aformat", {"sample_rates": 48000, "channel_layouts": "stereo"}),
    ]
    if denoise:
        # Of noise that is 12 dB quieter afterwards, no voice grows hollow.
        sound.append(Filter("afftdn", {"noise_reduction": 12, "track_noise": 1}))
    if limit_dbtp is not None:
        sound += [Filter("volume", {"volume": f"{GAIN_TOKEN}dB"}), _limiter(limit_dbtp)]
    if pad:
        sound.append(Filter("apad", {"whole_dur": duration_seconds}))
    return tuple(sound)


def mp4_options(
    preset: EncoderPreset,
    *,
    size: tuple[int, int],
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
        "level:v": h264_level(*size, rate=rate, max_bitrate_kbps=max_bitrate_kbps),
        "pix_fmt": "yuv420p",
        "bf": 2,
        "g": max(1, round(rate * Fraction(keyframe_seconds))),
        "flags:v": "+cgop",
        **_container_options(duration_seconds),
    }
    return options | ({"threads:v": threads} if threads else {})


def copy_options(
    *, duration_seconds: float, codec: VideoCodec = "h264"
) -> dict[str, str | int | float]:
    """Pictures that are encoded already, in an MP4 like that of `mp4_options`."""
    # A copy loses the tag that Apple's players ask for.
    tag: Options = {"tag:v": "hvc1"} if codec == "hevc" else {}
    return {"c:v": "copy", **tag, **_container_options(duration_seconds)}


def in_codec(
    options: Options, codec: CodecProfile, quality: QualityPreset, *, max_bitrate_kbps: int
) -> dict[str, str | int | float]:
    """The same file with its picture in HEVC or AV1 instead of H.264.

    HEVC is tagged hvc1, since Apple's players do not open hev1.
    """
    rate = round(max_bitrate_kbps * codec.rate_share)
    of_x264 = ("profile:v", "bf", "sc_threshold")
    return {
        **{name: value for name, value in options.items() if name not in of_x264},
        "c:v": codec.encoder,
        "preset": codec.presets[quality],
        "crf": codec.crf[quality],
        "maxrate": f"{rate}k",
        "bufsize": f"{2 * rate}k",
        **_OWN_OPTIONS[codec.name],
    }


def h264_level(width: int, height: int, *, rate: Fraction, max_bitrate_kbps: int) -> str:
    """The lowest common level that holds such a picture: the lower, the more devices decode it."""
    blocks = ceil(width / 16) * ceil(height / 16)
    needed = (blocks * rate, blocks, max_bitrate_kbps)
    for level, *holds in _LEVELS:
        if all(need <= most for need, most in zip(needed, holds, strict=True)):
            return level
    return _LEVELS[-1][0]


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


def _cut_like(size: tuple[int, int], *, width: int, height: int) -> tuple[int, int]:
    """The largest part of a picture that has the frame's shape."""
    own_width, own_height = size
    if own_width * height > own_height * width:
        return max(2, own_height * width // height // 2 * 2), own_height
    return own_width, max(2, own_width * height // width // 2 * 2)


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
