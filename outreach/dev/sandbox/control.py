"""Everything but mail: the `/sandbox` endpoints, and the management calls a client makes.

`docs/sandbox.md` describes each one.
"""

import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qs

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from outreach.dev.sandbox.activity import BadQuestion, TooManyQuestions
from outreach.dev.sandbox.events import body_of, event_bytes
from outreach.dev.sandbox.faults import FaultOrder
from outreach.dev.sandbox.senders import SCOPES
from outreach.dev.sandbox.signing import Signing
from outreach.dev.sandbox.wire import Answer, Reply, Request

if TYPE_CHECKING:
    from outreach.dev.sandbox.app import Sandbox

LISTED_MAX = 1_000
T = TypeVar("T")
Handler = Callable[[Request], Reply | Coroutine[Any, Any, Reply]]


class _Order(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Latency(_Order):
    latency_ms: int = Field(ge=0)


class _WebhookUrl(_Order):
    url: str | None


class _SenderOrder(_Order):
    value: str
    verified: bool


class _PostQuery(_Order):
    sign: Signing = Signing.TRUE
    raw: bool = False
    timestamp: str | None = None


class _FlushQuery(_Order):
    timeout_seconds: float = Field(default=30.0, gt=0)


class _PageQuery(_Order):
    after: int = Field(default=0, ge=0)
    limit: int = Field(default=LISTED_MAX, ge=1, le=LISTED_MAX)


class _DomainQuery(BaseModel):
    domain: str | None = None


class _SenderQuery(BaseModel):
    from_email: str | None = None


_FAULT_ORDERS: TypeAdapter[list[FaultOrder]] = TypeAdapter(list[FaultOrder])


class Control:
    """Routes by method and path; a wrong order is answered 400 with what is wrong in it."""

    def __init__(self, sandbox: "Sandbox") -> None:
        self._sandbox = sandbox
        self._routes: dict[tuple[str, str], Handler] = {
            ("GET", "/sandbox"): self._summary,
            ("GET", "/sandbox/accepted"): self._accepted,
            ("GET", "/sandbox/public-key"): self._public_key,
            ("GET", "/sandbox/faults"): self._list_faults,
            ("POST", "/sandbox/faults"): self._order_faults,
            ("DELETE", "/sandbox/faults"): self._clear_faults,
            ("POST", "/sandbox/flush"): self._flush,
            ("POST", "/sandbox/events"): self._post_events,
            ("POST", "/sandbox/pause"): self._pause,
            ("POST", "/sandbox/resume"): self._resume,
            ("POST", "/sandbox/latency"): self._latency,
            ("POST", "/sandbox/webhook"): self._webhook,
            ("POST", "/sandbox/senders"): self._order_sender,
            ("GET", "/v3/verified_senders"): self._verified_senders,
            ("GET", "/v3/whitelabel/domains"): self._domains,
            ("GET", "/v3/scopes"): self._scopes,
            ("GET", "/v3/messages"): self._messages,
        }

    def handle(self, request: Request) -> Reply | Coroutine[Any, Any, Reply]:
        handler = self._routes.get((request.method, request.path))
        if handler is None and request.method == "GET":
            handler = self._accepted_body if request.path.startswith("/sandbox/accepted/") else None
        if handler is None:
            known = any(path == request.path for _, path in self._routes)
            return _failed(405 if known else 404, "method not allowed" if known else "not found")
        try:
            return handler(request)
        except ValidationError as error:
            return _failed(400, *(f"{_at(e['loc'])}{e['msg']}" for e in error.errors()))

    def _summary(self, request: Request) -> Answer:
        return _json(self.summary())

    def summary(self) -> dict[str, Any]:
        """Counters of everything that has happened so far."""
        sandbox = self._sandbox
        ledger, webhook = sandbox.ledger, sandbox.webhook
        return {
            "seed": sandbox.settings.seed,
            "latency_ms": sandbox.latency_ms,
            "accepted": ledger.accepted_total,
            "accepted_again": ledger.accepted_again,
            "validated_only": ledger.validated_only,
            "refused": ledger.refused.total(),
            "refused_by_status": {str(status): n for status, n in sorted(ledger.refused.items())},
            "faults_served": sandbox.faults.served,
            "events": dict(sorted(webhook.events.items())),
            "pending": webhook.pending,
            "webhook": {
                "url": webhook.url,
                "paused": webhook.paused,
                "posts": webhook.posts,
                "failures": webhook.failures,
                "given_up": webhook.given_up,
                "events_discarded": webhook.discarded,
                "last_status": webhook.last_status,
            },
        }

    def _accepted(self, request: Request) -> Answer:
        page = _query(_PageQuery, request)
        records = self._sandbox.ledger.after(page.after, page.limit)
        more = len(records) == page.limit
        return _json(
            {
                "data": [record.as_json() for record in records],
                "next_after": records[-1].number if more else None,
            }
        )

    def _accepted_body(self, request: Request) -> Answer:
        body = self._sandbox.ledger.body(request.path.rpartition("/")[2])
        if body is None:
            return _failed(404, "no such message, or its body is no longer kept")
        return Answer(200, body, {"Content-Type": "application/json"})

    def _public_key(self, request: Request) -> Answer:
        return _json({"public_key": self._sandbox.key.public_key})

    def _list_faults(self, request: Request) -> Answer:
        return _json({"data": self._sandbox.faults.listed()})

    def _order_faults(self, request: Request) -> Answer:
        body = request.body if request.body.lstrip()[:1] == b"[" else b"[" + request.body + b"]"
        orders = _FAULT_ORDERS.validate_json(body)
        ids = [self._sandbox.faults.add(order) for order in orders]
        return _json({"ids": ids}, 201)

    def _clear_faults(self, request: Request) -> Answer:
        return _json({"cleared": self._sandbox.faults.clear()})

    def _flush(self, request: Request) -> Coroutine[Any, Any, Reply]:
        return self._flushed(_query(_FlushQuery, request).timeout_seconds)

    async def _flushed(self, timeout_seconds: float) -> Reply:
        webhook = self._sandbox.webhook
        taken = await webhook.flush(timeout_seconds)
        return _json({"flushed": taken, "pending": webhook.pending}, 200 if taken else 504)

    def _post_events(self, request: Request) -> Reply | Coroutine[Any, Any, Reply]:
        query = _query(_PostQuery, request)
        if query.raw:
            return self._posted(request.body, query)
        try:
            events = orjson.loads(request.body)
        except orjson.JSONDecodeError:
            return _failed(400, "not JSON; with ?raw=true the bytes are posted as they are")
        if not isinstance(events, list):
            return _failed(400, "not an array; with ?raw=true the bytes are posted as they are")
        return self._posted(body_of([event_bytes(event) for event in events]), query)

    async def _posted(self, body: bytes, query: _PostQuery) -> Reply:
        status = await self._sandbox.webhook.post(body, query.sign, query.timestamp)
        return _json({"status": status})

    def _pause(self, request: Request) -> Answer:
        self._sandbox.webhook.pause()
        return _json({"paused": True})

    def _resume(self, request: Request) -> Answer:
        self._sandbox.webhook.resume()
        return _json({"paused": False})

    def _latency(self, request: Request) -> Answer:
        self._sandbox.latency_ms = _Latency.model_validate_json(request.body).latency_ms
        return _json({"latency_ms": self._sandbox.latency_ms})

    def _webhook(self, request: Request) -> Answer:
        self._sandbox.webhook.url = _WebhookUrl.model_validate_json(request.body).url
        return _json({"url": self._sandbox.webhook.url})

    def _order_sender(self, request: Request) -> Answer:
        order = _SenderOrder.model_validate_json(request.body)
        self._sandbox.senders.order(order.value, order.verified)
        return _json(order.model_dump(), 201)

    def _verified_senders(self, request: Request) -> Answer:
        wanted = _query(_SenderQuery, request).from_email
        if wanted:
            self._sandbox.senders.saw(wanted)
        return _json(self._sandbox.senders.verified_senders())

    def _domains(self, request: Request) -> Answer:
        return _json(self._sandbox.senders.domains(_query(_DomainQuery, request).domain))

    def _scopes(self, request: Request) -> Answer:
        return _json({"scopes": SCOPES})

    def _messages(self, request: Request) -> Answer:
        try:
            return _json({"messages": self._sandbox.activity.answer(request.query)})
        except BadQuestion as bad:
            return _failed(400, str(bad))
        except TooManyQuestions as wait:
            refusal = _failed(429, "too many requests")
            reset = str(int(time.time() + wait.seconds) + 1)
            limits = {"X-RateLimit-Limit": "6", "X-RateLimit-Remaining": "0"}
            return replace(
                refusal, headers={**refusal.headers, **limits, "X-RateLimit-Reset": reset}
            )


Q = TypeVar("Q", bound=BaseModel)


def _query(model: type[Q], request: Request) -> Q:
    values = parse_qs(request.query, keep_blank_values=True)
    return model.model_validate({name: found[-1] for name, found in values.items()})


def _json(value: Any, status: int = 200) -> Answer:
    return Answer(status, orjson.dumps(value), {"Content-Type": "application/json"})


def _failed(status: int, *messages: str) -> Answer:
    errors = [{"message": message, "field": None, "help": None} for message in messages]
    return _json({"errors": errors}, status)


def _at(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location)) + ": " if location else ""
