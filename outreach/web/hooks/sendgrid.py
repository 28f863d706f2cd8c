"""`POST /webhooks/sendgrid`: verify, keep, answer; nothing else happens while SendGrid waits.

SendGrid repeats whatever is not answered 2xx for a day, so a 2xx is a promise that the body is
kept, and everything that we cannot judge now is a 503. What is signed is kept even when it makes no
sense, since sending it again would not mend it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Protocol

import psycopg
from starlette.requests import Request
from starlette.responses import Response

from outreach import log
from outreach.config import Settings
from outreach.core.errors import Unavailable
from outreach.db import Database
from outreach.services.ingest import ingest
from outreach.web.body import Room, read_body
from outreach.web.errors import NotAuthentic
from outreach.web.refusals import Refusals

LOG = log.get("webhooks")

BODY_SECONDS_MAX = 10.0
# In memory at once, signed or not; SendGrid posts 768 KB at a time and repeats what is put off.
BODIES_BYTES_MAX = 64 * 1024 * 1024
BODIES_MIN = 4
# Third parties see SendGrid give up after about ten seconds; ours must be over by then.
INGEST_SECONDS_MAX = 8.0
# A clock may be a little ahead of ours; an hour ahead is no clock of SendGrid's.
AHEAD_MAX = timedelta(seconds=300)


class Verifier(Protocol):
    """What the provider's side knows of signatures."""

    def signed_at(self, headers: Mapping[str, str], body: bytes) -> datetime | None:
        """When the body was truly signed, else None."""


class SendGridHook:
    """The endpoint."""

    def __init__(
        self, settings: Settings, db: Database, verifier: Verifier, refusals: Refusals
    ) -> None:
        self._db = db
        self._verifier = verifier
        self._refusals = refusals
        self._bytes_max = settings.webhook_body_bytes_max
        self._room = Room(max(BODIES_BYTES_MAX, BODIES_MIN * self._bytes_max))
        self._tolerance = timedelta(seconds=settings.webhook_tolerance_seconds)

    async def post(self, request: Request) -> Response:
        """An empty 200 once the body is kept."""
        with self._room.place() as place:
            body = await read_body(
                request, bytes_max=self._bytes_max, seconds_max=BODY_SECONDS_MAX, place=place
            )
            at = self._authenticate(request, body)
            await self._keep(body, at)
        return Response()

    async def _keep(self, body: bytes, at: datetime) -> None:
        try:
            async with asyncio.timeout(INGEST_SECONDS_MAX):
                await ingest(self._db, "sendgrid", body, at)
        except (psycopg.Error, TimeoutError) as error:
            LOG.warning("webhook_not_kept", error=type(error).__name__)
            raise Unavailable("The webhook could not be kept.") from error

    def _authenticate(self, request: Request, body: bytes) -> datetime:
        """When it was signed; raises NotAuthentic, and counts that, unless it was, and recently."""
        at = self._verifier.signed_at(request.headers, body)
        # This process's clock: a question to the database would let forgers put a load on it.
        if at is None or not -AHEAD_MAX <= datetime.now(UTC) - at <= self._tolerance:
            self._refusals.add()
            raise NotAuthentic
        return at
