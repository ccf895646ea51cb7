"""Plans are values: what ffmpeg will be told is known without running it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from videojobs.errors import ProcessingError, SupabaseValidationError
from videojobs.pipelines.clips import plan_clips
from videojobs.pipelines.plan import Machine, Plan
from videojobs.pipelines.renditions import plan_renditions
from videojobs.pipelines.settings import ProcessingSettings
from videojobs.pipelines.source import SourceFacts, SourceLimits

TWO_CORES = Machine(cores=2, ffmpeg_major=9, has_tone_mapping=True)
LIMITS = SourceLimits()


def clips(facts: SourceFacts, machine: Machine = TWO_CORES, **settings: object) -> Plan:
    return plan_clips(facts, ProcessingSettings(**settings), machine=machine, limits=LIMITS)


def renditions(facts: SourceFacts, machine: Machine = TWO_CORES, **settings: object) -> Plan:
    wanted = ProcessingSettings(pipeline="renditions", **settings)
    return plan_renditions(facts, wanted, machine=machine, limits=LIMITS)


def video(facts: SourceFacts, **changes: object) -> SourceFacts:
    assert facts.video is not None
    return replace(facts, video=replace(facts.video, **changes))


def graph(plan: Plan) -> str:
    arguments = plan.runs[0].arguments
    return arguments[arguments.index("-filter_complex") + 1]


def windows(plan: Plan) -> list[tuple[float | None, float | None]]:
    return [(clip.start_seconds, clip.end_seconds) for clip in plan.clips]


def test_one_clip_is_one_ffmpeg_run(facts: SourceFacts):
    """A plain clip is told to ffmpeg in exactly these words."""
    plan = clips(facts, clip_count=1, clip_seconds=10)

    # fmt: off
    assert plan.runs[0].arguments == (
        "-hide_banner", "-nostdin", "-nostats", "-stats_period", "0.5", "-progress", "pipe:1",
        "-max_alloc", "268435456", "-y",
        "-loglevel", "repeat+level+warning",
        "-format_whitelist", "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,flv,asf,mpeg,ogg,mxf",
        "-max_pixels", "36000000", "-max_streams", "64", "-protocol_whitelist", "file",
        "-ss", "25.0", "-t", "10.0", "-i", "file:source",
        "-filter_complex",
        "[0:0]fps=fps=30:start_time=0[s0];"
        "[s0]scale=h=1080:w=1920[s1];"
        "[s1]crop=exact=1:h=1080:w=608:x=656:y=0[s2];"
        "[s2]scale=flags=lanczos:h=1920:w=1080[s3];"
        "[s3]format=pix_fmts=yuv420p[s4];"
        "[s4]setsar=sar=1[s5];"
        "[s5]setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=limited[s6];"
        "[s6]split=2[s7][s8];"
        "[s8]trim=end=10.0[s12];"
        "[s12]select=expr=eq(n\\,0)+gte(t\\,3.333)*lt(prev_selected_t\\,3.333)[s13];"
        "[s13]setpts=expr=N[s14];"
        "[s14]scale=out_color_matrix=bt601:out_range=full[s15];"
        "[s15]format=pix_fmts=yuvj420p[s16]",
        "-filter_complex",
        "[0:1]aresample=async=1:first_pts=0[s9];"
        "[s9]aformat=channel_layouts=stereo:sample_rates=48000[s10];"
        "[s10]apad=whole_dur=10.0[s11]",
        "-map", "[s7]", "-map", "[s11]",
        "-f", "mp4", "-b:a", "160k", "-bf", "2", "-bufsize", "24000k", "-c:a", "aac",
        "-c:v", "libx264", "-crf", "22", "-flags:v", "+cgop", "-g", "60", "-level:v", "4.0",
        "-map_chapters", "-1", "-map_metadata", "-1", "-maxrate", "12000k",
        "-movflags", "+faststart+negative_cts_offsets", "-pix_fmt", "yuv420p",
        "-preset", "veryfast", "-profile:v", "high", "-t", "10.0", "-use_editlist", "0",
        "file:clip_01.mp4.part",
        "-map", "[s16]", "-f", "image2", "-c:v", "mjpeg", "-frames:v", "2", "-q:v", "3",
        "-update", "1", "file:clip_01.jpg.part",
    )
    # fmt: on


def test_clips_are_spread_and_do_not_overlap(facts: SourceFacts):
    """Three clips of ten seconds stand in the middle of the source's three thirds."""
    plan = clips(facts, clip_count=3, clip_seconds=10)

    assert windows(plan) == [(5.0, 15.0), (25.0, 35.0), (45.0, 55.0)]


