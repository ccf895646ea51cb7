"""How a cut-out follows what moves: decided on numbers, without any video."""

from __future__ import annotations

from itertools import pairwise

import pytest

from videojobs.errors import ProcessingCancelledError
from videojobs.pipelines.exposure import exposure_gamma
from videojobs.pipelines.following import (
    SAMPLES_PER_SECOND,
    Grid,
    Knot,
    ShotPath,
    place_expression,
    subject_path,
)
from videojobs.pipelines.plan import CropRange

GRID = Grid(96, 54, "x")
#: A 9:16 part of 1920 x 1080.
SPAN = CropRange(axis="x", size=608, room=1312)
DARK = bytes(96 * 54)


def picture(column: int, row: int = 20, *, backdrop: int = 0) -> bytes:
    """A bright square of six by six on black, its left upper corner there."""
    pixels = bytearray([backdrop]) * len(DARK)
    for line in range(row, row + 6):
        pixels[line * 96 + column : line * 96 + column + 6] = b"\xf0" * 6
    return bytes(pixels)


def places(samples: list[bytes], cuts: tuple[float, ...] = ()) -> list[float]:
    """Where the cut-out is at 30 frames a second."""
    paths = subject_path(samples, cuts, grid=GRID, span=SPAN)
    frames = range(len(samples) * 30 // SAMPLES_PER_SECOND)
    return [
        [path for path in paths if path.start_seconds <= frame / 30 + 1e-9][-1].at(frame / 30)
        for frame in frames
    ]


def steps(positions: list[float]) -> list[float]:
    return [after - before for before, after in pairwise(positions)]


def test_a_subject_that_crosses_the_picture_stays_in_the_cut_out():
    """From the left to the right in six seconds."""
    columns = [3 * number for number in range(30)]

    found = places([picture(column) for column in columns])

    for number, column in enumerate(columns):
        left = found[number * 6]
        assert left <= column * 20 and (column + 6) * 20 <= left + SPAN.size


def test_the_search_can_be_ended_at_any_sample():
    """Ten minutes of samples take seconds."""
    calls: list[int] = []

    def go_on() -> None:
        calls.append(1)
        if len(calls) == 40:
            raise ProcessingCancelledError

    samples = [picture(number % 90) for number in range(30)]

    with pytest.raises(ProcessingCancelledError):
        subject_path(samples, (), grid=GRID, span=SPAN, go_on=go_on)


def test_a_following_cut_out_neither_jumps_nor_jerks():
    """At most half of its own size in a second, and no sudden change of speed."""
    found = places([picture(3 * number) for number in range(30)])

    speeds = steps(found)
    assert max(map(abs, speeds)) <= 0.5 * SPAN.size / 30 + 1
    assert max(map(abs, steps(speeds))) <= 3.0


def test_a_subject_that_fidgets_does_not_move_the_cut_out():
    """What moves to and fro within the cut-out is looked at from one place."""
    found = places([picture(60 + 3 * (number % 2), 20 + number % 5) for number in range(40)])

    assert len(set(found)) == 1
    assert found[0] <= 60 * 20 and found[0] + SPAN.size >= 69 * 20


def test_a_cut_of_the_source_is_the_only_place_for_a_jump():
    """A subject on the left, and after the cut at 2.03 s one on the right."""
    left = [picture(10, 20 + number % 4) for number in range(10)]
    right = [picture(80, 20 + number % 4, backdrop=60) for number in range(10)]

    found = places([*left, *right], cuts=(61 / 30,))

    jumps = [frame for frame, step in enumerate(steps(found), start=1) if step]
    assert jumps == [61]
    assert found[60] <= 10 * 20 and found[61] + SPAN.size >= 86 * 20


@pytest.mark.parametrize("flash", [[], [bytes([255]) * len(DARK)]])
def test_a_flash_is_no_cut(flash: list[bytes]):
    """Whether a sample shows it or not: the shot goes on, and so does the way."""
    before = [picture(30 + number, 20 + number % 4) for number in range(10)]
    after = [picture(40 + number, 20 + number % 4) for number in range(len(flash), 10)]
    samples = [*before, *flash, *after]

    found = places(samples, cuts=(2.0, 2.04))

    assert max(map(abs, steps(found))) <= 0.5 * SPAN.size / 30 + 1
    assert found[0] <= 30 * 20 and found[-1] + SPAN.size >= 55 * 20


def test_a_still_picture_is_seen_where_its_detail_is():
    """Nothing moves, and the only thing to see is on the right."""
    found = places([picture(80)] * 10)

    assert len(set(found)) == 1
    assert found[0] + SPAN.size >= 86 * 20


def test_nothing_to_see_is_seen_from_the_middle():
    """A black clip gives no reason to move."""
    found = places([DARK] * 10)

    assert found == pytest.approx([SPAN.room / 2] * len(found), abs=20)


def test_noise_moves_nothing():
    """A camera's grain is no motion."""
    grain = [
        bytes((7 * place * (number + 1)) % 9 for place in range(96 * 54)) for number in range(9)
    ]

    found = places(grain)

    assert found == pytest.approx([SPAN.room / 2] * len(found), abs=20)


def test_no_samples_give_the_middle():
    """A source that cannot be looked at is cut as if nobody had asked to follow."""
    (path,) = subject_path([], (), grid=GRID, span=SPAN)

    assert path.at(3.0) == SPAN.middle == 656


@pytest.mark.parametrize("cuts", [(0.0,), (2.0, 2.01, 2.02), (99.0,), (3.99,)])
def test_cuts_at_odd_places_are_harmless(cuts: tuple[float, ...]):
    """At the very beginning, all at once, after the end."""
    found = places([picture(40, 20 + number % 4) for number in range(20)], cuts=cuts)

    assert all(left <= 40 * 20 and left + SPAN.size >= 46 * 20 for left in found)


def test_an_upright_picture_is_followed_up_and_down():
    """Its cut-out moves along the other side."""
    span = CropRange(axis="y", size=608, room=472)
    samples = [picture(40, 46 - number % 3) for number in range(20)]

    (path,) = subject_path(samples, (), grid=Grid(96, 54, "y"), span=span)

    assert path.at(2.0) == pytest.approx(span.room, abs=30)


def test_a_way_becomes_an_expression_of_the_time():
    """Straight pieces, a jump half a frame before the cut, and never outside of the picture."""
    way = (
        ShotPath(0.0, (Knot(0.0, 100.0), Knot(2.0, 300.0))),
        ShotPath(4.0, (Knot(4.0, 700.0),)),
    )

    expression = place_expression(way, SPAN, frame_seconds=0.04)

    assert expression == (
        "clip((100.000+100.000000*max(0\\,t-0.0000)+-100.000000*max(0\\,t-2.0000)"
        "+400.000*gte(t\\,3.9800))\\,0\\,1312)"
    )


def test_a_long_way_stays_short_enough_for_ffmpeg():
    """It takes 90 terms in a row; more stand in groups, and of thousands there are none."""
    many = [Knot(number / 5, float(number % 2 * 100)) for number in range(300)]

    expression = place_expression((ShotPath(0.0, tuple(many)),), SPAN, frame_seconds=0.04)

    groups = expression.removeprefix("clip(").split(")+(")
    assert max(group.count("max(") for group in groups) <= 40
    assert len(groups) == 8


def test_a_clip_of_hundreds_of_cuts_has_a_bounded_expression():
    """A place for each shot, and beyond that one for all."""
    samples = [
        picture(7 * number % 90, number % 40, backdrop=number % 7 * 30) for number in range(1000)
    ]
    one_a_second = [float(number) for number in range(1, 200)]
    five_a_second = [number / 5 for number in range(1, 1000)]

    followed, bounded = (
        subject_path(samples, cuts, grid=GRID, span=SPAN) for cuts in (one_a_second, five_a_second)
    )

    assert len(followed) == 200
    assert len(bounded) == 1
    assert sum(len(path.knots) + 1 for path in followed) <= 600


def test_a_subject_is_followed_through_a_long_clip():
    """Ten minutes of running to and fro: with fewer and longer straight pieces, not from one place."""
    grid = Grid(96, 4, "x")
    columns = [abs(number * 7 % 180 - 90) // 2 + number * 11 % 40 for number in range(3000)]
    samples = [(bytes(column) + b"\xf0" * 6 + bytes(90 - column)) * 4 for column in columns]

    (path,) = subject_path(samples, (), grid=grid, span=SPAN)

    assert 20 <= len(path.knots) <= 600


@pytest.mark.parametrize(
    ("lightness", "gamma"), [(0, 1.0), (5, 1.0), (30, 1.25), (65, 1.074), (128, 1.0), (200, 0.85)]
)
def test_exposure_is_corrected_gently(lightness: int, gamma: float):
    """Black stays black, the middle stays as it is, a night becomes a little lighter."""
    assert exposure_gamma([bytes([lightness]) * 100] * 3) == pytest.approx(gamma, abs=0.005)


def test_a_flash_does_not_decide_the_exposure():
    """The median picture does."""
    assert exposure_gamma([b"\x80" * 10, b"\xff" * 10, b"\x80" * 10]) == 1.0


def test_no_picture_needs_no_correction():
    """There may be no keyframe in reach."""
    assert exposure_gamma([]) == 1.0
