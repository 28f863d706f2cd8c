"""The sandbox itself: takes mail as SendGrid does, records it, and plans what becomes of it.

`POST /v3/mail/send` is the hot path: one JSON parse, light checks, one record, no coroutine.
Everything else goes through `control`.
"""

import secrets
import time
from collections.abc import Coroutine
from typing import Any

import orjson

from outreach.dev.sandbox.activity import Activity
from outreach.dev.sandbox.control import Control
from outreach.dev.sandbox.events import Mail, link_in
from outreach.dev.sandbox.fates import Happening, Step, fate_of
from outreach.dev.sandbox.faults import Faults, When
from outreach.dev.sandbox.ledger import Accepted, Ledger, Mailboxes
from outreach.dev.sandbox.senders import Senders
from outreach.dev.sandbox.settings import BODY_BYTES_MAX, SandboxSettings
from outreach.dev.sandbox.signing import SigningKey
from outreach.dev.sandbox.validation import Problem, problem, problems_of, recipients_of
from outreach.dev.sandbox.webhook import WebhookSender
from outreach.dev.sandbox.wire import Answer, Reply, Request

SEND_PATH = "/v3/mail/send"
_JSON = {"Content-Type": "application/json"}
_OPENS = frozenset({Happening.OPENED, Happening.OPENED_BY_MACHINE})
_TOO_LARGE = (
    b"<html>\r\n<head><title>413 Request Entity Too Large</title></head>\r\n<body>\r\n"
    b"<center><h1>413 Request Entity Too Large</h1></center>\r\n<hr><center>nginx</center>\r\n"
    b"</body>\r\n</html>\r\n"
)
_UNVERIFIED = (
    "The from address does not match a verified Sender Identity. Mail cannot be sent until this "
    "error is resolved. Visit https://sendgrid.com/docs/for-developers/sending-email/"
    "sender-identity/ to see the Sender Identity requirements"
)


