"""SendGrid's events in our words.

One event is a JSON object of which nothing is certain but that the provider signed it: fields come
as strings or numbers, may be missing, may be new. What names no event that we know, or no moment,
is *bad*: kept with its reason, and no trouble to its neighbours.

Only what explains an event is kept of it: no address and no client's IP.

Source: Twilio SendGrid, "Event Webhook Reference"; bodies captured by django-anymail.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from outreach.core.delivery import DropReason
from outreach.core.machine_events import MachineReason, by_itself
from outreach.core.states import EventType
from outreach.core.webhook_body import is_too_deep, storable

EVENT_ID_LENGTH_MAX = 200  # theirs have at most 100
PREFIXES_MAX = 12
TEXT_LENGTH_MAX = 500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS_MIN = 1_104_537_600  # 2005
_SECONDS_MAX = 4_102_444_800  # 2100

_TYPES: dict[str, EventType] = {
    "processed": EventType.PROCESSED,
    "deferred": EventType.DEFERRED,
    "delivered": EventType.DELIVERED,
    "bounce": EventType.BOUNCED,
    "blocked": EventType.BLOCKED,
    "dropped": EventType.DROPPED,
    "open": EventType.OPENED,
    "click": EventType.CLICKED,
    "spamreport": EventType.SPAM_REPORT,
    "unsubscribe": EventType.UNSUBSCRIBED,
    "group_unsubscribe": EventType.GROUP_UNSUBSCRIBED,
    "group_resubscribe": EventType.GROUP_RESUBSCRIBED,
    "reply": EventType.REPLIED,  # ours: SendGrid hands mails on, and has no such event
}

_DROP_REASONS: dict[str, DropReason] = {
    "bounced address": DropReason.BOUNCED,
    "unsubscribed address": DropReason.UNSUBSCRIBED,
    "spam reporting address": DropReason.SPAM_REPORT,
    "invalid": DropReason.INVALID,
    "invalid address": DropReason.INVALID,
}

# The Message-ID that each mail is given (`providers/sendgrid_mail`): not the answer's id, but ours.
OWN_MESSAGE_ID = re.compile(r"([0-9a-f]{32})\.([0-9a-f]{32})")

_KEPT = ("reason", "status", "response", "url", "useragent", "asm_group_id")


@dataclass(frozen=True, slots=True)
class ProviderEvent:
    """One event, and all by which its message may be found."""

    id: str
    type: EventType
    at: datetime
    machine_reason: MachineReason | None  # as far as the event shows it by itself
    reason: str | None  # of a drop: a DropReason; else the provider's own class, if it gave one
    tenant_id: UUID | None
    message_id: UUID | None
    attempt: int | None
    provider_ids: tuple[str, ...]  # candidates for the provider's id of the message
    accepted_as: str | None  # the provider's id of the message, where the event says it for certain
    detail: Mapping[str, str]
    payload: Mapping[str, Any]

    @property
    def is_machine(self) -> bool:
        """The event says by itself that no person made it."""
        return self.machine_reason is not None


ACCOUNT_FORBIDDEN = "account_forbidden"  # the alarm


@dataclass(frozen=True, slots=True)
class AccountEvent:
    """The provider speaks of the account, not of a message.

    Only what stops it acts. That the account is good again is recorded, and a person resumes: they
    know why it was stopped, and news may come late and in any order.
    """

    id: str
    change: str
    payload: Mapping[str, Any]

    @property
    def forbids_sending(self) -> bool:
        """From now on messages are refused or thrown away."""
        return self.change.startswith("compliance_")


@dataclass(frozen=True, slots=True)
class BadEvent:
    """An element that says nothing we can use; `reason` is a code."""

    id: str
    reason: str
    payload: Any


def read_event(element: object) -> ProviderEvent | AccountEvent | BadEvent:
    """What one element of a body says."""
    if is_too_deep(element):
        return _bad(_shallow(element), "too_deep")
    if not isinstance(element, dict):
        return _bad(element, "not_an_object")
    name = element.get("event")
    if name == "account_status_change":
        return AccountEvent(_id(element), _text(element.get("type")) or "", element)
    event_type = _TYPES.get(name) if isinstance(name, str) else None
    if event_type is None:
        return _bad(element, "unknown_event")
    at = _moment(element.get("timestamp"))
    if at is None:
        return _bad(element, "bad_timestamp")
    if event_type is EventType.BOUNCED and element.get("type") not in (None, "bounce"):
        event_type = EventType.BLOCKED  # also what was deferred for good
    smtp_id = _smtp_id(element.get("smtp-id"))
    ours = None if smtp_id is None else OWN_MESSAGE_ID.fullmatch(smtp_id)
    own_message, own_tenant = (UUID(ours[1]), UUID(ours[2])) if ours else (None, None)
    smtp_id = None if ours else smtp_id
    return ProviderEvent(
        id=_id(element),
        type=event_type,
        at=at,
        machine_reason=by_itself(
            event_type, _text(element.get("useragent")), is_flagged=_is_flagged(element)
        ),
        reason=_reason(event_type, element),
        tenant_id=_uuid(element.get("outreach_tenant")) or own_tenant,
        message_id=_uuid(element.get("outreach_message_id")) or own_message,
        attempt=_attempt(element.get("outreach_attempt")),
        provider_ids=_provider_ids(element.get("sg_message_id"), smtp_id),
        accepted_as=smtp_id,
        detail={key: text for key in _KEPT if (text := _text(element.get(key)))},
        payload=element,
    )


def _bad(payload: object, reason: str) -> BadEvent:
    event_id = _id(payload) if isinstance(payload, dict) else _hash(payload)
    return BadEvent(event_id, reason, payload)


def _id(event: Mapping[str, Any]) -> str:
    """The provider's id, or one made of the content where it gives none that can be one."""
    given = event.get("sg_event_id")
    if isinstance(given, str) and 0 < len(given) <= EVENT_ID_LENGTH_MAX:
        return given
    return _hash(event)


