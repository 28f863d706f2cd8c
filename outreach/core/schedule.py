"""When a plan may write: window, quiet hours and holidays on the clock of the zone that applies.

The rules speak of what a clock on the wall shows, so they are judged on that clock, minute by
minute: inside the window, outside quiet hours, not on a holiday. An hour that a clock change skips
is never reached; one that it repeats is judged alike both times. The search for the next allowed
moment jumps from one moment at which the answer can change to the next (the rules' own clock times,
midnight, and the zone's clock changes), and so is exact without knowing the zone's rules.

What cannot be read fails closed: there is no default moment, and no moment is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from outreach.core.plan import Plan, Weekday

HORIZON = timedelta(days=14)

_DAY_MINUTES = 24 * 60
_WEEK = tuple(Weekday)


class NoAllowedMoment(Exception):
    """The plan's hours allow no moment within the horizon."""

    def __init__(self, earliest: datetime) -> None:
        self.earliest = earliest
        super().__init__(f"no moment within {HORIZON.days} days of {earliest:%Y-%m-%d %H:%M}Z")


def zone_for(plan: Plan, contact_zone: str | None) -> ZoneInfo:
    """The zone that applies: the contact's where the plan asks for it and there is one."""
    if contact_zone and plan.send_window is not None and plan.send_window.zone == "contact":
        return _zone(contact_zone) or plan.zone
    return plan.zone


def first_due(plan: Plan, zone: ZoneInfo, now: datetime) -> datetime:
    """When the message of a start node is due that is entered now; NoAllowedMoment."""
    return next_allowed(plan, zone, plan.node(plan.start_node_id).schedule.delay.after(now, zone))


def next_allowed(plan: Plan, zone: ZoneInfo, earliest: datetime) -> datetime:
    """The first allowed moment at or after `earliest`, in UTC; NoAllowedMoment within 14 days."""
    assert earliest.tzinfo is not None, "a moment is aware"
    moment = earliest.astimezone(UTC)
    latest = moment + HORIZON
    turns = _turns(plan)
    while moment <= latest:
        local = moment.astimezone(zone)
        if _refusal(plan, local) is None:
            return moment
        moment = _next_turn(turns, zone, moment, local)
    raise NoAllowedMoment(earliest)


def is_allowed(plan: Plan, zone: ZoneInfo, at: datetime) -> bool:
    """The plan may write at this moment."""
    return _refusal(plan, at.astimezone(zone)) is None


def why_not(plan: Plan, zone: ZoneInfo, at: datetime) -> str:
    """The decision's code for a moment that is not allowed: `holiday` or `outside_hours`."""
    refusal = _refusal(plan, at.astimezone(zone))
    assert refusal is not None, "asked of a moment that is allowed"
    return refusal


def holiday_name(plan: Plan, zone: ZoneInfo, at: datetime) -> str | None:
    """What the day is called where it is a holiday that the plan skips."""
    window = plan.send_window
    if window is None or window.skip_holidays is None:
        return None
    day = at.astimezone(zone).date()
    return _holidays(window.skip_holidays, day.year).get(day)


def _refusal(plan: Plan, local: datetime) -> str | None:
    """Why the wall clock forbids it, or None; the day is named before the hour."""
    minute = local.hour * 60 + local.minute
    window = plan.send_window
    if window is not None:
        if _WEEK[local.weekday()] not in window.days:
            return "outside_hours"
        if window.skip_holidays is not None:
            day = local.date()
            if day in _holidays(window.skip_holidays, day.year):
                return "holiday"
        if not window.start_minute <= minute < window.end_minute:
            return "outside_hours"
    quiet = plan.quiet_hours
    if quiet is not None and _within(minute, quiet.start_minute, quiet.end_minute):
        return "outside_hours"
    return None


def _within(minute: int, start: int, end: int) -> bool:
    """In a half-open stretch of the day that may pass midnight."""
    if start <= end:
        return start <= minute < end
    return minute >= start or minute < end


def _turns(plan: Plan) -> list[int]:
    """The minutes of the day at which a no can become a yes, the next midnight last."""
    turns = {_DAY_MINUTES}
    if plan.send_window is not None:
        turns.add(plan.send_window.start_minute)
    if plan.quiet_hours is not None:
        turns.add(plan.quiet_hours.end_minute)
    return sorted(turns)


def _next_turn(turns: list[int], zone: ZoneInfo, moment: datetime, local: datetime) -> datetime:
    """The next moment at which the answer can change: one of the turns, or a change of the clock.

    With one offset from UTC throughout, the next turn is as far off as the clock says. Where the
    offset there differs, the clock changed on the way, and the change itself comes first.
    """
    minute = local.hour * 60 + local.minute
    into_minute = timedelta(seconds=local.second, microseconds=local.microsecond)
    ahead = next(turn for turn in turns if turn > minute) - minute
    turn = moment + timedelta(minutes=ahead) - into_minute
    if turn.astimezone(zone).utcoffset() == local.utcoffset():
        return turn
    return _clock_change(zone, moment, turn)


def _clock_change(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """The moment of the change between two whose offsets differ, found by halving.

    Source: RFC 8536 3.2, transition times are whole seconds.
    """
    offset = before.astimezone(zone).utcoffset()
    start = before.replace(microsecond=0)
    low, high = 0, -(-(after - start) // timedelta(seconds=1))
    while high - low > 1:
        middle = (low + high) // 2
        probe = (start + timedelta(seconds=middle)).astimezone(zone)
        low, high = (middle, high) if probe.utcoffset() == offset else (low, middle)
    return start + timedelta(seconds=high)


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo | None:
    """The zone of that name, or None where there is none: contacts' data is anybody's text."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


@lru_cache(maxsize=512)
def _holidays(calendar: str, year: int) -> Mapping[date, str]:
    """The days of one year that `US` or `DE-BY` has off, with their names."""
    import holidays  # heavy, and most plans name no calendar

    country, _, part = calendar.partition("-")
    return dict(holidays.country_holidays(country, subdiv=part or None, years=year))
