"""One mail that came in, read into a small record, whatever somebody put into it.

The standard library reads the structure. Header values are decoded here and within bounds, since
its structured parsers (`email.policy.default`) raise on some of what the world sends and take long
over the rest. What cannot be decoded becomes U+FFFD; what is missing is None.

Source: RFC 5322 (fields), RFC 2045 to 2047 (parts, encoded words), RFC 3462 and 3464 (reports).
"""

from __future__ import annotations

import email
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import MessageError
from email.header import decode_header
from email.message import Message
from email.utils import getaddresses, parsedate_to_datetime
from itertools import islice

from outreach.core.address import normalize_address
from outreach.core.replies_bounce import Bounce, read_bounce
from outreach.core.replies_html import html_to_text, safe_html
from outreach.core.replies_text import own_words
from outreach.core.webhook_body import storable

READ_BYTES_MAX = 2 * 1024 * 1024
MULTIPARTS_MAX = 40  # each level costs a look at every line: 2 MiB of them take 5 s
PARTS_MAX = 200
HEADER_LENGTH_MAX = 4_000
REFERENCES_LENGTH_MAX = 20_000
REPEATS_MAX = 10
TEXT_LENGTH_MAX = 100_000
HTML_LENGTH_MAX = 200_000
ADDRESSES_MAX = 50
ATTACHMENTS_MAX = 50

_ID = re.compile(r"<([^<>\s]{1,500})>")
_MULTIPART = re.compile(rb"^content-type:\s*multipart/", re.IGNORECASE | re.MULTILINE)
_AUTOMATIC = {"auto_reply", "auto-reply", "bulk", "junk"}