def test_the_same_wish_gives_the_same_plan(facts: SourceFacts):
    """Planning is deterministic."""
    first = clips(facts, clip_count=7, enhancement_level="basic")

    second = clips(facts, clip_count=7, enhancement_level="basic")

    assert first == second


def test_too_many_clips_become_fewer_with_a_warning(facts: SourceFacts):
    """Six seconds have room for two clips of three, and the plan says so."""
    plan = clips(replace(facts, duration_seconds=6.5), clip_count=5, clip_seconds=3)

    assert len(plan.runs) == 2
    assert plan.warnings[0].startswith("2 of 5 clips were made")


def test_a_source_shorter_than_a_platform_takes_is_refused(facts: SourceFacts):
    """TikTok takes nothing below three seconds."""
    with pytest.raises(ProcessingError, match="nothing below 3 s") as refused:
        clips(replace(facts, duration_seconds=2.0), platform_target="tiktok")

    assert (refused.value.code, refused.value.retryable) == ("source_too_short", False)


def test_two_clips_at_a_time_have_one_thread_each_on_two_cores(facts: SourceFacts):
    """Two runs with one thread each are faster than one run with two."""
    plan = clips(facts, clip_count=4)

    assert plan.concurrency == 2
    assert "-threads:v 1" in " ".join(plan.runs[0].arguments)


def test_a_clip_that_is_left_alone_at_the_end_has_all_cores(facts: SourceFacts):
    """It is the shortest one, since the longest begin first."""
    cuts = [
        {"start_seconds": start, "end_seconds": end} for start, end in ((0, 9), (10, 14), (20, 29))
    ]

    plan = clips(facts, cuts=cuts)

    threads = ["-threads:v 2" in " ".join(run.arguments) for run in plan.runs]
    assert threads == [False, True, False]


def test_many_cores_run_half_as_many_clips_at_a_time(facts: SourceFacts):
    """Eight cores run four clips with two threads each."""
    plan = clips(facts, Machine(cores=8), clip_count=10)

    assert plan.concurrency == 4
    assert "-threads:v 2" in " ".join(plan.runs[0].arguments)


def test_a_turned_source_is_cropped_as_it_is_seen(facts: SourceFacts):
    """A phone's upright 1080p video is already 9:16: nothing is cut off."""
    plan = clips(video(facts, rotation_degrees=90))

    assert "crop=exact=1:h=1920:w=1080:x=0:y=0" in graph(plan)


def test_stretched_pixels_are_counted_in_the_crop(facts: SourceFacts):
    """Pixels of 4:3 make the picture wider, so that fewer of them make 9:16."""
    plan = clips(video(facts, width=1440, sample_aspect_ratio=Fraction(4, 3)))

    assert "crop=exact=1:h=1080:w=456:x=492:y=0" in graph(plan)


def test_a_turned_source_has_its_pixels_turned_too(facts: SourceFacts):
    """Lying pixels of 4:3 stand as 3:4 after a quarter turn: 810 of them fit into 1440."""
    plan = clips(video(facts, width=1440, sample_aspect_ratio=Fraction(4, 3), rotation_degrees=270))

    assert "crop=exact=1:h=1440:w=1080:x=0:y=0" in graph(plan)


def test_an_odd_size_gives_an_even_crop(facts: SourceFacts):
    """H.264 in 4:2:0 takes even sizes only."""
    plan = clips(video(facts, width=321, height=181))

    assert "crop=exact=1:h=180:w=102:x=108:y=0" in graph(plan)


