"""The words of the plan language, as frozen models.

A model's own rules are those of one field: its type, its range, its spelling. What concerns several
fields or the graph is in `core.plan_problems`; text from outside comes in by `plan.parse_plan`,
which applies both. Field names are snake_case here; camelCase is a matter of reading.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import Annotated, Any, Literal
from uuid import UUID
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StrictBool,
    StrictInt,
)

from outreach.core.duration import Duration, parse_duration

STOP = "stop"
NODES_MAX = 200
VARIANTS_MAX = 20
SUBJECT_LENGTH_MAX = 500
BODY_LENGTH_MAX = 100_000
DAY_MINUTES = 24 * 60

_CLOCK = re.compile(r"(?:([01][0-9]|2[0-3]):([0-5][0-9])|24:00)")
_COUNTRY = re.compile(r"[A-Z]{2}")
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


class Trigger(StrEnum):
    """What a transition reacts to: real events, and timers that found none (`no_…`)."""

    DELIVERED = "delivered"
    OPENED = "opened"
    CLICKED = "clicked"
    REPLIED = "replied"
    BOUNCED = "bounced"
    BLOCKED = "blocked"
    SPAM_REPORT = "spam_report"
    UNSUBSCRIBED = "unsubscribed"
    FAILED = "failed"
    NO_OPEN = "no_open"
    NO_CLICK = "no_click"
    NO_REPLY = "no_reply"


# Each timer with the event that forbids it.
SYNTHETIC: dict[Trigger, Trigger] = {
    Trigger.NO_OPEN: Trigger.OPENED,
    Trigger.NO_CLICK: Trigger.CLICKED,
    Trigger.NO_REPLY: Trigger.REPLIED,
}

WAIT_DEFAULTS: dict[Trigger, Duration] = {
    Trigger.NO_OPEN: Duration(seconds=72 * 3600),
    Trigger.NO_CLICK: Duration(seconds=24 * 3600),
    Trigger.NO_REPLY: Duration(seconds=72 * 3600),
}


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


def _read_clock(value: object) -> int:
    match = _CLOCK.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(
            'A clock time is text from "00:00" to "24:00" with two digits each, such as "08:30".'
        )
    return int(match[1]) * 60 + int(match[2]) if match[1] else DAY_MINUTES


def _write_clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def _read_zone(value: object) -> str:
    if not isinstance(value, str) or value not in available_timezones():
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


def _text(read: Callable[[object], object]) -> BeforeValidator:
    return BeforeValidator(read)


DurationField = Annotated[Duration, _text(_read_duration), PlainSerializer(str, return_type=str)]
ClockField = Annotated[int, _text(_read_clock), PlainSerializer(_write_clock, return_type=str)]
IdField = Annotated[str, _text(_read_id)]
SubjectField = Annotated[str, Field(max_length=SUBJECT_LENGTH_MAX)]
BodyField = Annotated[str, Field(max_length=BODY_LENGTH_MAX)]


class Model(BaseModel):
    """What all of them share: immutable, and no field that we do not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class Transition(Model):
    """Where to go `on` what: `within` bounds a real event, `after` sets a timer."""

    on: Trigger
    to: str
    within: DurationField | None = None
    after: DurationField | None = None

    @property
    def is_timer(self) -> bool:
        """It fires by itself when nothing happened."""
        return self.on in SYNTHETIC

    @property
    def wait(self) -> Duration:
        """How long a timer runs; nothing for a real event."""
        if self.after is not None:
            return self.after
        return WAIT_DEFAULTS.get(self.on, Duration())


class Variant(Model):
    """One wording of a step and its share among the others."""

    id: IdField
    weight: Annotated[StrictInt, Field(ge=1, le=10_000)] = 1
    subject: SubjectField
    body: BodyField
    body_html: BodyField | None = None


class Schedule(Model):
    """How long after entering a send node its message is due."""

    delay: DurationField = Duration()


class Personalize(Model):
    """What a language model is asked for, and who looks at it before it goes out."""

    instructions: Annotated[str, Field(min_length=1, max_length=4_000)]
    tone: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    max_words: Annotated[StrictInt, Field(ge=10, le=2_000)] = 150
    approval: Literal["required", "sampled", "auto"] = "required"


class Node(Model):
    """One step: a message, or a wait for what becomes of the last one."""

    id: IdField
    channel: Literal["email"] = "email"
    action: Literal["send", "wait"]
    subject: SubjectField | None = None
    body: BodyField | None = None
    body_html: BodyField | None = None
    schedule: Schedule = Schedule()
    transitions: tuple[Transition, ...] = ()
    variants: Annotated[tuple[Variant, ...], Field(max_length=VARIANTS_MAX)] = ()
    personalize: Personalize | None = None
    sender_identity_id: UUID | None = None
    reply_in_thread: StrictBool = False


class QuietHours(Model):
    """Hours of every day in which nothing is sent; half-open, and may pass midnight."""

    start: ClockField
    end: ClockField

    @property
    def start_minute(self) -> int:
        """Minutes since midnight, 0 to 1439."""
        return self.start

    @property
    def end_minute(self) -> int:
        """Minutes since midnight, 1 to 1440; less than the start where it passes midnight."""
        return self.end


class SendWindow(Model):
    """Days and hours in which messages go out; half-open, within one day."""

    days: Annotated[tuple[Weekday, ...], Field(min_length=1), _text(_read_days)] = tuple(Weekday)
    start: ClockField
    end: ClockField
    zone: Literal["contact", "plan"] = "contact"
    skip_holidays: Annotated[str, _text(_read_calendar)] | None = None

    @property
    def start_minute(self) -> int:
        """Minutes since midnight, 0 to 1439."""
        return self.start

    @property
    def end_minute(self) -> int:
        """Minutes since midnight, 1 to 1440, and after the start."""
        return self.end


class Plan(Model):
    """A graph of messages and waits, with the hours in which it may write."""

    version: Literal["1.0"]
    timezone: Annotated[str, _text(_read_zone)]
    quiet_hours: QuietHours | None = None
    send_window: SendWindow | None = None
    start_node_id: str
    nodes: Annotated[tuple[Node, ...], Field(min_length=1, max_length=NODES_MAX)]
    idle_after: DurationField = Duration(days=30)
    count_machine_events: StrictBool = False

    @cached_property
    def _nodes_by_id(self) -> dict[str, Node]:
        return {node.id: node for node in self.nodes}

    @cached_property
    def zone(self) -> ZoneInfo:
        """The plan's own zone."""
        return ZoneInfo(self.timezone)

    def node(self, node_id: str) -> Node:
        """The node of that id, which is one of this plan's."""
        return self._nodes_by_id[node_id]

    def canonical(self) -> str:
        """The plan as JSON, equal for equal plans: sorted keys, defaults written out.

        Written out because a stored version keeps its meaning when a default changes.
        """
        data: dict[str, Any] = self.model_dump(mode="json", exclude_none=True)
        return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    def hash(self) -> str:
        """SHA-256 of the canonical form, in hex."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()