class BadMail(Exception):
    """It is no mail that can be read; the message says why."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """What is known of a file without keeping it."""

    name: str
    type: str
    length: int


@dataclass(frozen=True, slots=True)
class Mail:
    """What one mail says."""

    from_address: str | None  # in normal form
    from_name: str
    to: tuple[str, ...]  # every address it was written or handed to, lower case
    subject: str
    mail_id: str | None  # of the Message-ID header, without the brackets
    references: tuple[str, ...]  # In-Reply-To first, then References, the latest first
    sent_at: datetime | None
    text: str  # what its writer wrote: no quoted history, no signature
    html: str | None  # all of it, made safe
    marks: tuple[str, ...]  # the headers that say that no person wrote it
    bounce: Bounce | None
    has_calendar: bool
    attachments: tuple[Attachment, ...]


def read_mail(raw: bytes) -> Mail:
    """What the mail says; raises BadMail where there is no reading it. Reads its head only."""
    head = raw[:READ_BYTES_MAX]
    if len(_MULTIPART.findall(head)) > MULTIPARTS_MAX:
        raise BadMail("It has too many parts.")
    try:
        return _read(email.message_from_bytes(head))
    except RecursionError:
        raise BadMail("It is nested too deeply.") from None
    except (MessageError, ValueError, LookupError, TypeError, AttributeError) as error:
        # What the library raises on the worst of it is not in its documentation.
        raise BadMail(f"It cannot be read: {type(error).__name__}.") from error


def _read(message: Message) -> Mail:
    if not message.keys():
        raise BadMail("It has no headers.")
    parts = list(_leaves(message))
    plain, html = _bodies(parts)
    whole = plain if plain.strip() else html_to_text((html or "")[:HTML_LENGTH_MAX])
    senders = _addresses(message, "from", "sender", "reply-to")
    name, address = senders[0] if senders else ("", "")
    return Mail(
        from_address=normalize_address(address),
        from_name=name,
        to=tuple(
            dict.fromkeys(
                each.lower()
                for _, each in _addresses(
                    message, "to", "cc", "delivered-to", "x-original-to", "x-forwarded-to"
                )
            )
        ),
        subject=header(message, "subject"),
        mail_id=next(iter(_ids(header(message, "message-id"))), None),
        references=_references(message, parts),
        sent_at=_moment(header(message, "date")),
        text=own_words(whole[:TEXT_LENGTH_MAX]),
        html=safe_html(html[:HTML_LENGTH_MAX]) if html else None,
        marks=_marks(message),
        bounce=read_bounce(message, parts, whole, header),
        has_calendar=any(part.get_content_type() == "text/calendar" for part in parts),
        attachments=tuple(_attachments(parts)),
    )


def header(message: Message, name: str, length_max: int = HEADER_LENGTH_MAX) -> str:
    """The first header of this name, decoded, on one line; empty where there is none."""
    return next(_headers(message, name, length_max), "")


def _headers(message: Message, name: str, length_max: int = HEADER_LENGTH_MAX) -> Iterator[str]:
    named = (value for key, value in message.raw_items() if key.lower() == name)
    for value in islice(named, REPEATS_MAX):
        yield _clean(_decoded(str(value)[:length_max]))


def _decoded(value: str) -> str:
    """Encoded words as text; raw bytes that somebody sent as UTF-8, else as Windows-1252."""
    try:
        pieces = decode_header(value.encode("ascii", "surrogateescape").decode("latin-1"))
    except (MessageError, ValueError):
        pieces = [(value, None)]
    return "".join(
        _text(piece.encode("latin-1", "replace") if isinstance(piece, str) else piece, charset)
        for piece, charset in pieces
    )


def _text(data: bytes, charset: str | None) -> str:
    """The bytes in the charset they name, or in the one that fits."""
    for name in (charset, "utf-8", "windows-1252"):
        try:
            if name:
                return data.decode(name)
        except (LookupError, ValueError):
            continue
    return data.decode("utf-8", "replace")


def _clean(text: str) -> str:
    return " ".join(str(storable(text)).split())


def _addresses(message: Message, *names: str) -> list[tuple[str, str]]:
    values = [value for name in names for value in _headers(message, name)]
    found = getaddresses(values)[:ADDRESSES_MAX]
    return [(name, address) for name, address in found if "@" in address]


def _ids(text: str) -> list[str]:
    return _ID.findall(text)


def _references(message: Message, parts: list[Message]) -> tuple[str, ...]:
    """Ids of the mails that it answers, or that it sends back with a report."""
    earlier = _ids(header(message, "references", REFERENCES_LENGTH_MAX))
    found = _ids(header(message, "in-reply-to")) + earlier[::-1]
    for part in parts:
        if part.get_content_type() in ("text/rfc822-headers", "message/rfc822-headers"):
            found += _ids(header(email.message_from_string(body_of(part)), "message-id"))
        elif part.get_content_type() == "message/rfc822":
            found += [id_ for inner in _inner(part) for id_ in _ids(header(inner, "message-id"))]
    return tuple(dict.fromkeys(found))[:100]


def _inner(part: Message) -> list[Message]:
    inner = part.get_payload()
    return [each for each in inner if isinstance(each, Message)] if isinstance(inner, list) else []


def _moment(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if 1990 <= moment.year <= 2100 else None


def _leaves(message: Message) -> Iterator[Message]:
    """The parts that hold something, in their order; of a mail inside it only the shell."""
    waiting: list[Message] = [message]
    many = 0
    while waiting and many < PARTS_MAX:
        part = waiting.pop(0)
        if part.get_content_maintype() == "multipart" and part.is_multipart():
            waiting[:0] = _inner(part)
            continue
        many += 1
        yield part


def _is_file(part: Message) -> bool:
    disposition = header(part, "content-disposition").lower()
    return disposition.startswith("attachment") or part.get_content_maintype() != "text"


def _bodies(parts: list[Message]) -> tuple[str, str | None]:
    """The plain text, put together, and the first HTML."""
    texts = [part for part in parts if not _is_file(part)]
    plain = [body_of(part) for part in texts if part.get_content_type() == "text/plain"]
    html = next((body_of(part) for part in texts if part.get_content_type() == "text/html"), None)
    return "\n".join(plain), html


def body_of(part: Message) -> str:
    """The text of a part, whatever its encoding says; empty for what is none."""
    data = part.get_payload(decode=True)
    if not isinstance(data, bytes):
        return ""
    charset = part.get_param("charset")
    text = _text(data, charset if isinstance(charset, str) else None)
    return str(storable(text)).replace("\r\n", "\n").replace("\r", "\n")


def _attachments(parts: list[Message]) -> Iterator[Attachment]:
    files = [part for part in parts if _is_file(part) and part.get_content_maintype() != "message"]
    for part in files[:ATTACHMENTS_MAX]:
        data = part.get_payload(decode=True)
        length = len(data) if isinstance(data, bytes) else 0
        name = _clean(_decoded(str(part.get_filename() or "")))[:200]
        yield Attachment(name, _clean(part.get_content_type())[:100], length)


def _marks(message: Message) -> tuple[str, ...]:
    """Which headers say that a machine wrote it, in short."""
    submitted = header(message, "auto-submitted").partition(";")[0].strip().lower()
    found = [f"auto-submitted:{submitted}"] if submitted not in ("", "no") else []
    precedence = header(message, "precedence").lower()
    if precedence in _AUTOMATIC:
        found.append(f"precedence:{precedence}")
    for name in ("x-autoreply", "x-autorespond", "x-autoresponder", "x-auto-reply-from"):
        if header(message, name).lower() not in ("", "no", "false"):
            found.append(name)
    if header(message, "return-path") == "<>":
        found.append("return-path:empty")
    if header(message, "x-failed-recipients"):
        found.append("x-failed-recipients")
    kind = message.get_param("report-type")
    if message.get_content_type() == "multipart/report" and isinstance(kind, str):
        found.append(f"report:{_clean(kind.lower())[:60]}")
    return tuple(found)