def test_interlaced_sources_are_deinterlaced_first(facts: SourceFacts):
    """Fields must not be scaled together."""
    plan = clips(video(facts, is_interlaced=True))

    assert graph(plan).startswith("[0:0]bwdif=deint=interlaced:mode=send_frame[s0];[s0]fps=")


def test_hdr_is_tone_mapped(facts: SourceFacts):
    """PQ becomes 8-bit BT.709 by way of linear light."""
    plan = clips(video(facts, transfer="smpte2084", matrix="bt2020"))

    assert "transferin=smpte2084" in graph(plan)
    assert "tonemap=desat=0:tonemap=hable" in graph(plan)


def test_hdr_without_zscale_is_warned_of(facts: SourceFacts):
    """An ffmpeg without zimg still gives BT.709, and the plan says what is lost."""
    hdr = video(facts, transfer="arib-std-b67", matrix="bt2020")

    plan = clips(hdr, Machine(has_tone_mapping=False))

    assert "in_color_matrix=bt2020:out_color_matrix=bt709" in graph(plan)
    assert "pale" in plan.warnings[-1]


def test_small_untagged_sources_are_taken_for_bt601(facts: SourceFacts):
    """As players do, so that colours do not shift."""
    plan = clips(video(facts, width=640, height=480))

    assert "in_color_matrix=bt601:out_color_matrix=bt709" in graph(plan)


@pytest.mark.parametrize(
    ("stored", "planned"),
    [
        (Fraction(30), "30"),
        (Fraction(30000, 1001), "30000/1001"),
        (Fraction(2983, 100), "30000/1001"),
        (Fraction(20), "40"),
        (Fraction(10), "30"),
        (Fraction(120), "60"),
        (Fraction(144), "48"),
    ],
)
def test_frame_rates_become_constant_and_even(facts: SourceFacts, stored: Fraction, planned: str):
    """A rate is kept, halved or repeated evenly, within what the platforms take."""
    plan = clips(video(facts, frame_rate=stored))

    assert f"fps=fps={planned}:start_time=0" in graph(plan)


def test_shorts_have_a_keyframe_every_half_second(facts: SourceFacts):
    """YouTube asks for a closed group of pictures of half the frame rate."""
    plan = clips(facts, platform_target="youtube_shorts")

    assert "-flags:v +cgop -g 15" in " ".join(plan.runs[0].arguments)


def test_basic_enhancement_denoises_before_and_sharpens_after_scaling(facts: SourceFacts):
    """In this order denoising saves more time than it takes."""
    plan = clips(facts, enhancement_level="basic")

    names = [step.partition("]")[2].partition("=")[0] for step in graph(plan).split(";")]
    assert names[2:5] == ["crop", "hqdn3d", "scale"]
    assert names.index("unsharp") > names.index("scale")


def test_loudness_is_measured_behind_the_same_gain_and_limiter(facts: SourceFacts):
    """The measuring run hears stereo, decodes no picture, and never uses loudnorm."""
    plan = clips(facts, enhancement_level="basic")

    goal = plan.runs[0].loudness
    assert goal is not None
    assert (goal.target_lufs, goal.ceiling_dbtp) == (-14.0, -1.5)
    measured = " ".join(goal.arguments)
    assert "-vn" in goal.arguments
    assert "volume=volume=GAIN_DECIBELSdB" in measured
    assert "alimiter=level=0:limit=0.7499" in measured
    assert "loudnorm" not in measured


def test_commands_hold_the_given_gain(facts: SourceFacts):
    """The bare command lines can be run as they are."""
    plan = clips(facts, clip_count=1, enhancement_level="basic")

    measure, encode = plan.commands("/usr/bin/ffmpeg", gain_db=3.5)

    assert measure[0] == encode[0] == "/usr/bin/ffmpeg"
    assert "volume=volume=3.50dB" in " ".join(encode)


