"""Handing mails to SendGrid: one request each over kept-alive connections, every end classified.

What matters is to know whether the provider may have the mail. Until a connection is there and the
request is written, it certainly does not (NotSent). From then on, whatever is not a clear answer is
Unknown: a small request leaves in one write, so nothing can be said about how much of it arrived.

Source: SendGrid's mail/send errors; X-RateLimit-Reset is a Unix time in seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from time import monotonic
from types import TracebackType
from typing import Self

import orjson

from outreach import __version__
from outreach.config import Settings
from outreach.core.errors import Invalid
from outreach.core.mail import Mail
from outreach.core.outcome import NotSent, Outcome, Unknown, asked_moment, classify
from outreach.providers.http1 import Pool
from outreach.providers.http1_connection import Answer, Exchange, NoAnswer, NotBegun
from outreach.providers.sendgrid_mail import mail_body

# Until answers tell: what is claimed for a provider that is slower waits in vain for a connection.
FIRST_LATENCY_SECONDS = 0.5
# How much one more answer moves the estimate of the latency.
LATENCY_WEIGHT = 0.05


class SendGrid:
    """A client for one account; `async with` it."""

    def __init__(self, settings: Settings) -> None:
        if settings.sendgrid_api_key is None:
            raise Invalid.at("SENDGRID_API_KEY", "is not set, and without it nothing can be sent.")
        self._connections = settings.send_connections
        self._deadline_seconds = settings.send_deadline_seconds
        self._latency_seconds = FIRST_LATENCY_SECONDS
        try:
            self._pool = Pool(
                f"{settings.sendgrid_base_url}/v3/mail/send",
                connections_max=settings.send_connections,
                headers={
                    "Authorization": f"Bearer {settings.sendgrid_api_key.get_secret_value()}",
                    "Content-Type": "application/json",
                    "User-Agent": f"outreach/{__version__}",
                },
            )
        except ValueError:
            raise Invalid.at("SENDGRID_API_KEY", "has characters that no key has.") from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.close()

    def room(self) -> int:
        """How many more requests could begin within a second, at the latency now seen."""
        per_connection = max(1.0, 1.0 / self._latency_seconds)
        return int(self._connections * per_connection) - self._pool.active

    async def send(
        self, mail: Mail, *, start_by: float, leaving: Callable[[], None] | None = None
    ) -> Outcome:
        """One request, classified; see `MailProvider.send`."""
        exchange = Exchange(
            orjson.dumps(mail_body(mail)), start_by, start_by + self._deadline_seconds, leaving
        )
        found = await self._pool.post(exchange)
        if exchange.left_at is not None:  # waiting for a connection is not the provider's time
            seconds = monotonic() - exchange.left_at
            self._latency_seconds += LATENCY_WEIGHT * (seconds - self._latency_seconds)
        match found:
            case Answer():
                return _read(found)
            case NotBegun():
                return NotSent(found.why, is_unreachable=found.is_unreachable)
            case NoAnswer():
                return Unknown(found.why)


def _read(answer: Answer) -> Outcome:
    headers = answer.headers
    if answer.status == 202:
        return classify(202, _text(headers.get(b"x-message-id")), "")
    later = asked_moment(
        _text(headers.get(b"retry-after")),
        _text(headers.get(b"x-ratelimit-reset")),
        datetime.now(UTC),
    )
    said = answer.body.decode("utf-8", "replace")
    return classify(answer.status, None, _detail(answer.status, said), retry_at=later)


def _text(header: bytes | None) -> str | None:
    return None if header is None else header.decode("latin-1")


def _detail(status: int, text: str) -> str:
    """What the provider says, short and on one line; some answers are HTML pages."""
    try:
        errors = orjson.loads(text)["errors"]
        said = "; ".join(str(error["message"]) for error in errors)
    except (orjson.JSONDecodeError, KeyError, TypeError):
        said = "" if text.lstrip().startswith("<") else text
    printable = said.replace("\0", " ")  # which no text of PostgreSQL may hold
    return f"{status} {' '.join(printable.split())}".strip()[:500]
