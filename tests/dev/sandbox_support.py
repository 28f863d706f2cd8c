"""What the sandbox's tests share: a good mail, and a webhook that keeps what it is sent."""

import asyncio
import base64
import copy
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import orjson
from aiohttp import web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

HEADERS = {"Authorization": "Bearer SG.test"}
SEND = "/v3/mail/send"

_MAIL: dict[str, Any] = {
    "from": {"email": "ana@mail.acme.example", "name": "Ana"},
    "reply_to": {"email": "reply@acme.example"},
    "personalizations": [
        {
            "to": [{"email": "sam@cust.example", "name": "Sam"}],
            "subject": "Quick question, Sam",
            "custom_args": {
                "outreach_message_id": "0192f0c4-7b1e-7c7d-9d0e-2f5f0b0f9a10",
                "outreach_attempt": "1",
                "outreach_tenant": "0192f0c4-7b1e-7c7d-9d0e-2f5f0b0f9a11",
            },
            "headers": {"List-Unsubscribe-Post": "List-Unsubscribe=One-Click"},
        }
    ],
    "content": [
        {"type": "text/plain", "value": "Hi Sam"},
        {"type": "text/html", "value": '<a href="https://acme.example/demo">Hi</a>'},
    ],
    "categories": ["campaign-42"],
}


def mail_to(email: str = "sam@cust.example", message_id: str | None = None) -> dict[str, Any]:
    """A mail that SendGrid would queue."""
    mail = copy.deepcopy(_MAIL)
    person = mail["personalizations"][0]
    person["to"][0]["email"] = email
    if message_id is not None:
        person["custom_args"]["outreach_message_id"] = message_id
    return mail


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Return when the condition holds; fail when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.005)


def signature_holds(public_key: str, headers: dict[str, str], body: bytes) -> bool:
    """Whether the printed key vouches for these raw bytes."""
    key = load_der_public_key(base64.b64decode(public_key))
    assert isinstance(key, ec.EllipticCurvePublicKey)
    signature = headers.get("X-Twilio-Email-Event-Webhook-Signature")
    timestamp = headers.get("X-Twilio-Email-Event-Webhook-Timestamp")
    if signature is None or timestamp is None:
        return False
    try:
        key.verify(
            base64.b64decode(signature), timestamp.encode() + body, ec.ECDSA(hashes.SHA256())
        )
    except InvalidSignature:
        return False
    return True


class Webhook:
    """A receiver on a port of its own; `answers` are the statuses of its next answers, then 200."""

    def __init__(self) -> None:
        self.bodies: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2**22)
        app.router.add_post("/webhooks/sendgrid", self._take)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/webhooks/sendgrid"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        status = self.answers.pop(0) if self.answers else 200
        if status == 200:
            self.bodies.append((dict(request.headers), body))
        return web.Response(status=status)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [event for _, body in self.bodies for event in orjson.loads(body)]

    def names(self, email: str) -> list[str]:
        return [event["event"] for event in self.events if event["email"] == email]
