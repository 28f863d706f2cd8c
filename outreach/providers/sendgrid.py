"""Handing mails to SendGrid: one request each over kept-alive connections, every end classified.

What matters is to know whether the provider may have the mail. Until a connection is there and the
body is written, it certainly does not (NotSent). From then on, whatever is not a clear answer is
Unknown: a small body leaves in one write, so nothing can be said about how much of it arrived.

aiohttp, because it costs a fraction of the other clients' CPU (docs/performance.md). It does not
retry a POST; redirects are refused, proxies of the environment ignored.

Source: SendGrid's mail/send errors; X-RateLimit-Reset is a Unix time in seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from time import monotonic
from types import TracebackType
from typing import Self

import aiohttp
import orjson
from aiohttp.abc import AbstractStreamWriter

from outreach import __version__
from outreach.config import Settings
from outreach.core.errors import Invalid
from outreach.core.mail import Mail
from outreach.core.outcome import NotSent, Outcome, Unknown, asked_moment, classify
from outreach.providers.sendgrid_mail import mail_body

# Servers drop idle connections without notice; a request on one that is just being dropped would
# have an unknown outcome. uvicorn drops after 5 s, SendGrid later.
IDLE_SECONDS_MAX = 4.0
CONNECT_SECONDS_MAX = 5.0
# One timer looks after all requests: aiohttp's, one or two for each, cost a seventh of a request.
LOOK_SECONDS = 0.1
ANSWER_BYTES_MAX = 4_096
# Until answers tell: what is claimed for a provider that is slower waits in vain for a connection.
FIRST_LATENCY_SECONDS = 0.5
# How much one more answer moves the estimate of the latency.
LATENCY_WEIGHT = 0.05


class SendGrid:
    """A client for one account; `async with` it."""

    def __init__(self, settings: Settings) -> None:
        if settings.sendgrid_api_key is None:
            raise Invalid.at("SENDGRID_API_KEY", "is not set, and without it nothing can be sent.")
        self._url = f"{settings.sendgrid_base_url}/v3/mail/send"
        self._key = settings.sendgrid_api_key
        self._connections = settings.send_connections
        self._deadline_seconds = settings.send_deadline_seconds
        self._session: aiohttp.ClientSession | None = None
        self._bodies: set[_Body] = set()  # of the requests that run
        self._timer: asyncio.TimerHandle | None = None
        self._latency_seconds = FIRST_LATENCY_SECONDS

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._connections, keepalive_timeout=IDLE_SECONDS_MAX, ttl_dns_cache=60
            ),
            headers={
                "Authorization": f"Bearer {self._key.get_secret_value()}",
                "Content-Type": "application/json",
                "User-Agent": f"outreach/{__version__}",
            },
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS_MAX),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._session is not None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self._session.close()
        self._session = None

    def room(self) -> int:
        """How many more requests could begin within a second, at the latency now seen."""
        per_connection = max(1.0, 1.0 / self._latency_seconds)
        return int(self._connections * per_connection) - len(self._bodies)

    async def send(
        self, mail: Mail, *, start_by: float, leaving: Callable[[], None] | None = None
    ) -> Outcome:
        """One request, classified; see `MailProvider.send`."""
        body = _Body(
            orjson.dumps(mail_body(mail)), start_by, start_by + self._deadline_seconds, leaving
        )
        self._bodies.add(body)
        if self._timer is None:
            self._look_later()
        try:
            outcome = await self._post(body)
        finally:
            self._bodies.discard(body)
        if body.left_at is not None:  # waiting for a connection is not the provider's time
            seconds = monotonic() - body.left_at
            self._latency_seconds += LATENCY_WEIGHT * (seconds - self._latency_seconds)
        return outcome

    async def _post(self, body: _Body) -> Outcome:
        assert self._session is not None, "the client is open"
        if body.start_by <= monotonic():
            return NotSent("not begun in time")
        try:
            async with self._session.post(self._url, data=body, allow_redirects=False) as answer:
                return await _read(answer)
        except asyncio.CancelledError:
            if not body.is_late or body.task.uncancel() > 0:
                raise
            if body.left_at is None:
                return NotSent("not begun in time")
            return Unknown("no answer in time")
        except aiohttp.ConnectionTimeoutError:
            return NotSent("no connection in time")
        except aiohttp.ClientConnectorError as error:
            return NotSent(f"no connection: {type(error).__name__}", is_unreachable=True)
        except TimeoutError:
            assert body.left_at is None, "no timer of aiohttp runs once the body has left"
            return NotSent("not begun in time")
        except aiohttp.ClientError as error:
            if body.left_at is None:
                return NotSent(body.kept_back or f"not written: {type(error).__name__}")
            return Unknown(f"no readable answer: {type(error).__name__}")
        finally:
            body.start_by = 0.0  # what was not written by now never is

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        """End the requests whose time is over, waiting for a connection or for an answer."""
        now = monotonic()
        for body in self._bodies:
            ends_at = body.start_by if body.left_at is None else body.end_by
            if now > ends_at and not body.is_late:
                body.is_late = True
                body.task.cancel()
        self._timer = None
        if self._bodies:
            self._look_later()


class _Body(aiohttp.BytesPayload):
    """The body of a request, which knows whether it has left.

    aiohttp writes it when the connection is there and only the headers went before it, so without
    it the provider has nothing that it could accept. A process may have been stopped on the way
    here: the moment until which the request may begin is looked at once more.
    """

    def __init__(
        self, value: bytes, start_by: float, end_by: float, leaving: Callable[[], None] | None
    ) -> None:
        super().__init__(value, content_type="application/json")
        task = asyncio.current_task()
        assert task is not None, "a request is a task's"
        self.task = task
        self.start_by = start_by
        self.end_by = end_by
        self.is_late = False  # its task has been told to end
        self.left_at: float | None = None
        self.kept_back: str | None = None
        self._leaving = leaving

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        """Write it; raises, and nothing of it is written, when it may not leave any more."""
        now = monotonic()
        if now > self.start_by:
            self.kept_back = "not begun in time"
            raise TimeoutError(self.kept_back)
        if self._leaving is not None:
            self._leaving()
        self.left_at = now
        await super().write_with_length(writer, content_length)


async def _read(answer: aiohttp.ClientResponse) -> Outcome:
    if answer.status == 202:
        return classify(202, answer.headers.get("X-Message-Id"), "")
    text = (await answer.content.read(ANSWER_BYTES_MAX)).decode("utf-8", "replace")
    headers = answer.headers
    later = asked_moment(
        headers.get("Retry-After"), headers.get("X-RateLimit-Reset"), datetime.now(UTC)
    )
    return classify(answer.status, None, _detail(answer.status, text), retry_at=later)


def _detail(status: int, text: str) -> str:
    """What the provider says, short and on one line; some answers are HTML pages."""
    try:
        errors = orjson.loads(text)["errors"]
        said = "; ".join(str(error["message"]) for error in errors)
    except (orjson.JSONDecodeError, KeyError, TypeError):
        said = "" if text.lstrip().startswith("<") else text
    return f"{status} {' '.join(said.split())}".strip()[:500]
