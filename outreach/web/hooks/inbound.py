"""`POST /webhooks/sendgrid/inbound`: whole mails, kept and answered.

SendGrid throws a mail away on any 4xx and tries again for three days on a 5xx, so what is only
late, slow or not set up is a 503, and what is authentic is kept even when it makes no sense. With a
key the body is signed; without one the path ends in a token that only SendGrid and we know.

A mail of thirty megabytes passes through here in pieces: its head is kept, the rest only counted
and hashed.

Source: Twilio SendGrid, "Inbound Parse", "Securing your Parse Webhooks" (the events' signature).
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Protocol

import psycopg
from starlette.requests import Request
from starlette.responses import Response

from outreach import log
from outreach.config import Settings
from outreach.core.errors import Unavailable
from outreach.core.form_data import Field, FormReader
from outreach.db import Database
from outreach.services.replies import ReceivedMail, take_in
from outreach.web.body import pass_body
from outreach.web.errors import BodyTooSlow, NotAuthentic
from outreach.web.hooks.sendgrid import AHEAD_MAX, INGEST_SECONDS_MAX
from outreach.web.refusals import Refusals

LOG = log.get("webhooks")

BODY_SECONDS_MAX = 60.0
# Each holds the heads of a mail and of its body; the others come again.
AT_ONCE_MAX = 16
# Three days of tries, whose signature may be that of the first.
TOLERANCE_MIN = timedelta(hours=73)
ENVELOPE_BYTES_MAX = 64 * 1024
NO_MAIL = "It is not a form with a field `email`, which raw mode sends."


class Stream(Protocol):
    """A body that is being read, and its signature."""

    def feed(self, piece: bytes) -> None:
        """The next bytes."""

    def signed_at(self) -> datetime | None:
        """When all of it was truly signed, else None."""


class StreamVerifier(Protocol):
    """What the provider's side knows of signatures."""

    def stream(self, headers: Mapping[str, str]) -> Stream | None:
        """A body to come; None where the headers sign none."""


class InboundHook:
    """The endpoint."""

    def __init__(
        self,
        settings: Settings,
        db: Database,
        verifier: StreamVerifier | None,
        refusals: Refusals,
    ) -> None:
        """`verifier` knows the keys of the settings, and is None where there are none."""
        assert (verifier is None) == (not settings.sendgrid_inbound_public_keys)
        self._db = db
        self._verifier = verifier
        self._refusals = refusals
        self._tokens = [token.get_secret_value().encode() for token in settings.inbound_tokens]
        self._bytes_max = settings.inbound_body_bytes_max
        self._kept_max = settings.inbound_kept_bytes_max
        tolerance = timedelta(seconds=settings.webhook_tolerance_seconds)
        self._tolerance = max(tolerance, TOLERANCE_MIN)
        self._room = asyncio.Semaphore(AT_ONCE_MAX)

    async def post(self, request: Request) -> Response:
        """An empty 200 once the mail is kept."""
        stream = self._begin(request)
        if self._room.locked():
            raise Unavailable("Too many mails at once.")
        async with self._room:
            mail = await self._read(request, stream)
            try:
                async with asyncio.timeout(INGEST_SECONDS_MAX):
                    await take_in(self._db, mail)
            except (psycopg.Error, TimeoutError) as error:
                LOG.warning("mail_not_kept", error=type(error).__name__)
                raise Unavailable("The mail could not be kept.") from error
        return Response()

    def _begin(self, request: Request) -> Stream | None:
        """The signature to be checked at the end; None where the token was enough."""
        if self._verifier is not None:
            stream = self._verifier.stream(request.headers)
            if stream is None:
                raise self._refusal()
            return stream
        if not self._tokens:
            LOG.warning("inbound_not_set_up")
            raise Unavailable("Inbound mail is not set up.")
        given = str(request.path_params.get("token", "")).encode()
        # Each is compared, so that the time says nothing of which.
        if not sum(hmac.compare_digest(given, token) for token in self._tokens):
            raise self._refusal()
        return None

    async def _read(self, request: Request, stream: Stream | None) -> ReceivedMail:
        wanted = {"email": self._kept_max, "envelope": ENVELOPE_BYTES_MAX}
        form = FormReader(request.headers.get("content-type", ""), wanted)
        whole = Field(self._kept_max)

        def take(piece: bytes) -> None:
            if stream is not None:
                stream.feed(piece)
            form.feed(piece)
            whole.add(piece)

        try:
            await pass_body(request, take, bytes_max=self._bytes_max, seconds_max=BODY_SECONDS_MAX)
        except BodyTooSlow as error:
            raise Unavailable("The body is too slow.") from error
        self._check(stream)
        found = form.fields.get("email")
        envelope = form.fields.get("envelope")
        mail = found or whole
        return ReceivedMail(
            head=mail.head,
            length=mail.length,
            digest=mail.digest,
            envelope=b"" if envelope is None else envelope.head,
            problem=NO_MAIL if found is None else None,
        )

    def _check(self, stream: Stream | None) -> None:
        if stream is None:
            return
        at = stream.signed_at()
        if at is None or not -AHEAD_MAX <= datetime.now(UTC) - at <= self._tolerance:
            raise self._refusal()

    def _refusal(self) -> NotAuthentic:
        self._refusals.add()
        return NotAuthentic()
