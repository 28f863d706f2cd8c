"""How single values of a plan are read and written: durations, clock times, zones, ids, calendars.

Each reader takes what JSON holds and answers the value or a ValueError whose text is a sentence for
the plan's writer. They refuse what a lenient reader would guess at, because a guess here is a mail
at the wrong hour.
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import lru_cache
from typing import Annotated
from zoneinfo import available_timezones

from pydantic import BeforeValidator, Field, PlainSerializer

from outreach.core.duration import Duration, parse_duration

SUBJECT_LENGTH_MAX = 500
BODY_LENGTH_MAX = 50_000
DAY_MINUTES = 24 * 60

_CLOCK = re.compile(r"(?:([01][0-9]|2[0-3]):([0-5][0-9])|24:00)")
_COUNTRY = re.compile(r"[A-Z]{2}")
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


class Weekday(StrEnum):
    """Days in the order of `datetime.weekday()`."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


def _read_duration(value: object) -> Duration:
    if isinstance(value, Duration):
        return value
    if not isinstance(value, str):
        raise ValueError("A duration is text such as P3D, PT72H or P1DT12H.")
    return parse_duration(value)


def parse_clock(value: object) -> int:
    """Minutes since midnight, 0 to 1440, of a clock time such as "08:30"; ValueError otherwise."""
    match = _CLOCK.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(
            'A clock time is text from "00:00" to "24:00" with two digits each, such as "08:30".'
        )
    return int(match[1]) * 60 + int(match[2]) if match[1] else DAY_MINUTES


def _write_clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(available_timezones()) - {"localtime", "Factory"}  # they name no place


def _read_zone(value: object) -> str:
    if not isinstance(value, str) or value not in _zones():
        raise ValueError(
            f"{_shown(value)} is not a time zone of the IANA database, such as America/New_York."
        )
    return value


def _read_id(value: object) -> str:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise ValueError(
            "An id is 1 to 64 letters, digits, dots, dashes and underscores, "
            f"beginning with a letter, digit or underscore; not {_shown(value)}."
        )
    return value


def _read_days(value: object) -> object:
    """In the order of the week and each once, so that equal weeks have equal hashes."""
    if isinstance(value, list | tuple) and all(day in tuple(Weekday) for day in value):
        return [day for day in Weekday if day in value]
    return value


def _read_calendar(value: object) -> str:
    if not isinstance(value, str) or not _calendar_exists(value):
        raise ValueError(
            f"{_shown(value)} is not a holiday calendar; write a country such as US, "
            "or a country and a part of it such as DE-BY."
        )
    return value


@lru_cache(maxsize=256)
def _calendar_exists(name: str) -> bool:
    import holidays  # heavy, and most plans name no calendar

    country, dash, part = name.partition("-")
    if not _COUNTRY.fullmatch(country) or (dash and not part):
        return False
    try:
        holidays.country_holidays(country, subdiv=part or None)
    except NotImplementedError:
        return False
    return True


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


DurationField = Annotated[
    Duration, BeforeValidator(_read_duration), PlainSerializer(str, return_type=str)
]
ClockField = Annotated[
    int, BeforeValidator(parse_clock), PlainSerializer(_write_clock, return_type=str)
]
DaysField = Annotated[tuple[Weekday, ...], Field(min_length=1), BeforeValidator(_read_days)]
ZoneField = Annotated[str, BeforeValidator(_read_zone)]
CalendarField = Annotated[str, BeforeValidator(_read_calendar)]
IdField = Annotated[str, BeforeValidator(_read_id)]
SubjectField = Annotated[str, Field(max_length=SUBJECT_LENGTH_MAX)]
BodyField = Annotated[str, Field(max_length=BODY_LENGTH_MAX)]
