from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outreach.core.duration import Duration, first_moment, parse_duration

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = st.sampled_from(sorted(available_timezones() - {"localtime", "Factory"})).map(ZoneInfo)


def wall(text: str) -> datetime:
    """What a clock on a wall shows: a time without a zone."""
    return datetime.fromisoformat(text)


WALLS = st.datetimes(wall("1990-01-01"), wall("2036-12-31"))
MOMENTS = WALLS.map(lambda moment: moment.replace(tzinfo=UTC))
DURATIONS = st.builds(
    Duration, days=st.integers(0, 364), seconds=st.integers(0, 24 * 3600).map(lambda s: s - s % 7)
)


@pytest.mark.parametrize(
    ("text", "days", "seconds"),
    [
        ("P3D", 3, 0),
        ("PT72H", 0, 259_200),
        ("P1DT12H", 1, 43_200),
        ("PT0S", 0, 0),
        ("P0D", 0, 0),
        ("PT1H30M5S", 0, 5_405),
        ("P365D", 365, 0),
        ("PT8760H", 0, 31_536_000),
        ("PT0000000000000000001S", 0, 1),
    ],
)
def test_reads_days_and_exact_time(text: str, days: int, seconds: int) -> None:
    assert parse_duration(text) == Duration(days=days, seconds=seconds)


@pytest.mark.parametrize(
    "text",
    [
        " P3D",
        "P3D ",
        "P3D\n",
        "",
        "P",
        "PT",
        "P1DT",
        "3D",
        "p3d",
        "-P3D",
        "P-3D",
        "P+3D",
        "P1.5D",
        "PT1H2H",
        "PT1M1H",
        "P1H",
        "T1H",
        "P١D",
        "72h",
        "3 days",
        "P1,5D",
        "PT0.5S",
        "P3DT4",
    ],
)
def test_refuses_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["P1Y", "P1M", "P2W", "P1Y2M3D", "P1M3D", "P1Y1DT1H"])
def test_refuses_units_without_a_length(text: str) -> None:
    with pytest.raises(ValueError, match="Years, months and weeks"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["P366D", "P365DT1S", "PT8761H", "P" + "9" * 100_000 + "D"])
def test_refuses_more_than_a_year(text: str) -> None:
    with pytest.raises(ValueError, match="longest duration"):
        parse_duration(text)


@given(DURATIONS)
def test_text_reads_back(duration: Duration) -> None:
    assert parse_duration(str(duration)) == duration


@given(st.text(max_size=20))
def test_any_text_is_a_duration_or_a_sentence(text: str) -> None:
    try:
        assert parse_duration(text).seconds >= 0
    except ValueError as error:
        assert str(error).endswith(".")


def test_days_keep_the_wall_clock_and_hours_do_not() -> None:
    # In Berlin the clock went forward at 02:00 on 2026-03-29.
    start = datetime(2026, 3, 28, 8, 0, tzinfo=UTC)  # 09:00 there
    assert Duration(days=1).after(start, BERLIN) == datetime(2026, 3, 29, 7, 0, tzinfo=UTC)
    assert Duration(seconds=86_400).after(start, BERLIN) == datetime(2026, 3, 29, 8, 0, tzinfo=UTC)


def test_a_skipped_time_is_the_first_that_exists() -> None:
    start = datetime(2026, 3, 28, 1, 30, tzinfo=UTC)  # 02:30 in Berlin, skipped on the next day
    assert Duration(days=1).after(start, BERLIN) == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)


def test_a_repeated_time_is_its_first() -> None:
    start = datetime(2026, 10, 24, 0, 30, tzinfo=UTC)  # 02:30 in Berlin, twice on the next day
    assert Duration(days=1).after(start, BERLIN) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "shown", "moment"),
    [
        # Half an hour is skipped: 02:00 to 02:30.
        ("Australia/Lord_Howe", "2026-10-04T02:15", "2026-10-03T15:30"),
        # A whole day is skipped.
        ("Pacific/Apia", "2011-12-30T10:00", "2011-12-30T10:00"),
        # The gap begins at midnight.
        ("America/Santiago", "2026-09-06T00:15", "2026-09-06T04:00"),
        ("Asia/Kolkata", "2026-09-06T00:00", "2026-09-05T18:30"),
    ],
)
def test_gaps_of_every_size_end_where_the_clock_goes_on(zone: str, shown: str, moment: str) -> None:
    assert first_moment(wall(shown), ZoneInfo(zone)) == wall(moment).replace(tzinfo=UTC)


@given(MOMENTS, ZONES)
def test_a_wall_clock_reading_finds_its_first_moment(moment: datetime, zone: ZoneInfo) -> None:
    shown = moment.astimezone(zone).replace(tzinfo=None)
    found = first_moment(shown, zone)
    assert found <= moment
    assert found.astimezone(zone).replace(tzinfo=None) == shown


@given(WALLS, ZONES)
def test_a_moment_before_the_first_shows_an_earlier_time(shown: datetime, zone: ZoneInfo) -> None:
    found = first_moment(shown, zone)
    assert found.astimezone(zone).replace(tzinfo=None) >= shown
    before = (found - timedelta(microseconds=1)).astimezone(zone)
    assert before.replace(tzinfo=None) < shown


@given(DURATIONS, MOMENTS, ZONES)
def test_time_only_goes_forward(duration: Duration, start: datetime, zone: ZoneInfo) -> None:
    end = duration.after(start, zone)
    assert end >= start
    assert end.tzinfo is UTC
    assert end - start <= timedelta(days=duration.days + 2, seconds=duration.seconds)


@given(st.integers(0, 10_000_000), MOMENTS, ZONES)
def test_seconds_elapse_whatever_the_clock_does(
    seconds: int, start: datetime, zone: ZoneInfo
) -> None:
    assert Duration(seconds=seconds).after(start, zone) - start == timedelta(seconds=seconds)
