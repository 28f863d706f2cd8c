"""`POST /webhooks/sendgrid`: verify, keep, answer; nothing else happens while SendGrid waits.

SendGrid repeats whatever is not answered 2xx for a day, so a 2xx is a promise that the body is
kept, and everything that we cannot judge now is a 503. What is signed is kept even when it makes no
sense, since sending it again would not mend it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import psycopg
from starlette.requests import Request
from starlette.responses import Response

from outreach import log
from outreach.config import Settings
from outreach.core.errors import Unavailable
from outreach.db import Database
from outreach.providers.sendgrid_webhook import (
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    PublicKey,
    is_timely,
    load_public_keys,
    signed_at,
)
from outreach.services.ingest import ingest
from outreach.web.body import read_body
from outreach.web.errors import NotAuthentic
from outreach.web.refusals import Refusals

LOG = log.get("webhooks")

BODY_SECONDS_MAX = 10.0
# Third parties see SendGrid give up after about ten seconds; ours must be over by then.
INGEST_SECONDS_MAX = 8.0


class SendGridHook:
    """The endpoint; it owns the keys."""

    def __init__(self, settings: Settings, db: Database, refusals: Refusals) -> None:
        self._db = db
        self._refusals = refusals
        self._bytes_max = settings.webhook_body_bytes_max
        self._tolerance_seconds = settings.webhook_tolerance_seconds
        self._keys: Sequence[PublicKey] = load_public_keys(settings.sendgrid_webhook_public_keys)

    async def post(self, request: Request) -> Response:
        """An empty 200 once the body is kept."""
        body = await read_body(request, bytes_max=self._bytes_max, seconds_max=BODY_SECONDS_MAX)
        at = self._authenticate(request, body)
        try:
            async with asyncio.timeout(INGEST_SECONDS_MAX):
                await ingest(self._db, "sendgrid", body, at)
        except (psycopg.Error, TimeoutError) as error:
            LOG.warning("webhook_not_kept", error=type(error).__name__)
            raise Unavailable("The webhook could not be kept.") from error
        return Response()

    def _authenticate(self, request: Request, body: bytes) -> datetime:
        """When it was signed; raises NotAuthentic, and counts that, unless it was, and recently."""
        signature = request.headers.get(SIGNATURE_HEADER, "")
        timestamp = request.headers.get(TIMESTAMP_HEADER, "")
        at = signed_at(self._keys, signature, timestamp, body)
        # This process's clock: a question to the database would let forgers put a load on it.
        if at is None or not is_timely(at, datetime.now(UTC), self._tolerance_seconds):
            self._refusals.add()
            raise NotAuthentic
        return at
