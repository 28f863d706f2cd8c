"""How long a plan waits: ISO 8601 durations of calendar days and exact time.

`P3D` is three days on the wall clock of the zone that applies, so 09:00 stays 09:00 over a clock
change; `PT72H` is 72 hours that elapse. Years, months and weeks are refused: a month has no length,
and a wrong guess is a mail on the wrong day.

Source: ISO 8601-1:2019 5.5.2; PEP 495 for local times that exist twice or not at all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

DAY_SECONDS = 86_400
DURATION_DAYS_MAX = 365

_SHAPE = re.compile(
    r"P(?:(?P<days>[0-9]+)D)?"
    r"(?P<time>T(?:(?P<hours>[0-9]+)H)?(?:(?P<minutes>[0-9]+)M)?(?:(?P<seconds>[0-9]+)S)?)?"
)
_DATE_PART_YMW = re.compile(r"P[0-9.,]*[0-9YMWD.,]*[YMW]")
_HINT = "write days, hours, minutes and seconds in whole numbers, such as P3D, PT72H or P1DT12H"


@dataclass(frozen=True, slots=True)
class Duration:
    """Calendar days, then exact seconds."""

    days: int = 0
    seconds: int = 0

    @property
    def is_zero(self) -> bool:
        """Nothing to wait for."""
        return self.days == 0 and self.seconds == 0

    def after(self, start: datetime, zone: ZoneInfo) -> datetime:
        """The moment this long after `start`, in UTC; days are counted on the clock of `zone`."""
        assert start.tzinfo is not None, "a moment is aware"
        moment = start.astimezone(UTC)
        if self.days:
            wall = moment.astimezone(zone).replace(tzinfo=None) + timedelta(days=self.days)
            moment = max(moment, first_moment(wall, zone))
        return moment + timedelta(seconds=self.seconds)

    def __str__(self) -> str:
        hours, rest = divmod(self.seconds, 3600)
        minutes, seconds = divmod(rest, 60)
        parts = ((hours, "H"), (minutes, "M"), (seconds, "S"))
        time = "".join(f"{count}{unit}" for count, unit in parts if count)
        date = f"{self.days}D" if self.days else ""
        if not date and not time:
            return "PT0S"
        return f"P{date}T{time}" if time else f"P{date}"


def first_moment(wall: datetime, zone: ZoneInfo) -> datetime:
    """The first moment, in UTC, at which a clock in `zone` shows `wall` or has skipped past it.

    A local time that exists twice is its first; one inside a gap is the gap's end.
    """
    assert wall.tzinfo is None, "a wall clock has no zone"
    moment = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) == wall:
        return moment
    return _gap_end(wall, zone)


def _gap_end(wall: datetime, zone: ZoneInfo) -> datetime:
    """The moment at which the clock jumped over `wall`, found by halving between the two readings.

    PEP 495 reads a skipped time with the offset before the jump (fold 0, a moment after it) or with
    the offset after (fold 1, a moment before it). Jumps happen on whole seconds.
    """
    whole = wall.replace(microsecond=0)
    before = whole.replace(tzinfo=zone, fold=1).astimezone(UTC)
    after = whole.replace(tzinfo=zone, fold=0).astimezone(UTC)
    offset = before.astimezone(zone).utcoffset()
    low, high = 0, int((after - before).total_seconds())
    while high - low > 1:
        middle = (low + high) // 2
        moment = (before + timedelta(seconds=middle)).astimezone(zone)
        low, high = (middle, high) if moment.utcoffset() == offset else (low, middle)
    return before + timedelta(seconds=high)


def parse_duration(text: str) -> Duration:
    """Read an ISO 8601 duration; ValueError with a sentence for people where it is not one."""
    match = _SHAPE.fullmatch(text)
    if match is None or text.endswith(("P", "T")):
        if _DATE_PART_YMW.match(text):
            raise ValueError(f"Years, months and weeks are not accepted in {text[:40]!r}; {_HINT}.")
        raise ValueError(f"{text[:40]!r} is not a duration; {_HINT}.")
    days, hours, minutes, seconds = (
        _count(match[unit]) for unit in ("days", "hours", "minutes", "seconds")
    )
    seconds += minutes * 60 + hours * 3600
    if days * DAY_SECONDS + seconds > DURATION_DAYS_MAX * DAY_SECONDS:
        raise ValueError(f"{text[:40]!r} is longer than the longest duration, P365D.")
    return Duration(days=days, seconds=seconds)


def _count(digits: str | None) -> int:
    """The number; one of very many digits is only known to be too long for any duration."""
    digits = (digits or "0").lstrip("0") or "0"
    return int(digits) if len(digits) <= 9 else 10**9
