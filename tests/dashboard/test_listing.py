"""Addresses and rows, without a browser."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from videojobs.dashboard.listing import Listing
from videojobs.dashboard.picks import Picks
from videojobs.dashboard.trends import last_days, sparkline
from videojobs.dashboard.wording import bytes_text, jobs_text, seconds_text
from videojobs.models import DayStats, JobStats, JobStatus

_NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)


def test_an_address_and_its_filters_say_the_same():
    """What is read from an address is what is written back to it."""
    query = {
        "status": "failed,cancelled",
        "q": "a & b",
        "type": "film",
        "created": "24h",
        "after": "x",
    }

    listing, refused = Listing.of(query)

    filters = listing.filters(_NOW)
    assert (listing.query(), refused) == (
        "?status=failed%2Ccancelled&q=a+%26+b&type=film&created=24h&after=x",
        [],
    )
    assert (filters.status, filters.search) == ((JobStatus.FAILED, JobStatus.CANCELLED), "a & b")
    assert filters.created_from == _NOW - timedelta(days=1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status", "running"),
        ("user", "ada"),
        ("type", "song"),
        ("created", "1y"),
        ("q", "\x00"),
        ("after", "x" * 999),
    ],
)
def test_what_is_no_filter_is_left_out_and_told(name: str, value: str):
    """The rest of the address counts."""
    listing, refused = Listing.of({name: value, "queue": "bulk"})

    assert listing == Listing(queue="bulk")
    assert refused[0].startswith(f"{name}=")


def test_another_filter_begins_at_the_first_page():
    """A place in one list is none in another."""
    listing = Listing(queue="bulk", after="cursor")

    assert listing.with_filter("q", "x") == Listing(queue="bulk", q="x")


def test_selecting_all_and_taking_one_away_leaves_the_page():
    """After "all that match", a click on one row leaves the other rows of the page."""
    picks = Picks()
    jobs: list[Any] = [SimpleNamespace(id=UUID(int=number)) for number in range(3)]
    picks.set_everything()

    picks.set(jobs, [str(UUID(int=1))], False)

    assert (picks.is_everything, picks.ids) == (False, [str(UUID(int=0)), str(UUID(int=2))])


def test_quiet_days_are_days_too():
    """The charts show two weeks, whatever happened in them."""
    day = DayStats(day=date(2026, 5, 3), created=2, completed=1, failed=0, cancelled=0)
    stats = JobStats(
        total=2,
        by_status={},
        average_processing_seconds=None,
        median_processing_seconds=None,
        p95_processing_seconds=None,
        total_processing_seconds=0,
        by_day=(day,),
        groups=(),
    )

    days = last_days(stats, date(2026, 5, 4))

    assert (len(days), days[-2].created, days[-1].created) == (14, 2, 0)


def test_a_line_of_nothing_lies_at_the_bottom():
    """No division by the largest of nothing."""
    assert 'points="0.0,24.0 96.0,24.0"' in sparkline([0, 0])


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (seconds_text(8.24), "8.2 s"),
        (seconds_text(185), "3 min 05 s"),
        (seconds_text(7800), "2 h 10 min"),
        (bytes_text(1_400_000), "1.4 MB"),
        (jobs_text(1), "1 job"),
        (jobs_text(10_000), "10,000 jobs"),
    ],
)
def test_figures_are_said_as_people_read_them(said: str, words: str):
    """Lengths of time, sizes and counts."""
    assert said == words
