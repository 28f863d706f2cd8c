"""The web application in the test's own loop, and bodies signed as SendGrid signs them."""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from outreach import config
from outreach.config import Settings
from outreach.db import Database
from outreach.providers.sendgrid_webhook import (
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    WebhookVerifier,
)
from outreach.web.app import create_app

KEY = ec.generate_private_key(ec.SECP256R1())
SECRET = "a secret of sixteen"
PATH = "/webhooks/sendgrid"


def public_key(key: ec.EllipticCurvePrivateKey = KEY) -> str:
    """As SendGrid shows it: base64 of DER."""
    info = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(info).decode()


def settings(**given: object) -> Settings:
    """Settings of a web process that knows our key and our secret."""
    defaults: dict[str, object] = {
        "sendgrid_webhook_public_keys": (public_key(),),
        "secret_keys": (SECRET,),
        "webhook_body_bytes_max": 4096,
    }
    return config.load(**defaults | given)


def verifier(given: Settings) -> WebhookVerifier:
    """What the command line would make of the settings."""
    return WebhookVerifier(given.sendgrid_webhook_public_keys)


def signed(
    body: bytes, *, ago_seconds: float = 0, key: ec.EllipticCurvePrivateKey = KEY
) -> dict[str, str]:
    """The headers of a body that was signed so long ago."""
    timestamp = str(int(time.time() - ago_seconds))
    signature = key.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))
    return {
        SIGNATURE_HEADER: base64.b64encode(signature).decode(),
        TIMESTAMP_HEADER: timestamp,
        "content-type": "application/json",
    }


@asynccontextmanager
async def running(db: Database, **given: object) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of an application that has started, and ends with the block."""
    chosen = settings(**given)
    keys = chosen.sendgrid_inbound_public_keys
    app = create_app(chosen, db, verifier(chosen), WebhookVerifier(keys) if keys else None)
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app):
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            yield client