class Sandbox:
    """Stands in for SendGrid; holds all state, and no socket but the webhook sender's."""

    body_bytes_max = BODY_BYTES_MAX

    def __init__(self, settings: SandboxSettings) -> None:
        self.settings = settings
        self.latency_ms = settings.latency_ms
        self.key = SigningKey(settings.seed)
        self.ledger = Ledger(settings.accepted_max, settings.bodies_max)
        self.activity = Activity(settings, self.ledger)
        self.mailboxes = Mailboxes()
        self.faults = Faults(settings.seed)
        self.senders = Senders()
        self.webhook = WebhookSender(settings, self.key)
        self.control = Control(self)

    def peek(self, method: str, path: str) -> Reply | None:
        """An order that strikes before the body is read."""
        if not self.faults or path != SEND_PATH or method != "POST":
            return None
        order = self.faults.take(When.BEFORE_READ, [])
        return None if order is None else order.reply(None)

    def too_large(self) -> Answer:
        """The proxy's page, not the API's JSON; the connection ends."""
        self.ledger.refused[413] += 1
        return Answer(413, _TOO_LARGE, {"Content-Type": "text/html"}, close=True)

    def handle(self, request: Request) -> Reply | Coroutine[Any, Any, Reply]:
        if request.path.startswith("/sandbox"):
            return self.control.handle(request)
        if not self._let_in(request):
            return self._refused(
                401,
                [problem("The provided authorization grant is invalid, expired, or revoked")],
            )
        if request.path != SEND_PATH:
            return self.control.handle(request)
        if request.method != "POST":
            return self._refused(405, [problem("method not allowed")])
        return self._send(request)

    def _let_in(self, request: Request) -> bool:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return False
        return self.settings.api_key is None or token.strip() == self.settings.api_key

    def _send(self, request: Request) -> Reply:
        if not request.headers.get("content-type", "").startswith("application/json"):
            return self._refused(
                415, [problem("Content-Type should be application/json.", "content-type")]
            )
        try:
            mail = orjson.loads(request.body)
        except orjson.JSONDecodeError:
            return self._refused(400, [problem("Bad Request")])
        if self.faults:
            order = self.faults.take(When.BEFORE_ACCEPT, recipients_of(mail))
            if order is not None:
                return order.reply(None)
        problems = problems_of(mail, request.arrived_unix)
        if problems:
            return self._refused(400, problems)
        if not self.senders.may_send(mail["from"]["email"]):
            return self._refused(403, [problem(_UNVERIFIED, "from")])
        if _is_validation_only(mail):
            self.ledger.validated_only += 1
            return self._answer(200, b"", {})
        return self._accept(request, mail)

    def _accept(self, request: Request, mail: dict[str, Any]) -> Reply:
        """Record the mail, plan its events, and answer 202 or what an order says."""
        message_id = secrets.token_urlsafe(16)
        recipients = recipients_of(mail)
        args = _custom_args(mail, mail["personalizations"][0])
        record = Accepted(
            number=self.ledger.accepted_total + 1,
            message_id=message_id,
            outreach_message_id=args.get("outreach_message_id"),
            outreach_attempt=args.get("outreach_attempt"),
            outreach_tenant=args.get("outreach_tenant"),
            to=tuple(recipients),
            sender=mail["from"]["email"],
            subject=mail["personalizations"][0].get("subject") or mail.get("subject") or "",
            arrived_monotonic=request.arrived_monotonic,
            accepted_monotonic=time.monotonic(),
            arrived_unix=request.arrived_unix,
            accepted_unix=time.time(),
        )
        self.ledger.add(record, request.body)
        self.senders.saw(record.sender)
        self._plan(record, mail)
        answer = self._answer(202, b"", {"X-Message-Id": message_id})
        if self.faults:
            order = self.faults.take(When.AFTER_ACCEPT, recipients)
            if order is not None:
                return order.reply(answer)
        return answer

    def _plan(self, record: Accepted, mail: dict[str, Any]) -> None:
        """Decide what becomes of each recipient's copy, and put its events in line."""
        if self.webhook.url is None:
            return
        copy = 0
        for group in mail["personalizations"]:
            args = _custom_args(mail, group)
            for email in recipients_of({"personalizations": [group]}):
                nth, suppressed = self.mailboxes.next_mail(email)
                fate = fate_of(self.settings.seed, email, nth, self.settings.rates, suppressed)
                self.mailboxes.remember(email, nth, fate.suppresses or suppressed)
                story = Mail(
                    message_id=record.message_id,
                    copy=copy,
                    email=email,
                    sender=record.sender,
                    custom_args=args,
                    categories=tuple(mail.get("categories") or ()),
                    accepted_unix=record.accepted_unix,
                    link=link_in(mail),
                    suppressed=suppressed,
                )
                self.webhook.plan(story, _tracked(fate.steps, mail))
                copy += 1

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> Answer:
        return Answer(status, body, headers, self.latency_ms / 1000)

    def _refused(self, status: int, problems: list[Problem]) -> Answer:
        self.ledger.refused[status] += 1
        return self._answer(status, orjson.dumps({"errors": problems}), _JSON)


def _custom_args(mail: dict[str, Any], group: dict[str, Any]) -> dict[str, str]:
    """The custom args of one personalization: its own win."""
    return {**(mail.get("custom_args") or {}), **(group.get("custom_args") or {})}


def _is_validation_only(mail: dict[str, Any]) -> bool:
    mode = (mail.get("mail_settings") or {}).get("sandbox_mode") or {}
    return bool(mode.get("enable"))


def _tracked(steps: tuple[Step, ...], mail: dict[str, Any]) -> list[Step]:
    """Without tracking SendGrid cannot know of opens or clicks: those steps fall away."""
    tracking = mail.get("tracking_settings") or {}
    opens = (tracking.get("open_tracking") or {}).get("enable", True)
    clicks = (tracking.get("click_tracking") or {}).get("enable", True)
    return [
        step
        for step in steps
        if (opens or step.what not in _OPENS) and (clicks or step.what is not Happening.CLICKED)
    ]
