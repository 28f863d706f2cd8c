"""The web application: which path is answered by whom."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from outreach.config import Settings
from outreach.db import Database
from outreach.migrate import known_migrations
from outreach.web.errors import HANDLERS
from outreach.web.health import Readiness, healthz
from outreach.web.hooks.inbound import InboundHook, StreamVerifier
from outreach.web.hooks.sendgrid import SendGridHook, Verifier
from outreach.web.middleware import AccessLog, SecurityHeaders
from outreach.web.refusals import Refusals
from outreach.web.unsubscribe import UnsubscribePage


def create_app(
    settings: Settings, db: Database, verifier: Verifier, inbound: StreamVerifier | None = None
) -> Starlette:
    """The application on an open database.

    `verifier` knows the signatures of the webhooks, `inbound` those of mails, if they have a key.
    """
    refusals = Refusals(db)
    hook = SendGridHook(settings, db, verifier, refusals)
    mails = InboundHook(settings, db, inbound, refusals)
    page = UnsubscribePage(settings, db)
    readiness = Readiness(db, known_migrations())

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with refusals.running():
            yield

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readiness.readyz),
            Route("/u/{token}", page.respond, methods=["GET", "POST"]),
            Route("/webhooks/sendgrid", hook.post, methods=["POST"]),
            Route("/webhooks/sendgrid/inbound", mails.post, methods=["POST"]),
            Route("/webhooks/sendgrid/inbound/{token}", mails.post, methods=["POST"]),
        ],
        middleware=[Middleware(AccessLog), Middleware(SecurityHeaders)],
        exception_handlers=dict(HANDLERS),
        lifespan=lifespan,
    )
