"""The words of the plan language, as frozen models.

A model's own rules are those of one field: its type, its range, its spelling. What concerns several
fields or the graph is in `core.plan_problems`; text from outside comes in by `plan.parse_plan`,
which applies both. Field names are snake_case here; camelCase is a matter of reading.
"""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt

from outreach.core.duration import Duration
from outreach.core.plan_fields import (
    BodyField,
    CalendarField,
    ClockField,
    DaysField,
    DurationField,
    IdField,
    SubjectField,
    Weekday,
    ZoneField,
)

STOP = "stop"
NODES_MAX = 200
VARIANTS_MAX = 20


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

    days: DaysField = tuple(Weekday)
    start: ClockField
    end: ClockField
    zone: Literal["contact", "plan"] = "contact"
    skip_holidays: CalendarField | None = None

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
    timezone: ZoneField
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