def test_a_source_without_sound_gives_silent_clips_and_a_warning(facts: SourceFacts):
    """No sound is planned, measured or promised."""
    plan = clips(replace(facts, audio=None), enhancement_level="basic")

    assert plan.runs[0].loudness is None
    assert "-c:a" not in plan.runs[0].arguments
    assert plan.warnings == ("the source has no sound, and neither have the outputs",)


def test_a_clip_has_a_way_without_seeking(facts: SourceFacts):
    """Some sources decode badly after a seek; the other way trims what it decoded."""
    plan = clips(facts, clip_count=2, clip_seconds=10)

    slow = plan.runs[1].arguments_from_start
    assert slow is not None
    assert "-ss" not in slow
    assert "[0:0]trim=start=40.0[s0];[s0]setpts=expr=PTS-40.0/TB[s1]" in " ".join(slow)


@pytest.mark.parametrize("container", ["mpegts", "mpeg"])
def test_broadcast_streams_are_read_from_half_a_minute_before(facts: SourceFacts, container: str):
    """They have no index; reading all that lies before would take too long for the last clips."""
    plan = clips(replace(facts, container=container), clip_count=3, clip_seconds=10)

    first, _, last = (" ".join(run.arguments) for run in plan.runs)
    assert "-t 15.0 -threads 1 -i" in first
    assert "-ss" not in first
    assert "trim=start=5.0" in first
    assert "-ss 15.0 -t 40.0 -threads 2 -i" in last
    assert "trim=start=30.0" in last


@pytest.mark.parametrize("duration_seconds", [10.0006, 10.4 / 3])
def test_no_clip_begins_below_zero(facts: SourceFacts, duration_seconds: float):
    """Not even at -0.0, which a rounded length gives."""
    plan = clips(replace(facts, duration_seconds=duration_seconds), clip_count=1)

    assert str(plan.outputs[0].source_start_seconds) == "0.0"
    assert "-ss" not in plan.runs[0].arguments


def test_renditions_share_one_decode_and_scale_in_a_cascade(facts: SourceFacts):
    """480p is scaled from 720p, and 720p from 1080p."""
    plan = renditions(facts)

    assert len(plan.runs) == 1
    assert [output.name for output in plan.outputs] == ["1080p", "720p", "480p", "poster"]
    assert graph(plan).count("[0:0]") == 1
    scales = [step.partition("]")[2] for step in graph(plan).split(";") if "]scale=flags" in step]
    assert [step.partition("[")[0] for step in scales] == [
        "scale=flags=lanczos:h=1080:w=1920",
        "scale=flags=lanczos:h=720:w=1280",
        "scale=flags=lanczos:h=480:w=854",
    ]


def test_renditions_have_keyframes_at_the_same_times(facts: SourceFacts):
    """Every two seconds, and nowhere else."""
    plan = renditions(facts)

    told = " ".join(plan.runs[0].arguments)
    assert told.count("-force_key_frames expr:gte(t,n_forced*2)") == 3
    assert told.count("-sc_threshold 0") == 3


@pytest.mark.parametrize(
    ("size", "rungs"),
    [
        ((3840, 2160), ["1080p 1920x1080", "720p 1280x720", "480p 854x480"]),
        ((1918, 1078), ["1080p 1918x1078", "720p 1280x720", "480p 854x480"]),
        ((1920, 800), ["1080p 1920x800", "720p 1280x534", "480p 854x356"]),
        ((1080, 1920), ["1080p 1080x1920", "720p 720x1280", "480p 480x854"]),
        ((1600, 900), ["720p 1280x720", "480p 854x480"]),
        ((640, 480), ["480p 640x480"]),
        ((321, 181), ["180p 320x180"]),
    ],
)
def test_no_rendition_is_larger_than_its_source(
    facts: SourceFacts, size: tuple[int, int], rungs: list[str]
):
    """A small source gives fewer rungs; a tiny one gives one of its own size."""
    plan = renditions(video(facts, width=size[0], height=size[1]))

    videos = [output for output in plan.outputs if output.kind == "video"]
    assert [f"{out.name} {out.width}x{out.height}" for out in videos] == rungs


