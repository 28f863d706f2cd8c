"""Writes events as SendGrid does, with its quirks.

Custom args lie at the top level, under the reserved names; `category` is a string or an array; the
`attempt` of a deferral is a string; a dropped mail may have an `sg_message_id` that does not begin
with the request's id; a body has CRLF between events and at its end.

Source: Twilio SendGrid, "Event Webhook Reference"; bodies captured by django-anymail.
"""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, assert_never

import orjson

from outreach.dev.sandbox.fates import Happening, Step, Suppressed

_LINK = re.compile(r"https?://[^\s\"'<>]+")
_PERSON = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Safari/605.1.15"
_PERSON_IP = "203.0.113.9"
_PROXY_IP = "17.58.0.1"
_MAILER_IP = "198.51.100.7"


@dataclass(frozen=True, slots=True)
class Mail:
    """One recipient's copy of an accepted request: what its events say of it."""

    message_id: str
    copy: int
    email: str
    sender: str
    custom_args: dict[str, str]
    categories: tuple[str, ...]
    accepted_unix: float
    link: str
    suppressed: Suppressed | None


def link_in(mail: dict[str, Any]) -> str:
    """The first link of a body, where a person would click; a made-up one if there is none."""
    for part in reversed(mail.get("content") or []):
        found = _LINK.search(part["value"])
        if found:
            return found.group()
    return "https://example.com/"


def event_of(mail: Mail, step: Step, at_unix: float) -> dict[str, Any]:
    """One event as an object; the same step always has the same `sg_event_id`."""
    identity = f"{step.what}-{mail.message_id}-{mail.copy}-{step.number}"
    fields: dict[str, Any] = {
        "email": mail.email,
        "timestamp": int(at_unix),
        "sg_event_id": base64.urlsafe_b64encode(identity.encode()).decode().rstrip("="),
        "sg_message_id": f"{mail.message_id}.recvd-5f6d7c8b9-sandbox-1-{mail.copy:X}.0",
    }
    if mail.categories:
        alone = len(mail.categories) == 1 and step.number % 2 == 0
        fields["category"] = mail.categories[0] if alone else list(mail.categories)
    return {**mail.custom_args, **fields, **_particulars(mail, step, int(at_unix))}


def _particulars(mail: Mail, step: Step, at: int) -> dict[str, Any]:
    """The event's name and what belongs to it alone."""
    smtp = {"smtp-id": f"<{mail.message_id}@geopod-ismtpd-1>"}
    person = {"useragent": _PERSON, "ip": _PERSON_IP}
    match step.what:
        case Happening.PROCESSED:
            return {"event": "processed", "send_at": 0, **smtp}
        case Happening.DROPPED:
            # Its id lacks the request's own in front, as seen in captured bodies.
            own = {"sg_message_id": f"filter0093p1las1.9128.{mail.message_id[-8:]}.0"}
            why = mail.suppressed or Suppressed.BOUNCED
            return {"event": "dropped", "reason": str(why), "status": "5.0.0", **smtp, **own}
        case Happening.DEFERRED:
            return {
                "event": "deferred",
                "response": "421 4.7.0 try again later",
                "attempt": "1",
                "domain": mail.email.rpartition("@")[2],
                "from": mail.sender,
                **smtp,
            }
        case Happening.DELIVERED:
            response = f"250 2.0.0 OK {at} sandbox - gsmtp"
            return {"event": "delivered", "ip": _MAILER_IP, "response": response, "tls": 1, **smtp}
        case Happening.BOUNCED:
            return _bounce("bounce", "5.1.1", "550 5.1.1 user unknown", "Invalid Address") | smtp
        case Happening.BLOCKED:
            reason = "550 5.7.1 message blocked due to reputation"
            return _bounce("blocked", "5.7.1", reason, "Reputation") | smtp
        case Happening.OPENED:
            # Absent rather than false when no machine opened it, half of the time.
            flag = {"sg_machine_open": False} if step.number % 2 == 0 else {}
            return {"event": "open", "sg_content_type": "html", **flag, **person}
        case Happening.OPENED_BY_MACHINE:
            proxy = {"useragent": "Mozilla/5.0", "ip": _PROXY_IP}
            return {"event": "open", "sg_content_type": "html", "sg_machine_open": True, **proxy}
        case Happening.CLICKED:
            where = {"url": mail.link, "url_offset": {"index": 0, "type": "html"}}
            return {"event": "click", **where, **person}
        case Happening.UNSUBSCRIBED:
            return {"event": "unsubscribe"}
        case Happening.REPORTED_SPAM:
            return {"event": "spamreport"}
        case _:
            assert_never(step.what)


def _bounce(kind: str, status: str, reason: str, classification: str) -> dict[str, Any]:
    return {
        "event": "bounce",
        "type": kind,
        "status": status,
        "reason": reason,
        "bounce_classification": classification,
        "ip": _MAILER_IP,
        "tls": 1,
    }


def body_of(events: Sequence[bytes]) -> bytes:
    """A post's body: a JSON array with CRLF between its events and at its end."""
    return b"[" + b",\r\n".join(events) + b"]\r\n"


def event_bytes(event: dict[str, Any]) -> bytes:
    return orjson.dumps(event)
