"""The next allowed moment: right, minimal, and never at night, in every zone of the database.

The oracle steps through the minutes and asks a clock; it shares nothing with the search under test
but `zoneinfo`. Zones that change their clocks alike share one walk of the oracle, so that every
zone can be asked around each of its clock changes of two years.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outreach.core.plan import Plan
from outreach.core.schedule import (
    HORIZON,
    NoAllowedMoment,
    first_due,
    holiday_name,
    is_allowed,
    next_allowed,
    why_not,
    zone_for,
)

MINUTE = timedelta(minutes=1)
SPAN = (datetime(2025, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
ZONES = sorted(available_timezones() - {"localtime", "Factory"})
WORKDAYS = ["mon", "tue", "wed", "thu", "fri"]


def make_plan(
    quiet: tuple[str, str] | None = None,
    window: tuple[str, str] | None = None,
    *,
    timezone: str = "UTC",
    delay: str = "PT0S",
    **window_extra: Any,
) -> Plan:
    return Plan.model_validate(
        {
            "version": "1.0",
            "timezone": timezone,
            "quiet_hours": quiet and {"start": quiet[0], "end": quiet[1]},
            "send_window": window and {"start": window[0], "end": window[1], **window_extra},
            "start_node_id": "a",
            "nodes": [
                {
                    "id": "a",
                    "action": "send",
                    "subject": "s",
                    "body": "b",
                    "schedule": {"delay": delay},
                }
            ],
        }
    )


NIGHT = make_plan(quiet=("21:00", "07:30"))
PLANS = (
    NIGHT,
    make_plan(quiet=("02:15", "02:45"), window=("00:30", "24:00")),
    make_plan(quiet=("12:00", "13:00"), window=("02:00", "03:10"), days=["sat", "sun", "mon"]),
    make_plan(window=("08:00", "18:00"), days=WORKDAYS),
)


def oracle_allows(plan: Plan, local: datetime) -> bool:
    """The rules once more, in words of clock text."""
    clock, window, quiet = f"{local:%H:%M}", plan.send_window, plan.quiet_hours
    if window is not None:
        start, end = _text(window.start), _text(window.end)
        if f"{local:%a}".lower() not in list(window.days) or clock < start or clock >= end:
            return False
    if quiet is not None:
        start, end = _text(quiet.start), _text(quiet.end)
        asleep = start <= clock < end if start <= end else not end <= clock < start
        return not asleep
    return True


def _text(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def oracle_next(plan: Plan, zone: ZoneInfo, earliest: datetime) -> datetime | None:
    """Step by minutes; what lies between two full minutes is as allowed as the minute it is in."""
    moment = earliest
    while moment <= earliest + HORIZON:
        if oracle_allows(plan, moment.astimezone(zone)):
            return moment
        moment = moment.replace(second=0, microsecond=0) + MINUTE
    return None


@cache
def clock_changes(zone: ZoneInfo) -> list[tuple[datetime, timedelta, timedelta]]:
    return list(_clock_changes(zone))


def _clock_changes(zone: ZoneInfo) -> Iterator[tuple[datetime, timedelta, timedelta]]:
    day = SPAN[0]
    before = day.astimezone(zone).utcoffset()
    while day < SPAN[1]:
        after = (day + timedelta(days=1)).astimezone(zone).utcoffset()
        if after != before:
            moment = day
            while moment.astimezone(zone).utcoffset() == before:
                moment += timedelta(minutes=15)
            assert before is not None and after is not None
            yield moment, before, after
        day, before = day + timedelta(days=1), after


@cache
def oracle_week(plan_index: int) -> list[bool]:
    """Whether each minute that a clock can show in a week is allowed."""
    monday = datetime(2026, 1, 5, tzinfo=UTC)
    return [oracle_allows(PLANS[plan_index], monday + n * MINUTE) for n in range(7 * 24 * 60)]


@cache
def oracle_walk(
    plan_index: int, change: datetime, before: timedelta, after: timedelta
) -> list[datetime | None]:
    """For each minute from a day before the change: the first allowed one from there on."""
    week, start = oracle_week(plan_index), change - timedelta(days=1)
    found: datetime | None = None
    answers: list[datetime | None] = []
    for step in range(5 * 24 * 60, -1, -1):
        moment = start + step * MINUTE
        local = moment + (before if moment < change else after)
        if week[(local.weekday() * 24 + local.hour) * 60 + local.minute]:
            found = moment
        answers.append(found)
    return answers[::-1]


@pytest.mark.parametrize("plan_index", range(len(PLANS)))
def test_every_zone_at_each_of_its_clock_changes(plan_index: int) -> None:
    plan, asked = PLANS[plan_index], 0
    for name in ZONES:
        zone = ZoneInfo(name)
        ordinary = (SPAN[0], SPAN[0].astimezone(zone).utcoffset())
        changes = clock_changes(zone) or [(ordinary[0], ordinary[1], ordinary[1])]
        for change, before, after in changes:
            assert before is not None and after is not None
            answers = oracle_walk(plan_index, change, before, after)
            for minute in range(len(name), 2 * 24 * 60, 211):
                earliest = change - timedelta(days=1) + minute * MINUTE
                due = next_allowed(plan, zone, earliest)
                assert due == answers[minute], (name, earliest)
                asked += 1
    assert asked > 13_000


@pytest.mark.parametrize("name", ["America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"])
def test_minute_by_minute_through_a_change(name: str) -> None:
    zone = ZoneInfo(name)
    for plan in PLANS[:3]:
        for change, _, _ in clock_changes(zone)[:2] or [(SPAN[0], None, None)]:
            for minute in range(-200, 200, 3):
                earliest = change + minute * MINUTE
                due = next_allowed(plan, zone, earliest)
                assert is_allowed(plan, zone, due)
                assert oracle_allows(plan, due.astimezone(zone))
                assert due == earliest or not is_allowed(
                    plan, zone, due - timedelta(microseconds=1)
                )


clock_texts = st.integers(0, 24 * 60 - 1).map(_text)


@settings(max_examples=40, deadline=None)
@given(
    quiet=st.none() | st.tuples(clock_texts, clock_texts),
    window=st.none() | st.tuples(clock_texts, clock_texts).map(lambda two: tuple(sorted(two))),
    days=st.sets(st.sampled_from([*WORKDAYS, "sat", "sun"]), min_size=1),
    name=st.sampled_from(ZONES),
    seconds=st.integers(0, 2 * 365 * 86_400),
)
def test_any_hours_anywhere(
    quiet: tuple[str, str] | None,
    window: tuple[str, str] | None,
    days: set[str],
    name: str,
    seconds: int,
) -> None:
    earliest = SPAN[0] + timedelta(seconds=seconds)
    plan = make_plan(quiet, window, **({"days": sorted(days)} if window else {}))
    zone = ZoneInfo(name)
    expected = oracle_next(plan, zone, earliest)
    if expected is None:
        with pytest.raises(NoAllowedMoment):
            next_allowed(plan, zone, earliest)
    else:
        assert next_allowed(plan, zone, earliest) == expected


@pytest.mark.parametrize(
    ("zone", "local", "expected"),
    [
        # A clock-to-UTC conversion that forgets the day sends each of these at night.
        ("America/Los_Angeles", "2026-01-14 23:00", "2026-01-15 07:30"),
        ("America/Los_Angeles", "2026-01-14 05:00", "2026-01-14 07:30"),
        ("America/Anchorage", "2026-01-14 03:00", "2026-01-14 07:30"),
        ("Europe/Paris", "2026-01-14 00:30", "2026-01-14 07:30"),
        ("Asia/Tokyo", "2026-01-14 21:00", "2026-01-15 07:30"),
        ("Pacific/Auckland", "2026-01-14 20:59", "2026-01-14 20:59"),
        ("America/New_York", "2026-01-14 07:30", "2026-01-14 07:30"),
        ("Asia/Kathmandu", "2026-01-14 07:29", "2026-01-14 07:30"),
        ("America/New_York", "2028-02-28 22:00", "2028-02-29 07:30"),
        ("Pacific/Kiritimati", "2025-12-31 23:59", "2026-01-01 07:30"),
    ],
)
def test_the_night_ends_on_the_right_day(zone: str, local: str, expected: str) -> None:
    there = ZoneInfo(zone)
    earliest = datetime.fromisoformat(local).replace(tzinfo=there)
    due = next_allowed(NIGHT, there, earliest)
    assert f"{due.astimezone(there):%Y-%m-%d %H:%M}" == expected
    assert due.tzinfo is UTC


@pytest.mark.parametrize(
    ("zone", "window", "earliest", "expected"),
    [
        # 02:30 does not exist: the first moment after the gap.
        ("America/New_York", ("02:30", "05:00"), "2026-03-08T06:59Z", "2026-03-08T07:00Z"),
        # A window inside the gap: not that day.
        ("America/New_York", ("02:00", "03:00"), "2026-03-08T06:30Z", "2026-03-09T06:00Z"),
        # 01:30 exists twice: its first.
        ("America/New_York", ("01:30", "05:00"), "2026-11-01T05:00Z", "2026-11-01T05:30Z"),
        # Half an hour at Lord Howe: 02:00 becomes 02:30, and 02:00 becomes 01:30.
        ("Australia/Lord_Howe", ("02:10", "05:00"), "2026-10-03T15:00Z", "2026-10-03T15:30Z"),
        ("Australia/Lord_Howe", ("01:45", "05:00"), "2026-04-04T14:00Z", "2026-04-04T14:45Z"),
        # Midnight itself does not exist in Santiago that day.
        ("America/Santiago", ("00:00", "05:00"), "2026-09-06T02:00Z", "2026-09-06T04:00Z"),
        ("America/Santiago", ("00:15", "05:00"), "2026-09-06T03:59Z", "2026-09-06T04:00Z"),
        # Samoa had no 30 December in 2011.
        ("Pacific/Apia", ("08:00", "09:00"), "2011-12-29T19:30Z", "2011-12-30T18:00Z"),
    ],
)
def test_clock_changes_by_hand(
    zone: str, window: tuple[str, str], earliest: str, expected: str
) -> None:
    due = next_allowed(make_plan(window=window), ZoneInfo(zone), datetime.fromisoformat(earliest))
    assert due == datetime.fromisoformat(expected)


def test_bounds_are_half_open_to_the_microsecond() -> None:
    plan = make_plan(window=("08:00", "18:00"))
    there = ZoneInfo("UTC")
    last = datetime(2026, 5, 4, 17, 59, 59, 999_999, tzinfo=UTC)
    assert next_allowed(plan, there, last) == last
    assert next_allowed(plan, there, last + timedelta(microseconds=1)) == datetime(
        2026, 5, 5, 8, tzinfo=UTC
    )
    just_before = datetime(2026, 5, 4, 7, 59, 59, 999_999, tzinfo=UTC)
    assert next_allowed(plan, there, just_before) == datetime(2026, 5, 4, 8, tzinfo=UTC)


def test_midnight_is_a_legal_end() -> None:
    plan = make_plan(window=("20:00", "24:00"))
    last_minute = datetime(2026, 5, 4, 23, 59, tzinfo=UTC)
    assert next_allowed(plan, ZoneInfo("UTC"), last_minute) == last_minute
    assert not is_allowed(plan, ZoneInfo("UTC"), last_minute + MINUTE)


def test_holidays_are_skipped_and_named() -> None:
    plan = make_plan(window=("08:00", "18:00"), days=WORKDAYS, skip_holidays="US")
    there = ZoneInfo("America/New_York")
    thanksgiving = datetime(2026, 11, 26, 10, tzinfo=there)
    assert why_not(plan, there, thanksgiving) == "holiday"
    assert holiday_name(plan, there, thanksgiving) == "Thanksgiving Day"
    assert next_allowed(plan, there, thanksgiving) == datetime(2026, 11, 27, 8, tzinfo=there)
    assert holiday_name(make_plan(), there, thanksgiving) is None


def test_holidays_of_a_part_of_a_country() -> None:
    bavaria = make_plan(window=("08:00", "18:00"), skip_holidays="DE-BY")
    germany = make_plan(window=("08:00", "18:00"), skip_holidays="DE")
    there = ZoneInfo("Europe/Berlin")
    all_saints = datetime(2027, 11, 1, 10, tzinfo=there)
    assert not is_allowed(bavaria, there, all_saints)
    assert is_allowed(germany, there, all_saints)


def test_a_holiday_is_that_of_the_local_day() -> None:
    plan = make_plan(window=("00:00", "24:00"), skip_holidays="US")
    there = ZoneInfo("America/Los_Angeles")
    assert is_allowed(plan, there, datetime(2026, 12, 25, 7, 59, tzinfo=UTC))  # still the 24th
    assert not is_allowed(plan, there, datetime(2026, 12, 26, 7, 59, tzinfo=UTC))


def test_why_not() -> None:
    plan = make_plan(window=("08:00", "18:00"), days=WORKDAYS, skip_holidays="US")
    there = ZoneInfo("UTC")
    assert why_not(plan, there, datetime(2026, 5, 4, 7, tzinfo=UTC)) == "outside_hours"
    assert why_not(plan, there, datetime(2026, 5, 3, 9, tzinfo=UTC)) == "outside_hours"
    with pytest.raises(AssertionError):
        why_not(plan, there, datetime(2026, 5, 4, 9, tzinfo=UTC))


def test_no_moment_within_the_horizon() -> None:
    never = make_plan(quiet=("06:00", "20:00"), window=("08:00", "18:00"))
    with pytest.raises(NoAllowedMoment, match="14 days"):
        next_allowed(never, ZoneInfo("Europe/Berlin"), SPAN[0])
    barely = make_plan(window=("00:00", "00:01"), days=["thu"])  # SPAN begins on a Wednesday
    assert next_allowed(barely, ZoneInfo("UTC"), SPAN[0]) == SPAN[0] + timedelta(days=1)


def test_the_first_send_obeys_delay_and_hours() -> None:
    plan = make_plan(quiet=("21:00", "07:30"), delay="P1D", timezone="America/New_York")
    there = ZoneInfo("America/New_York")
    launched = datetime(2026, 3, 7, 23, 0, tzinfo=there)  # the clock changes in the night after
    assert first_due(plan, there, launched) == datetime(2026, 3, 9, 7, 30, tzinfo=there)


def test_the_zone_that_applies() -> None:
    by_contact = make_plan(window=("08:00", "18:00"), timezone="Europe/Berlin")
    by_plan = make_plan(window=("08:00", "18:00"), timezone="Europe/Berlin", zone="plan")
    windowless = make_plan(quiet=("21:00", "07:30"), timezone="Europe/Berlin")
    assert zone_for(by_contact, "Asia/Tokyo").key == "Asia/Tokyo"
    assert zone_for(by_contact, None).key == "Europe/Berlin"
    assert zone_for(by_plan, "Asia/Tokyo").key == "Europe/Berlin"
    assert zone_for(windowless, "Asia/Tokyo").key == "Europe/Berlin"


@pytest.mark.parametrize(
    "bad",
    ["", "Mars/Base", "../etc/passwd", "/etc/localtime", "America", "\ud800", "x\0y", "Zürich"],
)
def test_a_contact_zone_that_is_none_falls_back_to_the_plans(bad: str) -> None:
    plan = make_plan(window=("08:00", "18:00"), timezone="Europe/Berlin")
    assert zone_for(plan, bad).key == "Europe/Berlin"


def test_a_naive_moment_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        next_allowed(NIGHT, ZoneInfo("UTC"), datetime(2026, 1, 1))  # noqa: DTZ001 - the bad input
