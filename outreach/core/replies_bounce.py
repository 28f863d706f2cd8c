"""A mail that says that another one did not arrive.

A delivery status notification says for each recipient what became of it; that is read first. Some
servers only write a letter: then a code in its text has to do, and the recipients are the addresses
that the letter names. A delay is a bounce that is not permanent.

Source: RFC 3464 (message/delivery-status), RFC 3463 (status codes).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message

RECIPIENTS_MAX = 20
_STATUS = re.compile(r"\b([245])\.\d{1,3}\.\d{1,3}\b")
_REPLY = re.compile(r"\b([45])\d\d[ -]")
_ADDRESS = re.compile(r"[A-Za-z0-9._%+=/-]{1,64}@[A-Za-z0-9.-]{1,200}[A-Za-z0-9]")
_DAEMON = re.compile(
    r"\b(?:mailer-daemon|postmaster|mail delivery (?:sub)?system)\b", re.IGNORECASE
)
_FAILED = re.compile(
    r"undeliver(?:able|ed)|delivery (?:status notification|has failed|failed|failure)"
    r"|returned mail|mail delivery failed|could not be delivered|unzustellbar"
    r"|konnte nicht zugestellt|non (?:remis|distribu)|échec de la remise|no se (?:pudo|ha podido)"
    r" entregar|no entregado",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Bounce:
    """What the report says of the recipients that it failed for."""

    recipients: tuple[str, ...]  # final and original ones, lower case
    is_permanent: bool
    status: str | None
    diagnostic: str | None


def read_bounce(
    message: Message, parts: list[Message], text: str, header: Callable[[Message, str], str]
) -> Bounce | None:
    """The bounce that the mail is, or None for every other mail and for good news."""
    fields = [block for part in parts for block in _status_blocks(part)]
    failed = [block for block in fields if header(block, "action").lower() in ("failed", "delayed")]
    if failed:
        return _of_report(failed, header)
    if fields or message.get_content_type() == "multipart/report":
        return None  # delivered, relayed, or a receipt for having been read
    return _of_letter(message, text, header)


def _status_blocks(part: Message) -> list[Message]:
    if part.get_content_type() not in ("message/delivery-status", "message/global-delivery-status"):
        return []
    blocks = part.get_payload()
    return [b for b in blocks if isinstance(b, Message)] if isinstance(blocks, list) else []


def _of_report(blocks: list[Message], header: Callable[[Message, str], str]) -> Bounce:
    names = ("final-recipient", "original-recipient")
    recipients = [
        address.lower()
        for block in blocks
        for name in names
        for address in _ADDRESS.findall(header(block, name).partition(";")[2])
    ]
    first = blocks[0]
    statuses = [header(block, "status") for block in blocks]
    is_failed = all(header(block, "action").lower() == "failed" for block in blocks)
    return Bounce(
        tuple(dict.fromkeys(recipients))[:RECIPIENTS_MAX],
        is_failed and all(status.startswith("5") for status in statuses),
        statuses[0][:20] or None,
        header(first, "diagnostic-code")[:500] or None,
    )


def _of_letter(message: Message, text: str, header: Callable[[Message, str], str]) -> Bounce | None:
    is_daemon = _DAEMON.search(header(message, "from")) is not None
    failed = header(message, "x-failed-recipients")
    subject = header(message, "subject")
    if not failed and not (is_daemon and _FAILED.search(f"{subject}\n{text[:2000]}")):
        return None
    head = text[:10_000]
    status = _STATUS.search(head)
    reply = status or _REPLY.search(head)
    addresses = _ADDRESS.findall(failed) or _ADDRESS.findall(head)
    return Bounce(
        tuple(dict.fromkeys(address.lower() for address in addresses))[:RECIPIENTS_MAX],
        reply is not None and reply[1] == "5",
        None if status is None else status[0],
        None,
    )