def test_left_out_renditions_are_warned_of(facts: SourceFacts):
    """Who asked for 1080p learns why there is none."""
    plan = renditions(video(facts, width=1280, height=720))

    assert plan.warnings == (
        "the ladder begins at 720p: the source is 1280x720, and nothing is enlarged",
    )


def test_old_ffmpeg_gets_no_clock_files(facts: SourceFacts):
    """ffmpeg 5 does not know -stats_mux_pre."""
    plan = renditions(facts, Machine(ffmpeg_major=5))

    assert not plan.runs[0].has_clocks
    assert "-stats_mux_pre:v" not in plan.runs[0].arguments


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"width": 16000, "height": 16000}, "source_too_large"),
        ({"codec": "cdxl"}, "unsupported_codec"),
        ({"width": 0, "height": 0}, "corrupt_source"),
    ],
)
def test_pictures_that_cannot_be_used_are_refused(
    facts: SourceFacts, changes: dict[str, object], code: str
):
    """Before any encoding, with a code, and with what to do."""
    with pytest.raises(ProcessingError) as refused:
        clips(video(facts, **changes))

    assert (refused.value.code, refused.value.retryable) == (code, False)
    assert refused.value.advice


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"video": None}, "no_video_stream"),
        ({"duration_seconds": 86_400.0}, "source_too_long"),
        ({"stream_count": 5000}, "source_too_large"),
        ({"is_cut_short": True}, "truncated_source"),
    ],
)
def test_sources_that_cannot_be_used_are_refused(
    facts: SourceFacts, changes: dict[str, object], code: str
):
    """The same rules hold for every pipeline."""
    with pytest.raises(ProcessingError) as refused:
        renditions(replace(facts, **changes))

    assert refused.value.code == code


@pytest.mark.parametrize(
    ("settings", "field", "rule"),
    [
        ({"clip_count": 0}, "clip_count", "greater than or equal to 1"),
        ({"clip_width": 721, "clip_height": 1280}, "clip_width", "even number"),
        (
            {"rendition_heights": [144]},
            "rendition_heights",
            "choose from [2160, 1080, 720, 480, 360]",
        ),
        ({"platform_target": "myspace"}, "platform_target", "'tiktok'"),
        ({"clip_length": 5}, "clip_length", "not a field"),
        ({"clip_width": 720}, "", "together"),
        ({"clip_seconds": 1, "platform_target": "tiktok"}, "", "takes 3 to 600 seconds"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object], field: str, rule: str):
    """The message names the field and what is allowed."""
    with pytest.raises(SupabaseValidationError) as refused:
        ProcessingSettings(**settings)

    assert rule in str(refused.value)
    assert refused.value.field == field


def test_unknown_options_are_warned_of(facts: SourceFacts):
    """A typing error in a job's settings does not pass in silence."""
    plan = clips(facts, options={"clip_cuont": 3})

    assert plan.warnings == (
        "the setting 'clip_cuont' is not known to the pipeline 'clips' and was ignored; "
        "did you mean 'clip_count'?",
    )


def test_settings_of_another_pipeline_are_warned_of(facts: SourceFacts):
    """They are no mistake of typing, and yet nothing comes of them."""
    plan = clips(facts, thumbnails=True, video_codecs=["h264"], captions_language="en")

    assert plan.warnings == (
        "the setting 'captions_language' means nothing to the pipeline 'clips' and was ignored",
        "the setting 'thumbnails' means nothing to the pipeline 'clips' and was ignored",
    )


def test_a_source_shorter_than_a_clip_should_be_is_warned_of(facts: SourceFacts):
    """The clip is as long as the source."""
    plan = clips(facts, clip_count=1, clip_seconds=500)

    assert any("less than the clip_seconds=500" in warning for warning in plan.warnings)


def test_nothing_is_suggested_for_what_resembles_nothing(facts: SourceFacts):
    """A wrong guess would mislead."""
    plan = clips(facts, options={"colour": "blue"})

    assert plan.warnings[0].endswith("and was ignored")