def _hash(payload: object) -> str:
    text = json.dumps(storable(payload), sort_keys=True)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _shallow(element: object) -> object:
    """The part of a deep element that can be kept."""
    if not isinstance(element, dict):
        return None
    flat = {key: value for key, value in element.items() if not isinstance(value, dict | list)}
    return storable(flat)


def _moment(value: object) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    if not _SECONDS_MIN <= seconds <= _SECONDS_MAX:
        return None
    return _EPOCH + timedelta(seconds=seconds)


def _is_flagged(event: Mapping[str, Any]) -> bool:
    return event.get("sg_machine_open") in (True, "true", "True", "1")


def _reason(event_type: EventType, event: Mapping[str, Any]) -> str | None:
    if event_type is EventType.DROPPED:
        words = _text(event.get("reason")) or ""
        return _DROP_REASONS.get(words.strip().lower(), DropReason.OTHER)
    return _text(event.get("bounce_classification"))


def _uuid(value: object) -> UUID | None:
    if not isinstance(value, str) or len(value) != 36:
        return None
    try:
        return UUID(value)
    except ValueError:
        return None


def _attempt(value: object) -> int | None:
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if not (text.isascii() and text.isdigit() and len(text) <= 4):
        return None
    return int(text) or None


def _smtp_id(value: object) -> str | None:
    """What stands before the @: the id with which the request was answered."""
    if not isinstance(value, str) or "@" not in value:
        return None
    return value.strip().lstrip("<").partition("@")[0][:TEXT_LENGTH_MAX] or None


def _provider_ids(value: object, smtp_id: str | None) -> tuple[str, ...]:
    """All that the stored id may be: it may have dots itself, so each dot is tried."""
    found = [] if smtp_id is None else [smtp_id]
    if isinstance(value, str) and len(value) <= TEXT_LENGTH_MAX:
        parts = value.split(".")[:PREFIXES_MAX]
        found += [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
    return tuple(dict.fromkeys(text for text in found if text))


def _text(value: object) -> str | None:
    """Short text for people; None for nothing and for what is no text or number."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return str(value)[:TEXT_LENGTH_MAX] or None
