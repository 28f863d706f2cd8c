"""Calendar time for the model, by trying: the first quarter of an hour that will do.

Everything in these lives falls on quarters of an hour, so walking from one to the next finds the
exact moment, in any zone, over any change of the clocks.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

QUARTER = timedelta(minutes=15)
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
SEARCHED = timedelta(days=14)
# Of the United States, over the months in which these lives are led; observed days too.
HOLIDAYS = {
    *(date(2026, month, day) for month, day in ((10, 12), (11, 11), (11, 26), (12, 25))),
    *(date(2027, month, day) for month, day in ((1, 1), (1, 18), (2, 15), (5, 31), (6, 18))),
    *(date(2027, month, day) for month, day in ((6, 19), (7, 4), (7, 5), (9, 6))),
}


def minute_of(clock: str) -> int:
    """Minutes since midnight of `"07:30"`."""
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)


def is_allowed(plan: dict[str, Any], zone: ZoneInfo, moment: datetime) -> bool:
    """A message may leave then."""
    local = moment.astimezone(zone)
    minute = local.hour * 60 + local.minute
    quiet, window = plan.get("quiet_hours"), plan.get("send_window")
    if quiet:
        start, end = minute_of(quiet["start"]), minute_of(quiet["end"])
        if start <= minute < end if start < end else minute >= start or minute < end:
            return False
    if not window:
        return True
    if WEEKDAYS[local.weekday()] not in window["days"]:
        return False
    if "skip_holidays" in window and local.date() in HOLIDAYS:
        return False
    return minute_of(window["start"]) <= minute < minute_of(window["end"])


def first_allowed(plan: dict[str, Any], zone: ZoneInfo, moment: datetime) -> datetime | None:
    """The first quarter at or after it in which a message may leave."""
    tried = moment
    while not is_allowed(plan, zone, tried):
        tried += QUARTER
        if tried > moment + SEARCHED:
            return None
    return tried


def later(moment: datetime, duration: str, zone: ZoneInfo) -> datetime:
    """That much later: days by the calendar of the zone, the rest as time that passes."""
    found = re.fullmatch(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?)?", duration)
    assert found is not None
    days, hours, minutes = (int(part or 0) for part in found.groups())
    if days:
        wall = moment.astimezone(zone).replace(tzinfo=None) + timedelta(days=days)
        moment = _first_at(wall, zone)
    return moment + timedelta(hours=hours, minutes=minutes)


def _first_at(wall: datetime, zone: ZoneInfo) -> datetime:
    """The first moment at which the clocks show that, or where they never do, jump over it."""
    moment = wall.replace(tzinfo=UTC) - timedelta(hours=15)
    while moment.astimezone(zone).replace(tzinfo=None) < wall:
        moment += QUARTER
    shown = moment.astimezone(zone).replace(tzinfo=None)
    return moment - (shown - wall) if shown - wall < QUARTER else moment
